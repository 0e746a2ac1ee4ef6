import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { swapIdentity } from '../../src/identity/folder-swap.ts';
import { IdentityStore } from '../../src/identity/store.ts';
import { checkIdentity, type IdentityGeneration } from '../../src/identity/svid.ts';
import { temporaryFolder, temporaryIdentity, testAuthority, testCrl, testIdentity } from '../certificates.ts';

const authority = await testAuthority();
const FILES = ['cert-chain.pem', 'key.pem', 'root-cert.pem'];
const LINKS = ['..data', ...FILES];

/** Names in the folder, its time folders apart. */
function namesIn(dir: string): { links: string[]; folders: string[] } {
  const names = readdirSync(dir).sort();
  return {
    links: names.filter(name => !/^\.\.2/.test(name)),
    folders: names.filter(name => /^\.\.2/.test(name)),
  };
}

t.test('an identity is written as the kubelet writes a volume', async t => {
  const dir = join(temporaryFolder(t), 'new');
  const pems = await testIdentity(authority, 'foo/web');
  swapIdentity(dir, pems, Date.UTC(2026, 10, 25, 3, 14, 15, 926));
  const { links, folders } = namesIn(dir);
  t.same(links, LINKS);
  t.equal(folders.length, 1);
  t.match(folders[0], /^\.\.2026_11_25_03_14_15\.926_[0-9a-f]{8}$/);
  t.equal(readlinkSync(join(dir, '..data')), folders[0]);
  for (const file of FILES) t.equal(readlinkSync(join(dir, file)), `..data/${file}`);
  t.equal(readFileSync(join(dir, 'cert-chain.pem'), 'utf8'), pems.certChainPem);
  t.equal(statSync(join(dir, 'key.pem')).mode & 0o777, 0o600);
});

t.test('the next one replaces the whole, and the one before is gone', async t => {
  const dir = temporaryFolder(t);
  swapIdentity(dir, await testIdentity(authority, 'foo/web'));
  const before = namesIn(dir).folders;
  const next = await testIdentity(authority, 'foo/web');
  swapIdentity(dir, next);
  const { links, folders } = namesIn(dir);
  t.same(links, LINKS);
  t.equal(folders.length, 1);
  t.not(folders[0], before[0]);
  t.equal(readFileSync(join(dir, 'key.pem'), 'utf8'), next.keyPem);
});

t.test('a folder of plain files becomes one of links', async t => {
  const dir = temporaryIdentity(t, await testIdentity(authority, 'foo/web'));
  writeFileSync(join(dir, 'crl.pem'), await testCrl(authority, []));
  const next = await testIdentity(authority, 'foo/web');
  swapIdentity(dir, next);
  t.same(namesIn(dir).links, ['..data', 'cert-chain.pem', 'crl.pem', 'key.pem', 'root-cert.pem']);
  for (const file of FILES) t.ok(lstatSync(join(dir, file)).isSymbolicLink(), file);
  t.equal(readFileSync(join(dir, 'cert-chain.pem'), 'utf8'), next.certChainPem);
  t.equal(namesIn(dir).folders.length, 1);
});

t.test('a revocation list in the data folder stays, and what a cut short swap left goes', async t => {
  const dir = temporaryFolder(t);
  swapIdentity(dir, await testIdentity(authority, 'foo/web'));
  const list = await testCrl(authority, []);
  writeFileSync(join(dir, '..data', 'crl.pem'), list);
  symlinkSync('..data/crl.pem', join(dir, 'crl.pem'));
  mkdirSync(join(dir, '..2026_01_01_00_00_00.000_00000000'));
  symlinkSync('nowhere', join(dir, '..link_00000000'));
  mkdirSync(join(dir, '..2026_01_01_somebody_elses'));
  swapIdentity(dir, await testIdentity(authority, 'foo/web'));
  t.equal(readFileSync(join(dir, 'crl.pem'), 'utf8'), list);
  t.ok(readdirSync(dir).includes('..2026_01_01_somebody_elses'), 'not ours to remove');
  t.notOk(readdirSync(dir).includes('..2026_01_01_00_00_00.000_00000000'));
  t.notOk(readdirSync(dir).includes('..link_00000000'));
});

t.test('a link that leads nowhere does not stop it', async t => {
  const dir = temporaryFolder(t);
  symlinkSync('..2026_gone', join(dir, '..data'));
  const pems = await testIdentity(authority, 'foo/web');
  swapIdentity(dir, pems);
  t.equal(readFileSync(join(dir, 'key.pem'), 'utf8'), pems.keyPem);
});

t.test('a folder that cannot be written keeps what it has, and nothing half done', async t => {
  const dir = temporaryFolder(t);
  const first = await testIdentity(authority, 'foo/web');
  swapIdentity(dir, first);
  const before = readdirSync(dir).sort();
  const bad = { ...(await testIdentity(authority, 'foo/web')), rootPem: null as unknown as string };
  t.throws(() => swapIdentity(dir, bad));
  t.same(readdirSync(dir).sort(), before);
  t.equal(readFileSync(join(dir, 'key.pem'), 'utf8'), first.keyPem);
});

t.test('whoever looks at the files at any moment of a rotation sees one identity, never two', async t => {
  const dir = temporaryIdentity(t, await testIdentity(authority, 'foo/web'));
  const failures: string[] = [];
  const seen = Promise.withResolvers<IdentityGeneration>();
  const last = await testIdentity(authority, 'foo/web');
  const store = new IdentityStore({
    dir,
    pollMs: 5,
    debounceMs: 1,
    onGeneration: generation => {
      if (generation.certChainPem === last.certChainPem) seen.resolve(generation);
    },
    onFailure: ({ reason }) => failures.push(reason),
  });
  t.teardown(() => store.close());
  await store.start();
  for (let i = 0; i < 50; i++) {
    swapIdentity(dir, await testIdentity(authority, 'foo/web'));
    const [certChain, key, root] = FILES.map(file => readFileSync(join(dir, file)));
    t.ok(checkIdentity({ certChain: certChain!, key: key!, root: root! }, Date.now(), 1).ok);
  }
  swapIdentity(dir, last);
  await seen.promise;
  const half = failures.filter(reason => reason !== 'file_unstable'); // that the writer never rests is true
  t.same(half, []);
});
