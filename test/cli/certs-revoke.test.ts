import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type CertsOptions, runCerts } from '../../src/cli/certs.ts';
import { parseCerts } from '../../src/cli/certs-flags.ts';
import { checkIdentity } from '../../src/identity/svid.ts';
import { temporaryFolder } from '../certificates.ts';

const HOUR_MS = 3_600_000;

async function run(options: CertsOptions): Promise<{ code: number; out: string; err: string }> {
  const seen = { out: '', err: '' };
  const code = await runCerts(options, {
    stdout: { write: text => (seen.out += text) },
    stderr: { write: text => (seen.err += text) },
  });
  return { code, ...seen };
}

/** A folder with a CA and the identities of two workloads. */
async function madeFolder(t: { teardown(fn: () => void): unknown }) {
  const dir = temporaryFolder(t);
  const ca = join(dir, 'ca');
  await run({ action: 'init', trustDomain: 'cluster.local', days: 10, dir: ca });
  const issued = { action: 'issue', namespace: 'foo', ttlMs: HOUR_MS, ca } as const;
  for (const serviceAccount of ['web', 'orders']) {
    await run({ ...issued, serviceAccount, dir: join(dir, serviceAccount) });
  }
  const read = (file: string) => readFileSync(join(dir, file));
  const serial = (name: string) => new X509Certificate(read(`${name}/cert-chain.pem`)).serialNumber;
  return { dir, ca, read, serial };
}

t.test('a folder and a serial are added to the lists, and the lists go where they are wanted', async t => {
  const { dir, ca, read, serial } = await madeFolder(t);
  const web = join(dir, 'web');
  const orders = join(dir, 'orders');
  const plan = { action: 'revoke', ca, outs: [orders], ttlMs: HOUR_MS } as const;
  const first = await run({ ...plan, targets: [web] });
  t.match(first, { code: 0, out: new RegExp(`^revoked ${serial('web')}; lists in .+, valid until .+Z\\n$`) });
  t.equal(read('orders/crl.pem').toString(), read('ca/crl.pem').toString());
  const second = await run({ ...plan, targets: ['00ab'] });
  t.match(second, { code: 0, out: /^revoked AB; / });
  const files = {
    certChain: read('orders/cert-chain.pem'),
    key: read('orders/key.pem'),
    root: read('orders/root-cert.pem'),
    crl: read('orders/crl.pem'),
  };
  t.match(checkIdentity(files, Date.now(), 1), { ok: true }, 'a list for every CA: run takes the folder');
  const shown = await run({ action: 'show', dir: orders, json: true });
  t.match(JSON.parse(shown.out), {
    ok: true,
    revocationLists: [{ issuer: /intermediate/ }, { issuer: /development CA/ }],
  });
  const again = await run({ ...plan, targets: [] });
  t.match(again, { code: 0, out: /^revoked nothing more; / });
});

t.test('the intermediate is revoked in the list of the root', async t => {
  const { ca, read } = await madeFolder(t);
  const { serialNumber } = new X509Certificate(read('ca/ca-cert.pem'));
  await run({ action: 'revoke', ca, outs: [], ttlMs: HOUR_MS, targets: [serialNumber] });
  const blocks =
    read('ca/crl.pem')
      .toString()
      .match(/-----BEGIN[\s\S]+?-----END X509 CRL-----/g) ?? [];
  const holds = blocks.map(block =>
    Buffer.from(block.replace(/-----[^-]+-----/g, ''), 'base64').includes(Buffer.from(serialNumber, 'hex')),
  );
  t.strictSame(holds, [false, true]);
});

t.test('what is no folder and no serial is refused, and the lists stay as they were', async t => {
  const { dir, ca } = await madeFolder(t);
  const plan = { action: 'revoke', ca, outs: [], ttlMs: HOUR_MS } as const;
  const wrong = await run({ ...plan, targets: ['web'] });
  t.match(wrong, {
    code: 1,
    err: /web: is neither a folder with a cert-chain.pem nor a serial in hex; name one of the two\n/,
  });
  const nowhere = await run({ ...plan, targets: ['0A'], outs: [join(dir, 'nowhere')] });
  t.match(nowhere, { code: 1, err: /nowhere: is no folder; make it, or name another with --out\n/ });
  t.throws(() => readFileSync(join(ca, 'crl.pem')), 'nothing was written');
  mkdirSync(join(dir, 'empty'));
  writeFileSync(join(dir, 'empty', 'cert-chain.pem'), '');
  const empty = await run({ ...plan, targets: [join(dir, 'empty')] });
  t.match(empty, { code: 1, err: /cert-chain.pem: holds no certificate\n/ });
  writeFileSync(join(ca, 'root-key.pem'), readFileSync(join(ca, 'ca-key.pem')));
  t.match(await run({ ...plan, targets: [] }), {
    code: 1,
    err: /root-key.pem: is not the key of root-cert.pem/,
  });
});

t.test('the line names the CA, the folders and how long the lists count', async t => {
  t.same(parseCerts(['revoke', 'web', '0A', '--out', 'a', '--out', 'b', '--ttl', '2h']), {
    ok: true,
    value: {
      action: 'revoke',
      ca: './certs/ca',
      targets: ['web', '0A'],
      outs: ['a', 'b'],
      ttlMs: 2 * HOUR_MS,
    },
  });
  t.match(parseCerts(['revoke', '--hours', '1']), { message: /--hours has no meaning for certs revoke/ });
});
