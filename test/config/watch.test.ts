import { EventEmitter, once } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadManifests } from '../../src/config/manifest.ts';
import { watchManifests } from '../../src/config/watch.ts';

const policy = (mode: string): string =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {mtls: {mode: ${mode}}}\n`;

/** What the files say now. */
function modeOf(path: string): string | null | undefined {
  const loaded = loadManifests([path]);
  return loaded.ok ? loaded.resources.peerAuthentications[0]?.mode : undefined;
}

/** A watch alone does not keep a process alive. */
function keepAlive(t: Test): void {
  const alive = setInterval(() => {}, 60_000);
  t.teardown(() => clearInterval(alive));
}

/** A watched path; `changed()` is the next change, `count()` how many there were. */
function watched(t: Test, path: string, options: { known?: string; pollMs?: number } = {}) {
  const events = new EventEmitter();
  let changes = 0;
  const watch = watchManifests([path], {
    debounceMs: 20,
    pollMs: 60_000, // events alone, unless the test says otherwise
    ...options,
    onChange: () => {
      changes += 1;
      events.emit('change');
    },
  });
  keepAlive(t);
  t.teardown(() => watch.close());
  return { changed: () => once(events, 'change'), count: () => changes, close: () => watch.close() };
}

function folder(t: Test): (...parts: string[]) => string {
  const root = mkdtempSync(join(tmpdir(), 'outrider-watch-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  return (...parts) => join(root, ...parts);
}

t.test('a file rewritten in place is a change', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const { changed } = watched(t, at());
  const change = changed();
  writeFileSync(at('a.yaml'), policy('DISABLE'));
  await change;
  t.equal(modeOf(at()), 'DISABLE');
});

t.test('a file renamed over the old one is a change, when the file itself is the path too', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const { changed } = watched(t, at('a.yaml'));
  for (const mode of ['DISABLE', 'PERMISSIVE']) {
    const change = changed();
    writeFileSync(at('.new'), policy(mode));
    renameSync(at('.new'), at('a.yaml'));
    await change;
    t.equal(modeOf(at('a.yaml')), mode);
  }
});

t.test('a new file and a removed file are changes', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const { changed } = watched(t, at());
  const added = changed();
  writeFileSync(at('b.yaml'), policy('STRICT').replace('name: a', 'name: b'));
  await added;
  const removed = changed();
  rmSync(at('b.yaml'));
  await removed;
  t.equal(modeOf(at()), 'STRICT');
});

t.test('the swap of ..data in a ConfigMap mount is a change, once a swap', async t => {
  const at = folder(t);
  for (const [version, mode] of [
    ['..1', 'STRICT'],
    ['..2', 'DISABLE'],
    ['..3', 'PERMISSIVE'],
  ] as const) {
    mkdirSync(at(version));
    writeFileSync(at(version, 'a.yaml'), policy(mode));
  }
  symlinkSync('..1', at('..data'));
  symlinkSync(join('..data', 'a.yaml'), at('a.yaml'));
  const { changed, count } = watched(t, at());
  for (const [version, mode] of [
    ['..2', 'DISABLE'],
    ['..3', 'PERMISSIVE'],
  ] as const) {
    const change = changed();
    symlinkSync(version, at('..data_tmp'));
    renameSync(at('..data_tmp'), at('..data'));
    await change;
    t.equal(modeOf(at()), mode);
  }
  t.equal(count(), 2);
});

t.test('a touch and a rewrite with the same bytes are no change', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const { changed, count } = watched(t, at());
  utimesSync(at('a.yaml'), new Date(), new Date());
  writeFileSync(at('a.yaml'), policy('STRICT'));
  writeFileSync(at('notes.txt'), 'not a manifest');
  const change = changed();
  writeFileSync(at('b.yaml'), '# the change that is waited for\n');
  await change;
  t.equal(count(), 1);
});

t.test('what was written between the load and the watch is a change', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const { digest } = loadManifests([at()]);
  writeFileSync(at('a.yaml'), policy('DISABLE'));
  const { changed } = watched(t, at(), { known: digest });
  await changed();
  t.equal(modeOf(at()), 'DISABLE');
});

t.test('a folder that was removed and made again is watched again', async t => {
  const at = folder(t);
  mkdirSync(at('c'));
  writeFileSync(at('c', 'a.yaml'), policy('STRICT'));
  const { changed } = watched(t, at('c'), { pollMs: 50 });
  const removed = changed();
  rmSync(at('c'), { recursive: true });
  await removed;
  const made = changed();
  mkdirSync(at('c'));
  writeFileSync(at('c', 'a.yaml'), policy('DISABLE'));
  await made;
  t.equal(modeOf(at('c')), 'DISABLE');
});

t.test('the poll sees what gives no event: the target of a link elsewhere', async t => {
  const at = folder(t);
  mkdirSync(at('there'));
  mkdirSync(at('here'));
  writeFileSync(at('there', 'x'), policy('STRICT'));
  symlinkSync(at('there', 'x'), at('here', 'a.yaml'));
  const { changed } = watched(t, at('here'), { pollMs: 30 });
  const change = changed();
  writeFileSync(at('there', 'x'), policy('DISABLE'));
  await change;
  t.equal(modeOf(at('here')), 'DISABLE');
});

t.test('a file written piece by piece is a change when it is whole', async t => {
  const at = folder(t);
  const whole = policy('DISABLE');
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const seen: string[] = [];
  const events = new EventEmitter();
  const watch = watchManifests([at()], {
    debounceMs: 40,
    pollMs: 60_000,
    onChange: () => {
      seen.push(readFileSync(at('a.yaml'), 'utf8'));
      events.emit('change');
    },
  });
  keepAlive(t);
  t.teardown(() => watch.close());
  const change = once(events, 'change');
  writeFileSync(at('a.yaml'), '');
  for (let i = 0; i < whole.length; i += 40) appendFileSync(at('a.yaml'), whole.slice(i, i + 40));
  await change;
  t.equal(seen.at(-1), whole);
});

t.test('nothing is told after close', async t => {
  const at = folder(t);
  writeFileSync(at('a.yaml'), policy('STRICT'));
  const closed = watched(t, at());
  const open = watched(t, at());
  closed.close();
  const change = open.changed();
  writeFileSync(at('a.yaml'), policy('DISABLE'));
  await change;
  t.equal(closed.count(), 0);
});
