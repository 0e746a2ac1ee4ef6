import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import t from 'tap';
import type { IdentityFault } from '../../src/identity/identity-fault.ts';
import { IdentityStore, type IdentityStoreOptions } from '../../src/identity/store.ts';
import type { IdentityGeneration } from '../../src/identity/svid.ts';
import {
  type IdentityPems,
  temporaryFolder,
  testAuthority,
  testCrl,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';

const NEVER_MS = 600_000; // a poll that no test lives to see
const authority = await testAuthority();

/** A store whose events can be waited for. */
class Recorder {
  readonly generations: IdentityGeneration[] = [];
  readonly failures: IdentityFault[] = [];
  readonly store: IdentityStore;
  #waiting: (() => void)[] = [];

  constructor(
    t: { teardown(fn: () => void): unknown },
    dir: string,
    options: Partial<IdentityStoreOptions> = {},
  ) {
    this.store = new IdentityStore({
      dir,
      pollMs: 40,
      debounceMs: 10,
      ...options,
      onGeneration: generation => this.#note(() => this.generations.push(generation)),
      onFailure: fault => this.#note(() => this.failures.push(fault)),
    });
    t.teardown(() => this.store.close());
  }

  #note(push: () => void): void {
    push();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async until(reached: () => boolean): Promise<void> {
    while (!reached()) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  untilLeaf(pems: IdentityPems): Promise<void> {
    return this.until(() => this.generations.at(-1)?.certChainPem === pems.certChainPem);
  }

  untilFailure(reason: string): Promise<void> {
    return this.until(() => this.failures.at(-1)?.reason === reason);
  }
}

function identities(count: number): Promise<IdentityPems[]> {
  return Promise.all(Array.from({ length: count }, () => testIdentity(authority, 'foo/sleep')));
}

type Writer = (dir: string, pems: IdentityPems) => void | Promise<void>;

let swaps = 0;

/** As the kubelet's atomic writer: a new folder, then `..data` renamed over, then the old folder removed. */
function kubernetes(dir: string, pems: IdentityPems): void {
  swaps += 1;
  const name = `..2026_${swaps}`;
  const old = readdirSync(dir).filter(entry => entry.startsWith('..2026_'));
  mkdirSync(join(dir, name));
  for (const [file, text] of entries(pems)) {
    writeFileSync(join(dir, name, file), text);
    rmSync(join(dir, file), { force: true });
    symlinkSync(join('..data', file), join(dir, file));
  }
  symlinkSync(name, join(dir, '..data_tmp'));
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
  for (const entry of old) rmSync(join(dir, entry), { recursive: true });
}

/** As spiffe-helper: truncates and writes each file where it is. */
function inPlace(dir: string, pems: IdentityPems): void {
  for (const [file, text] of entries(pems)) writeFileSync(join(dir, file), text);
}

/** In place and slowly: every file in pieces, the loop turning in between, so that readers see each torn state. */
async function torn(dir: string, pems: IdentityPems): Promise<void> {
  for (const [file, text] of entries(pems)) {
    const handle = await open(join(dir, file), 'w');
    for (let at = 0; at < text.length; at += 300) {
      await handle.write(text.slice(at, at + 300));
      await turn();
    }
    await handle.close();
  }
}

/** Takes every file away, then puts the new ones there. */
async function removeAndPutBack(dir: string, pems: IdentityPems): Promise<void> {
  for (const [file] of entries(pems)) rmSync(join(dir, file), { force: true });
  await turn();
  inPlace(dir, pems);
}

function entries(pems: IdentityPems): [file: string, text: string][] {
  return [
    ['cert-chain.pem', pems.certChainPem],
    ['key.pem', pems.keyPem],
    ['root-cert.pem', pems.rootPem],
  ];
}

const WRITERS: [name: string, write: Writer][] = [
  ['a swap of ..data', kubernetes],
  ['a rename over each file', (dir, pems) => void writeIdentityFolder(dir, pems)],
  ['a rewrite in place', inPlace],
  ['torn writes in place', torn],
  ['removing and putting back', removeAndPutBack],
];

for (const [name, write] of WRITERS) {
  t.test(`25 rotations by ${name}, one after the other, each come into force`, async t => {
    const dir = temporaryFolder(t);
    const list = await identities(25);
    const seen = new Recorder(t, dir);
    await seen.store.start();
    t.match(seen.failures, [{ reason: 'file_missing' }], 'an empty folder is a fault');
    for (const pems of list) {
      await write(dir, pems);
      await seen.untilLeaf(pems);
    }
    t.strictSame(
      seen.generations.map(({ generation }) => generation),
      seen.generations.map((_, at) => at + 1),
      'generations count up',
    );
    t.equal(seen.store.current?.certChainPem, list.at(-1)?.certChainPem);
    t.equal(seen.store.lastFailure, null);
  });

  t.test(`25 rotations by ${name} in a burst end in the last one`, async t => {
    const dir = temporaryFolder(t);
    const list = await identities(25);
    const seen = new Recorder(t, dir);
    await write(dir, list[0]!);
    await seen.store.start();
    for (const pems of list) {
      await write(dir, pems);
      await turn();
    }
    await seen.untilLeaf(list.at(-1)!);
    for (const { certChainPem, keyPem } of seen.generations) {
      t.ok(
        list.some(pems => pems.certChainPem === certChainPem && pems.keyPem === keyPem),
        'no generation mixes two identities',
      );
    }
  });

  t.test(`${name} is noticed without the poll`, async t => {
    const dir = temporaryFolder(t);
    const [first, second, third] = await identities(3);
    await write(dir, first!);
    const seen = new Recorder(t, dir, { pollMs: NEVER_MS });
    await seen.store.start();
    for (const pems of [second!, third!]) {
      await write(dir, pems);
      await seen.untilLeaf(pems);
    }
    t.equal(seen.store.lastFailure, null);
  });
}

t.test('a folder that comes late, goes and comes again is found', async t => {
  const dir = join(temporaryFolder(t), 'later', 'certs');
  const [first, second] = await identities(2);
  const seen = new Recorder(t, dir);
  await seen.store.start();
  t.match(seen.failures, [{ file: dir, reason: 'folder_missing' }]);
  writeIdentityFolder(dir, first!);
  await seen.untilLeaf(first!);
  rmSync(dir, { recursive: true });
  await seen.untilFailure('folder_missing');
  t.equal(seen.store.current?.certChainPem, first!.certChainPem, 'the last good identity is kept');
  writeIdentityFolder(dir, second!);
  await seen.untilLeaf(second!);
  t.equal(seen.store.lastFailure, null);
});

t.test('a folder that is a link to another one is followed when the link moves', async t => {
  const dir = temporaryFolder(t);
  const [first, second] = await identities(2);
  writeIdentityFolder(join(dir, 'v1'), first!);
  writeIdentityFolder(join(dir, 'v2'), second!);
  symlinkSync('v1', join(dir, 'certs'));
  const seen = new Recorder(t, join(dir, 'certs'));
  await seen.store.start();
  symlinkSync('v2', join(dir, 'next'));
  renameSync(join(dir, 'next'), join(dir, 'certs'));
  await seen.untilLeaf(second!);
  t.equal(seen.generations.length, 2);
});

t.test('the last good identity is kept, and one fault said once, whatever is written', async t => {
  const dir = temporaryFolder(t);
  const [first, second] = await identities(2);
  const seen = new Recorder(t, writeIdentityFolder(dir, first!));
  await seen.store.start();
  writeFileSync(join(dir, 'key.pem'), second!.keyPem);
  await seen.untilFailure('key_mismatch');
  await seen.store.reload();
  await seen.store.reload();
  t.equal(seen.failures.length, 1, 'said once, however often it is read');
  t.match(seen.store.lastFailure, { file: 'key.pem', reason: 'key_mismatch' });
  writeFileSync(join(dir, 'cert-chain.pem'), 'garbage');
  await seen.untilFailure('not_pem');
  t.equal(seen.store.current?.generation, 1);
  t.equal(seen.store.current?.certChainPem, first!.certChainPem);
  inPlace(dir, first!);
  await seen.store.reload();
  t.equal(seen.store.lastFailure, null, 'the same bytes put back clear the fault');
  t.equal(seen.generations.length, 1, 'and make no new generation');
});

t.test('the same bytes written again make no new generation', async t => {
  const dir = temporaryFolder(t);
  const [pems] = await identities(1);
  const seen = new Recorder(t, writeIdentityFolder(dir, pems!));
  await seen.store.start();
  for (const [, write] of WRITERS) {
    await write(dir, pems!);
    await seen.store.reload();
  }
  t.equal(seen.generations.length, 1);
  t.strictSame(seen.failures, []);
});

t.test('a certificate of the near future comes into force when its time comes', async t => {
  let now = Date.now();
  const dir = temporaryFolder(t);
  const pems = await testIdentity(authority, 'foo/sleep', { notBefore: now + 60_000 });
  const seen = new Recorder(t, writeIdentityFolder(dir, pems), { now: () => now });
  await seen.store.start();
  t.match(seen.failures, [{ reason: 'not_yet_valid' }]);
  now += 61_000;
  await seen.untilLeaf(pems);
  t.equal(seen.store.lastFailure, null);
});

t.test('a revocation list is read with the rest, and a bad one keeps the last good', async t => {
  const dir = temporaryFolder(t);
  const [pems] = await identities(1);
  const crlPem = await testCrl(authority, ['01']);
  const seen = new Recorder(t, writeIdentityFolder(dir, pems!));
  await seen.store.start();
  writeFileSync(join(dir, 'crl.pem'), crlPem);
  await seen.until(() => seen.generations.length === 2);
  t.equal(seen.store.current?.crlPem, crlPem);
  t.not(seen.generations[0]?.trustEpoch, seen.generations[1]?.trustEpoch);
  writeFileSync(join(dir, 'crl.pem'), 'x');
  await seen.untilFailure('bad_crl');
  t.equal(seen.store.current?.crlPem, crlPem);
});

t.test('what the dry run refuses does not come into force', async t => {
  const dir = temporaryFolder(t);
  const [pems] = await identities(1);
  const dryRun = () => {
    throw new Error('ee key too small');
  };
  const seen = new Recorder(t, writeIdentityFolder(dir, pems!), { dryRun });
  await seen.store.start();
  t.match(seen.failures, [{ file: dir, reason: 'unusable', message: /ee key too small/ }]);
  t.equal(seen.store.current, null);
});

t.test('files that cannot be read are faults with their names', async t => {
  const [pems] = await identities(1);
  const cases: [spoil: (path: string) => void, reason: string, message: RegExp][] = [
    [path => rmSync(path), 'file_missing', /key\.pem: is missing in /],
    [
      path => {
        rmSync(path);
        mkdirSync(path);
      },
      'file_unreadable',
      /key\.pem: cannot be read \(is not a file\)/,
    ],
    [
      path => {
        rmSync(path);
        symlinkSync('key.pem', path);
      },
      'file_unreadable',
      /key\.pem: cannot be read \(ELOOP\)/,
    ],
    [path => writeFileSync(path, Buffer.alloc(1_100_000, 'x')), 'file_too_large', /key\.pem: is larger than/],
  ];
  if (process.getuid?.() !== 0) {
    cases.push([path => chmodSync(path, 0), 'file_unreadable', /key\.pem: cannot be read \(EACCES\)/]);
  }
  for (const [spoil, reason, message] of cases) {
    const dir = writeIdentityFolder(temporaryFolder(t), pems!);
    spoil(join(dir, 'key.pem'));
    const seen = new Recorder(t, dir, { pollMs: NEVER_MS });
    await seen.store.start();
    t.match(seen.failures, [{ file: 'key.pem', reason, message }]);
  }
});

t.test('after close nothing happens', async t => {
  const dir = temporaryFolder(t);
  const [first, second] = await identities(2);
  const seen = new Recorder(t, writeIdentityFolder(dir, first!));
  await seen.store.start();
  inPlace(dir, second!);
  seen.store.close();
  await seen.store.reload();
  t.equal(seen.generations.length, 1);
});

t.test('after close nothing is left that would keep a process alive', async t => {
  const [pems] = await identities(1);
  const dir = writeIdentityFolder(temporaryFolder(t), pems!);
  const script = `
    import { writeFileSync } from 'node:fs';
    import { IdentityStore } from ${JSON.stringify(new URL('../../src/identity/store.ts', import.meta.url).href)};
    const dir = ${JSON.stringify(dir)};
    const store = new IdentityStore({
      dir,
      pollMs: ${NEVER_MS},
      debounceMs: ${NEVER_MS},
      onGeneration: ({ id }) => console.log(id),
      onFailure() {},
    });
    await store.start();
    writeFileSync(dir + '/key.pem', 'x');
    setTimeout(() => store.close(), 50);
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  t.equal(
    stdout,
    'spiffe://cluster.local/ns/foo/sa/sleep\n',
    'it worked, closed, and the process ended by itself',
  );
});
