import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type CertsOptions, runCerts } from '../../src/cli/certs.ts';
import { checkIdentity } from '../../src/identity/svid.ts';
import { temporaryFolder, testAuthority } from '../certificates.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const ISSUE = { action: 'issue', namespace: 'foo', serviceAccount: 'sleep', ttlMs: 86_400_000 } as const;
const INIT = { action: 'init', trustDomain: 'example.org', days: 10 } as const;

async function run(options: CertsOptions): Promise<{ code: number; out: string; err: string }> {
  const seen = { out: '', err: '' };
  const code = await runCerts(options, {
    stdout: { write: text => (seen.out += text) },
    stderr: { write: text => (seen.err += text) },
  });
  return { code, ...seen };
}

function filesOf(dir: string) {
  const [certChain, key, root] = ['cert-chain.pem', 'key.pem', 'root-cert.pem'].map(file =>
    readFileSync(join(dir, file)),
  );
  return { certChain: certChain!, key: key!, root: root! };
}

t.test('init, issue and show make and describe an identity that run would take', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  t.match(await run({ ...INIT, dir: ca }), { code: 0, out: /for example\.org in / });
  t.strictSame(readdirSync(ca).sort(), ['ca-cert.pem', 'ca-key.pem', 'root-cert.pem', 'root-key.pem']);
  for (const key of ['ca-key.pem', 'root-key.pem']) t.equal(statSync(join(ca, key)).mode & 0o777, 0o600, key);
  const intermediate = new X509Certificate(readFileSync(join(ca, 'ca-cert.pem')));
  const root = new X509Certificate(readFileSync(join(ca, 'root-cert.pem')));
  t.ok(intermediate.ca && intermediate.verify(root.publicKey), 'the root signed the intermediate');
  t.equal(root.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');

  const issued = await run({ ...ISSUE, ca, dir });
  t.match(issued, {
    code: 0,
    out: /^issued spiffe:\/\/example\.org\/ns\/foo\/sa\/sleep in .+, valid until .+Z\n$/,
  });
  t.equal(statSync(join(dir, 'key.pem')).mode & 0o777, 0o600);
  t.equal(readFileSync(join(dir, 'root-cert.pem'), 'utf8'), readFileSync(join(ca, 'root-cert.pem'), 'utf8'));
  const chain = readFileSync(join(dir, 'cert-chain.pem'), 'utf8');
  t.ok(
    chain.endsWith(readFileSync(join(ca, 'ca-cert.pem'), 'utf8')),
    'the intermediate comes after the leaf',
  );
  t.equal(chain.match(/BEGIN CERTIFICATE/g)?.length, 2);
  const check = checkIdentity(filesOf(dir), Date.now(), 1);
  t.match(check, { ok: true, value: { id: 'spiffe://example.org/ns/foo/sa/sleep' } });
  if (check.ok) t.ok(Math.abs(check.value.notAfter - Date.now() - 86_400_000) < 60_000, 'for 24 hours');

  const shown = await run({ action: 'show', dir, json: false });
  t.match(shown, { code: 0, err: '' });
  t.match(
    shown.out,
    /^leaf, cert-chain\.pem\n {2}SPIFFE ID {2}spiffe:\/\/example\.org\/ns\/foo\/sa\/sleep\n/,
  );
  t.match(shown.out, /\nintermediate, cert-chain\.pem\n[\s\S]+\nroot, root-cert\.pem\n/);
  t.match(shown.out, /expires in 23 h 59 min\n[\s\S]+expires in 9 days\n[\s\S]+\nusable: /);
});

t.test('a CA is never overwritten unless it is said', async t => {
  const dir = temporaryFolder(t);
  await run({ ...INIT, dir });
  const before = readFileSync(join(dir, 'ca-key.pem'), 'utf8');
  t.match(await run({ ...INIT, dir }), {
    code: 1,
    out: '',
    err: /^outrider: [^\n]*ca-key\.pem is there already[^\n]+\n$/,
  });
  t.equal(readFileSync(join(dir, 'ca-key.pem'), 'utf8'), before);
  t.match(await run({ ...INIT, dir, force: true }), { code: 0 });
  t.not(readFileSync(join(dir, 'ca-key.pem'), 'utf8'), before);
});

t.test('a whole SPIFFE ID can be named, of the trust domain of the CA only', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  await run({ ...INIT, dir: ca });
  const issue = (spiffeId: string) => run({ ...ISSUE, ca, dir: join(dir, 'out'), spiffeId });
  t.match(await issue('spiffe://example.org/batch'), { code: 0, out: /spiffe:\/\/example\.org\/batch/ });
  t.match(await issue('spiffe://other.org/batch'), {
    code: 2,
    err: /is for example\.org, not for other\.org/,
  });
  t.match(await issue('spiffe://example.org/'), { code: 2, err: /is no SPIFFE ID \(no_path\)/ });
  t.match(await issue('https://example.org/x'), { code: 2, err: /is no SPIFFE ID \(not_spiffe_scheme\)/ });
});

t.test('a certificate never outlives its CA', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  await run({ ...INIT, dir: ca, days: 1 });
  await run({ ...ISSUE, ca, dir, ttlMs: 3_600_000_000 });
  const leaf = new X509Certificate(readFileSync(join(dir, 'cert-chain.pem')));
  const root = new X509Certificate(readFileSync(join(ca, 'ca-cert.pem')));
  t.equal(leaf.validToDate.getTime(), root.validToDate.getTime());
});

t.test('what is wrong with the CA or the names is said in one line', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  const oneLine = /^outrider: [^\n]+\n$/;
  const missing = await run({ ...ISSUE, ca, dir });
  t.match(missing, { code: 1, out: '', err: oneLine });
  t.match(missing.err, /ca-cert\.pem is missing; make a CA with certs init/);
  t.match(await run({ ...INIT, dir: ca, trustDomain: 'Example.ORG' }), {
    code: 2,
    err: /--trust-domain must be/,
  });
  await run({ ...INIT, dir: ca });
  const foreign = await testAuthority();
  writeFileSync(join(ca, 'ca-key.pem'), foreign.keyPem);
  t.match(await run({ ...ISSUE, ca, dir }), {
    code: 1,
    err: /ca-key\.pem: is not the P-256 key of ca-cert\.pem/,
  });
  writeFileSync(join(ca, 'ca-cert.pem'), 'x');
  t.match(await run({ ...ISSUE, ca, dir }), { code: 1, err: /ca-cert\.pem: is no CA certificate/ });
  const old = await testAuthority({ now: Date.now() - 3 * 86_400_000, days: 1 });
  writeFileSync(join(ca, 'ca-cert.pem'), old.certPem);
  writeFileSync(join(ca, 'ca-key.pem'), old.keyPem);
  t.match(await run({ ...ISSUE, ca, dir }), { code: 1, err: /ca-cert\.pem: expired/ });
  const whole = join(dir, 'whole');
  await run({ ...INIT, dir: whole });
  writeFileSync(join(whole, 'root-cert.pem'), foreign.rootPem);
  t.match(await run({ ...ISSUE, ca: whole, dir }), {
    code: 1,
    err: /ca-cert\.pem: was not signed by root-cert\.pem/,
  });
  rmSync(whole, { recursive: true });
  writeFileSync(join(dir, 'file'), '');
  const blocked = await run({ ...INIT, dir: join(dir, 'file', 'ca') });
  t.match(blocked, { code: 1, err: oneLine });
  t.strictSame(readdirSync(dir).sort(), ['ca', 'file'], 'nothing half done is left');
});

t.test('a CA folder without an intermediate, as older versions made it, goes on issuing', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  const authority = await testAuthority({ trustDomain: 'example.org' });
  mkdirSync(ca);
  writeFileSync(join(ca, 'ca-cert.pem'), authority.certPem);
  writeFileSync(join(ca, 'ca-key.pem'), authority.keyPem);
  t.match(await run({ ...ISSUE, ca, dir }), { code: 0 });
  t.match(checkIdentity(filesOf(dir), Date.now(), 1), { ok: true, value: { chain: { length: 1 } } });
  t.equal(readFileSync(join(dir, 'root-cert.pem'), 'utf8'), authority.certPem);
});

t.test('a rotation issues anew each time until it is stopped, one line and one folder each', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  const out = join(dir, 'out');
  await run({ ...INIT, dir: ca });
  const stopping = new AbortController();
  const serials: string[] = [];
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => {
    waits.push(ms);
    serials.push(new X509Certificate(readFileSync(join(out, 'cert-chain.pem'))).serialNumber);
    t.equal(readdirSync(out).filter(entry => /^\.\.2/.test(entry)).length, 1, 'the one before is gone');
    if (serials.length === 3) stopping.abort();
  };
  const said: string[] = [];
  const io = { stdout: { write: (text: string) => said.push(text) }, stderr: process.stderr };
  const options = { ...ISSUE, ca, dir: out, rotateEveryMs: 30_000 };
  t.equal(await runCerts(options, io, { stop: stopping.signal, wait }), 0);
  t.equal(new Set(serials).size, 3);
  t.same(waits, [30_000, 30_000, 30_000]);
  t.equal(said.length, 3);
  for (const line of said) t.match(line, /^issued [^\n]+\n$/);
});

t.test('a rotation ends with exit code 0 at SIGTERM', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  await run({ ...INIT, dir: ca });
  const args = ['certs', 'issue', '--ca', ca, '--out', join(dir, 'out'), '--rotate-every', '1h'];
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const ended = once(child, 'close');
  t.match(String((await once(child.stdout, 'data'))[0]), /^issued spiffe:\/\/example\.org\//);
  child.kill('SIGTERM');
  t.same(await ended, [0, null]);
});

t.test('a rotation that fails says so, keeps what is there and goes on', async t => {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  const out = join(dir, 'out');
  await run({ ...INIT, dir: ca });
  const stopping = new AbortController();
  const serial = (): string => new X509Certificate(readFileSync(join(out, 'cert-chain.pem'))).serialNumber;
  const serials: string[] = [];
  const waits: number[] = [];
  const acts: (() => void)[] = [
    () => renameSync(ca, `${ca}-away`),
    () => mkdirSync(ca),
    () => writeFileSync(join(ca, 'ca-cert.pem'), 'half a certifi'),
    () => {
      rmSync(ca, { recursive: true });
      renameSync(`${ca}-away`, ca);
    },
    () => stopping.abort(),
  ];
  const wait = async (ms: number): Promise<void> => {
    waits.push(ms);
    serials.push(serial());
    acts.shift()?.();
  };
  const said: string[] = [];
  const warned: string[] = [];
  const io = {
    stdout: { write: (text: string) => said.push(text) },
    stderr: { write: (text: string) => warned.push(text) },
  };
  const options = { ...ISSUE, ca, dir: out, rotateEveryMs: 30_000 };
  t.equal(await runCerts(options, io, { stop: stopping.signal, wait }), 0);
  t.same(waits, [30_000, 5_000, 5_000, 5_000, 30_000]);
  t.equal(said.length, 2, 'before and after');
  t.equal(new Set(serials.slice(0, 4)).size, 1, 'nothing is lost meanwhile');
  t.not(serials[4], serials[0]);
  t.equal(warned.length, 3);
  for (const line of warned) t.match(line, /^outrider: [^\n]+; [^\n]*trying again in 5 s\n$/);
});
