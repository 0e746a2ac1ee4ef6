import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { request } from 'undici';
import { temporaryFolder } from '../certificates.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const DEADLINE_MS = 120_000; // an end to a hung child, not a measure of speed
// What would configure a sidecar must not reach the demo's own.
const ENV = { ...process.env, OUTRIDER_APP: 'not a port', NO_COLOR: undefined };

interface Demo {
  readonly child: ChildProcess;
  /** Where it makes its folder; nothing else is there. */
  readonly home: string;
  /** Every line so far. */
  readonly lines: string[];
  /** The first line that matches, past or to come; fails when the output ends before. */
  line(pattern: RegExp): Promise<string>;
  readonly ended: Promise<{ code: number | null; stderr: string }>;
}

function startDemo(t: { teardown(fn: () => unknown): unknown }, ...args: string[]): Demo {
  const home = temporaryFolder(t);
  const child = spawn(process.execPath, [MAIN, 'demo', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...ENV, TMPDIR: home },
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  let over = false;
  const reader = createInterface({ input: child.stdout });
  reader.on('line', line => {
    lines.push(line);
    for (const look of waiting) look();
  });
  reader.on('close', () => {
    over = true;
    for (const look of waiting) look();
  });
  const ended = Promise.all([once(child, 'close'), text(child.stderr)]).then(([[code], stderr]) => {
    clearTimeout(deadline);
    return { code: code as number | null, stderr };
  });
  t.teardown(() => child.kill('SIGKILL'));
  const line = (pattern: RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = lines.find(one => pattern.test(one));
        if (found === undefined && !over) return;
        waiting.delete(look);
        if (found !== undefined) resolve(found);
        else reject(new Error(`the output ended without ${pattern}:\n${lines.join('\n')}`));
      };
      waiting.add(look);
      look();
    });
  return { child, home, lines, line, ended };
}

/** Processes of this machine whose command line names a path in `folder`. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(folder);
      } catch {
        return false; // it ended meanwhile
      }
    });
}

t.test('the story is told, the mesh can be tried and changed, and Ctrl-C leaves nothing behind', async t => {
  const demo = startDemo(t);
  await demo.line(/From here on/);
  const story = demo.lines.join('\n');
  const words = story.replace(/\s+/g, ' ');

  await t.test('who asked whom, what happened and why', async t => {
    t.match(words, /GET \/orders\/42 gets 200 GET \/orders\/42 is done/);
    t.match(
      words,
      /ALLOW shop\/orders-callers rule 0: from\.principals matched cluster\.local\/ns\/shop\/sa\/frontend/,
    );
    t.match(
      words,
      /x-forwarded-client-cert: By=…\/sa\/orders;Hash=\w+…;Subject="";URI=spiffe:\S+\/sa\/frontend /,
    );
    t.match(words, /\/orders\/%2e%2e\/admin\/keys gets 403 RBAC: access denied/);
    t.match(words, /policy=shop\/orders-no-admin policy_rule=0/);
    t.match(words, /x-outrider-decision: policy=shop\/orders-no-admin; rule=0; reason=rbac_access_denied/);
    t.match(words, /x-outrider-decision: missed=shop\/orders-callers; reason=\S+\[none\]/);
    t.match(words, /DELETE \/orders\/42 gets 403/);
    t.match(words, /to\.methods did not match: saw DELETE, wants GET/);
    t.match(words, /intruder → orders: GET \/orders\/42 gets 403/);
    t.match(words, /from\.principals did not match: saw cluster\.local\/ns\/shop\/sa\/intruder/);
    t.match(words, /plaintext: GET \/orders\/42 gets closed, not one byte/);
    t.match(words, /response_code_details=not_tls/);
    t.match(words, /TLS: GET \/orders\/42 gets closed, not one byte/);
    t.match(words, /response_code_details=no_certificate/);
    t.match(words, /gets 503 upstream connect error: unexpected identity spiffe:\S+\/sa\/orders/);
    t.notMatch(words, / but /, 'nothing went another way than meant');
  });

  await t.test('certificates are replaced under load, and nothing fails', async t => {
    const serials = [...words.matchAll(/(?:frontend|orders) +([0-9A-F]{16,}) → ([0-9A-F]{16,})/g)];
    t.equal(serials.length, 2);
    for (const [, before, after] of serials) t.not(before, after);
    const [, sent, failed] = /gets (\d+) requests, (\d+) failed/.exec(words) ?? [];
    t.ok(Number(sent) > 0);
    t.equal(failed, '0');
    t.match(words, /The app saw both certificates of the frontend/);
  });

  await t.test('a policy file edited on disk changes the verdict', async t => {
    t.match(
      words,
      /\[GET\] becomes \[GET, DELETE\] asks frontend → orders, again: DELETE \/orders\/42 gets 200/,
    );
  });

  await t.test(
    'no colour codes away from a terminal, no line beyond 100 columns but for long words',
    async t => {
      t.notMatch(story, '\u001b');
      t.same(
        demo.lines.filter(line => line.length > 100 && line.trim().includes(' ')),
        [],
      );
    },
  );

  const [, inbound = '', outbound = ''] = /^ {2}frontend +(\S+:\d+) +(\S+:\d+)/m.exec(story) ?? [];

  await t.test('what it invites to try works, and shows up', async t => {
    const answer = await request(`http://${outbound}/orders/7`, {
      headers: { host: 'orders.shop.svc.cluster.local' },
    });
    t.equal(answer.statusCode, 200);
    await answer.body.dump();
    t.match(await demo.line(/orders +200 GET \/orders\/7 /), /from spiffe:\S+\/sa\/frontend/);
    t.match(inbound, /^127\.0\.0\.1:/, 'it listens on loopback only');
    t.equal(processesOf(demo.home).length, 5, 'three sidecars and two apps');
  });

  demo.child.kill('SIGINT');
  const { code, stderr } = await demo.ended;
  t.equal(code, 0);
  t.equal(stderr, '');
  t.same(readdirSync(demo.home), [], 'the folder is gone');
  t.same(processesOf(demo.home), [], 'no process is left');
});

t.test('SIGTERM while the mesh starts ends it, and leaves nothing behind', async t => {
  const demo = startDemo(t);
  await firstFileIn(demo.home);
  demo.child.kill('SIGTERM');
  t.same(await demo.ended, { code: 0, stderr: '' });
  t.same(demo.lines, [], 'it had not begun to tell');
  t.same(readdirSync(demo.home), []);
  t.same(processesOf(demo.home), []);
});

t.test('a reader that leaves takes the mesh down', async t => {
  const demo = startDemo(t);
  await demo.line(/^1 {2}/);
  demo.child.stdout?.destroy();
  t.same(await demo.ended, { code: 0, stderr: '' });
  t.same(readdirSync(demo.home), []);
  t.same(processesOf(demo.home), []);
});

t.test('a part of the mesh that dies is named, and the rest goes with it', async t => {
  const demo = startDemo(t);
  await demo.line(/From here on/);
  const [folder = ''] = readdirSync(demo.home);
  const [intruder] = processesOf(join(demo.home, folder, 'intruder'));
  process.kill(Number(intruder), 'SIGKILL');
  const { code, stderr } = await demo.ended;
  t.equal(code, 1);
  t.match(stderr, /^outrider: demo: the sidecar of intruder ended/);
  t.same(readdirSync(demo.home), []);
  t.same(processesOf(demo.home), []);
});

t.test('--once tells the story and ends', async t => {
  const demo = startDemo(t, '--once');
  t.same(await demo.ended, { code: 0, stderr: '' });
  t.match(demo.lines.join('\n'), /^8 {2}/m);
  t.same(readdirSync(demo.home), []);
});

/** Resolves when anything appears in the folder. */
function firstFileIn(folder: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watcher = watch(folder, () => resolve());
  if (readdirSync(folder).length > 0) resolve();
  return promise.finally(() => watcher.close());
}
