import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { SaidLists } from '../../src/identity/lists-in-force.ts';
import { type MeshCrl, MeshLists } from '../../src/identity/mesh-lists.ts';
import { IdentityStore } from '../../src/identity/store.ts';
import type { IdentityGeneration } from '../../src/identity/svid.ts';
import {
  temporaryFolder,
  testAuthority,
  testCrl,
  testIdentity,
  writeIdentityFolder,
} from '../certificates.ts';

const authority = await testAuthority();
const pems = await testIdentity(authority, 'foo/httpbin');
const first = await testCrl(authority, ['01']);
const second = await testCrl(authority, ['02']);

interface Told {
  readonly source: string;
  readonly word: string;
}

/** Mesh-wide lists of a folder of their own, and what they say in order. */
async function listening(t: { teardown(fn: () => void): unknown }, crl: MeshCrl = null) {
  const dir = temporaryFolder(t);
  const said: Told[] = [];
  let wake = (): void => {};
  const lists = new MeshLists({
    istioPath: join(dir, 'ca-crl.pem'),
    pollMs: 50,
    use: (source, one: SaidLists) => {
      const word = 'bytes' in one ? one.bytes.toString() : 'none' in one ? one.none : one.fault.reason;
      said.push({ source, word });
      wake();
    },
  });
  t.teardown(() => lists.close());
  await lists.start(crl);
  const next = async (): Promise<Told> => {
    while (said.length === 0) await new Promise<void>(resolve => (wake = resolve));
    return said.shift()!;
  };
  return { dir, lists, said, next };
}

t.test("Istio's list is taken when it appears, changes and goes", async t => {
  const { dir, said, next } = await listening(t);
  t.strictSame(said, [], 'nothing is said of what nobody asked for');
  const path = join(dir, 'ca-crl.pem');
  writeFileSync(path, first);
  t.strictSame(await next(), { source: 'istio', word: first });
  writeFileSync(path, second);
  t.strictSame(await next(), { source: 'istio', word: second });
  rmSync(path);
  t.strictSame(await next(), { source: 'istio', word: 'gone' });
});

t.test('what the mesh config names is read at once, watched, and no more when it names another', async t => {
  const { dir, lists, next } = await listening(t, { path: '/nowhere/crl.pem' });
  t.strictSame(await next(), { source: 'mesh', word: 'missing' }, 'a file that was named must be there');
  const path = join(dir, 'mesh.pem');
  writeFileSync(path, first);
  await lists.replace({ path });
  t.strictSame(await next(), { source: 'mesh', word: first });
  await lists.replace({ pem: second });
  t.strictSame(await next(), { source: 'mesh', word: second });
  await lists.replace(null);
  t.strictSame(await next(), { source: 'mesh', word: 'dropped' });
});

t.test('a bad list holds up no certificate, and lists of the mesh join those of the folder', async t => {
  const dir = writeIdentityFolder(temporaryFolder(t), pems);
  writeFileSync(join(dir, 'crl.pem'), first);
  const generations: IdentityGeneration[] = [];
  const failures: string[] = [];
  let wake = (): void => {};
  const store = new IdentityStore({
    dir,
    pollMs: 50,
    onGeneration: generation => {
      generations.push(generation);
      wake();
    },
    onFailure: fault => {
      failures.push(fault.reason);
      wake();
    },
  });
  t.teardown(() => store.close());
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) await new Promise<void>(resolve => (wake = resolve));
  };
  await store.start();
  t.equal(store.current?.crlPem, first);
  store.useLists('mesh', { file: 'caCrl', bytes: Buffer.from(second) });
  await until(() => store.current?.crlPem === first + second);
  writeFileSync(join(dir, 'crl.pem'), 'half of a list');
  await until(() => failures.includes('bad_crl'));
  const renewed = await testIdentity(authority, 'foo/httpbin');
  writeIdentityFolder(dir, renewed);
  await until(() => store.current?.certChainPem === renewed.certChainPem);
  t.equal(store.current?.crlPem, first + second, 'under the lists that were good last');
  t.match(store.lastFailure, { file: 'crl.pem', reason: 'bad_crl' });
  rmSync(join(dir, 'crl.pem'));
  mkdirSync(join(dir, 'crl.pem'));
  await until(() => failures.includes('crl_unreadable'));
  t.equal(store.current?.crlPem, first + second);
  rmSync(join(dir, 'crl.pem'), { recursive: true });
  await until(() => failures.includes('crl_missing'));
  t.equal(store.current?.crlPem, first + second, 'a list that is taken away stays in force');
});

t.test('without a good list to begin with no identity is in force', async t => {
  const dir = writeIdentityFolder(temporaryFolder(t), pems);
  const expired = await testCrl(authority, [], { nextUpdate: Date.now() - 1_000 });
  writeFileSync(join(dir, 'crl.pem'), expired);
  const failures: string[] = [];
  const store = new IdentityStore({ dir, onGeneration: () => {}, onFailure: f => failures.push(f.reason) });
  t.teardown(() => store.close());
  await store.start();
  t.equal(store.current, null);
  t.strictSame(failures, ['crl_expired']);
  writeFileSync(join(dir, 'crl.pem'), first);
  await store.reload();
  t.equal(store.current?.crlPem, first);
});
