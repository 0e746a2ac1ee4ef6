import { createPrivateKey, X509Certificate } from 'node:crypto';
import t from 'tap';
import { checkIdentity, type IdentityFiles } from '../../src/identity/svid.ts';
import {
  type IdentityPems,
  KEY_USAGE,
  rawUris,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  withCa,
  withExtension,
  withKeyUsage,
} from '../certificates.ts';

const authority = await testAuthority();
const other = await testAuthority({ name: 'other CA' });
const pems = await testIdentity(authority, 'foo/sleep');
const workloadRoot = await testAuthority({ mutate: rawUris('spiffe://cluster.local/ns/foo/sa/sleep') });
const again = await testIdentity(authority, 'foo/sleep');
const now = Date.now();

interface Texts extends IdentityPems {
  readonly crlPem?: string;
}

function files({ certChainPem, keyPem, rootPem, crlPem }: Texts): IdentityFiles {
  const base = { certChain: Buffer.from(certChainPem), key: Buffer.from(keyPem), root: Buffer.from(rootPem) };
  return crlPem === undefined ? base : { ...base, crl: Buffer.from(crlPem) };
}

function check(texts: Partial<Texts>, at = now) {
  return checkIdentity(files({ ...pems, ...texts }), at, 7);
}

t.test('a good folder becomes one generation of plain data', async t => {
  const result = check({});
  if (!result.ok) return t.fail(result.fault.message);
  const leaf = new X509Certificate(pems.certChainPem);
  t.match(result.value, {
    generation: 7,
    id: 'spiffe://cluster.local/ns/foo/sa/sleep',
    trustDomain: 'cluster.local',
    notBefore: leaf.validFromDate.getTime(),
    notAfter: leaf.validToDate.getTime(),
    loadedAt: now,
    crlPem: null,
    ...pems,
  });
  t.match(result.value.chain, [
    { serial: leaf.serialNumber, uris: ['spiffe://cluster.local/ns/foo/sa/sleep'] },
  ]);
  t.match(result.value.roots, [{ subject: 'O=cluster.local,CN=Outrider development CA' }]);
  t.strictSame(structuredClone(result.value), { ...result.value }, 'it crosses threads');
  t.notMatch(JSON.stringify([result.value.chain, result.value.roots]), /PRIVATE/, 'summaries hold no key');
});

t.test('what writers of good folders do is accepted', async t => {
  const lower = await testIntermediate(await testIntermediate(authority, { name: 'upper' }), {
    name: 'lower',
  });
  const deep = await testIdentity(lower, 'foo/sleep');
  const legacy = createPrivateKey(pems.keyPem).export({ type: 'sec1', format: 'pem' }).toString();
  const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
  const blocks = deep.certChainPem.match(/-----BEGIN[\s\S]+?END CERTIFICATE-----\n/g) ?? [];
  const good: [name: string, texts: Partial<Texts>][] = [
    ['two intermediates', deep],
    [
      'intermediates in the wrong order',
      { ...deep, certChainPem: [blocks[0], blocks[2], blocks[1]].join('') },
    ],
    ['the root at the end of the chain', { certChainPem: pems.certChainPem + pems.rootPem }],
    ['several roots', { rootPem: other.rootPem + authority.rootPem }],
    ['an EC key with its parameters before it', { keyPem: parameters + legacy }],
    ['Windows line ends', { certChainPem: pems.certChainPem.replaceAll('\n', '\r\n') }],
    ['comments and blank lines', { rootPem: `# the root of this mesh\n\n${pems.rootPem}\n# end\n` }],
    ['no line end at the end', { rootPem: pems.rootPem.trimEnd() }],
  ];
  for (const [name, texts] of good) t.match(check(texts), { ok: true }, name);
});

t.test('the trust epoch follows roots and revocation list, not the leaf', async t => {
  const epoch = (texts: Partial<Texts>) => {
    const result = check(texts);
    return result.ok ? result.value.trustEpoch : result.fault.message;
  };
  const crlPem = await testCrl(authority, []);
  t.equal(epoch(again), epoch({}));
  t.equal(
    epoch({ rootPem: authority.rootPem + other.rootPem }),
    epoch({ rootPem: other.rootPem + authority.rootPem }),
  );
  t.not(epoch({ rootPem: authority.rootPem + other.rootPem }), epoch({}));
  t.not(epoch({ crlPem }), epoch({}));
});

t.test('an identity ends with the first certificate that peers need of it', async t => {
  const day = 86_400_000;
  const short = { now: now - day, days: 1.5 };
  const upper = await testIntermediate(authority, { name: 'upper', ...short });
  const deep = await testIdentity(await testIntermediate(upper, { name: 'lower' }), 'foo/sleep', {
    ttlMs: 5 * day,
  });
  const aside = await testIntermediate(authority, { name: 'aside', ...short });
  const end = new X509Certificate(upper.certPem);
  t.match(check(deep), {
    value: { notBefore: end.validFromDate.getTime(), notAfter: end.validToDate.getTime() },
  });
  const leaf = new X509Certificate(pems.certChainPem);
  t.match(
    check({ certChainPem: pems.certChainPem + aside.certPem + authority.rootPem }),
    { value: { notAfter: leaf.validToDate.getTime() } },
    'what the chain carries besides does not count, nor does the root',
  );
});

t.test('a revocation list is carried when it covers every CA', async t => {
  const intermediate = await testIntermediate(authority, { name: 'middle' });
  const deep = await testIdentity(intermediate, 'foo/sleep');
  const both = (await testCrl(authority, [])) + (await testCrl(intermediate, ['01']));
  t.match(check({ ...deep, crlPem: both }), { ok: true, value: { crlPem: both } });
});

const leafOf = async (mutate: Parameters<typeof testIdentity>[2]) =>
  testIdentity(authority, 'foo/sleep', mutate);
const deepOf = async (mutate: ReturnType<typeof withCa>) =>
  testIdentity(await testIntermediate(authority, { mutate }), 'foo/sleep');
const whole = await deepOf(plan => plan);
const alone = { ...whole, certChainPem: whole.certChainPem.split(/(?<=END CERTIFICATE-----\n)/)[0]! };
const cut = (text: string) => text.slice(0, text.length / 2);
const encrypted = createPrivateKey(pems.keyPem)
  .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  .toString();

const REFUSED: [name: string, texts: Partial<Texts>, file: string, reason: string][] = [
  ['an empty chain', { certChainPem: '' }, 'cert-chain.pem', 'file_empty'],
  ['a blank chain', { certChainPem: ' \n' }, 'cert-chain.pem', 'file_empty'],
  ['half a chain', { certChainPem: cut(pems.certChainPem) }, 'cert-chain.pem', 'not_pem'],
  ['a chain that is no PEM', { certChainPem: 'hello' }, 'cert-chain.pem', 'not_pem'],
  [
    'a certificate with a byte changed into nonsense',
    { certChainPem: pems.certChainPem.replace('MII', '!!!') },
    'cert-chain.pem',
    'not_pem',
  ],
  [
    'a certificate whose DER is cut',
    { certChainPem: pems.certChainPem.replace(/\n.+\n(-----END)/, '\n$1') },
    'cert-chain.pem',
    'bad_certificate',
  ],
  [
    'a key in the chain',
    { certChainPem: pems.certChainPem + pems.keyPem },
    'cert-chain.pem',
    'bad_certificate',
  ],
  [
    'garbage between certificates',
    { certChainPem: `${pems.certChainPem}xyz\n${authority.rootPem}` },
    'cert-chain.pem',
    'not_pem',
  ],
  ['an empty key', { keyPem: '' }, 'key.pem', 'file_empty'],
  ['half a key', { keyPem: cut(pems.keyPem) }, 'key.pem', 'not_pem'],
  ['a certificate as the key', { keyPem: pems.certChainPem }, 'key.pem', 'bad_key'],
  ['two keys', { keyPem: pems.keyPem + again.keyPem }, 'key.pem', 'bad_key'],
  ['a key that is noise', { keyPem: pems.keyPem.replace(/M[\s\S]+\n(?=-)/, 'AAAA\n') }, 'key.pem', 'bad_key'],
  ['an encrypted key', { keyPem: encrypted }, 'key.pem', 'key_encrypted'],
  ['the key of another certificate', { keyPem: again.keyPem }, 'key.pem', 'key_mismatch'],
  ['an empty bundle', { rootPem: '' }, 'root-cert.pem', 'file_empty'],
  ['half a bundle', { rootPem: authority.rootPem + cut(other.rootPem) }, 'root-cert.pem', 'not_pem'],
  [
    'the tail of an older file after the bundle',
    { rootPem: `${authority.rootPem}AAA=\n-----END CERTIFICATE-----\n` },
    'root-cert.pem',
    'not_pem',
  ],
  [
    "a root with a workload's SPIFFE ID in the bundle",
    { rootPem: authority.rootPem + workloadRoot.rootPem },
    'root-cert.pem',
    'root_is_no_ca',
  ],
  [
    'a leaf in the bundle',
    { rootPem: authority.rootPem + again.certChainPem },
    'root-cert.pem',
    'root_is_no_ca',
  ],
  ['a foreign bundle', { rootPem: other.rootPem }, 'cert-chain.pem', 'untrusted'],
  ['an intermediate that is not there', alone, 'cert-chain.pem', 'untrusted'],
  ['an intermediate that is no CA', await deepOf(withCa(false)), 'cert-chain.pem', 'untrusted'],
  [
    'an intermediate without keyCertSign',
    await deepOf(withKeyUsage(KEY_USAGE.digitalSignature)),
    'cert-chain.pem',
    'untrusted',
  ],
  [
    'an expired certificate',
    await leafOf({ notBefore: now - 7_200_000, ttlMs: -60_000 }),
    'cert-chain.pem',
    'expired',
  ],
  [
    'a certificate of tomorrow',
    await leafOf({ notBefore: now + 86_400_000, ttlMs: 90_000_000 }),
    'cert-chain.pem',
    'not_yet_valid',
  ],
  [
    'a CA as the leaf',
    { certChainPem: authority.rootPem, keyPem: authority.keyPem },
    'cert-chain.pem',
    'is_ca',
  ],
  ['a leaf with cA true', await leafOf({ mutate: withCa(true) }), 'cert-chain.pem', 'is_ca'],
  [
    'a leaf that may sign',
    await leafOf({ mutate: withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyCertSign) }),
    'cert-chain.pem',
    'bad_key_usage',
  ],
  ['no SAN', await leafOf({ mutate: withExtension('2.5.29.17', null) }), 'cert-chain.pem', 'no_uri_san'],
  [
    'two SPIFFE IDs',
    await leafOf({ mutate: rawUris('spiffe://td/a', 'spiffe://td/b') }),
    'cert-chain.pem',
    'many_uri_sans',
  ],
  [
    'a NUL in the SPIFFE ID',
    await leafOf({ mutate: rawUris('spiffe://td/a\0b') }),
    'cert-chain.pem',
    'malformed_san',
  ],
  [
    'a URL for a SPIFFE ID',
    await leafOf({ mutate: rawUris('https://td/a') }),
    'cert-chain.pem',
    'bad_spiffe_id',
  ],
  ['an empty revocation list', { crlPem: '' }, 'crl.pem', 'bad_crl'],
  ['a certificate for a revocation list', { crlPem: authority.rootPem }, 'crl.pem', 'bad_crl'],
  ['the revocation list of another CA', { crlPem: await testCrl(other, []) }, 'crl.pem', 'crl_incomplete'],
  [
    'an expired revocation list',
    { crlPem: await testCrl(authority, [], { nextUpdate: now - 1_000 }) },
    'crl.pem',
    'crl_expired',
  ],
];

for (const [name, texts, file, reason] of REFUSED) {
  t.test(`refuses ${name} and says which file`, async t => {
    const result = check(texts);
    if (result.ok) return t.fail('it was accepted');
    t.match(result.fault, { file, reason });
    t.match(
      result.fault.message,
      new RegExp(`^${file}: [^\n]+; [^\n]+$`),
      'one line: the file, the fault, what to do',
    );
    t.notMatch(result.fault.message, /MII/, 'no key or certificate in the message');
  });
}

t.test('an expired root is no root, another one beside it will do', async t => {
  const old = await testAuthority({ now: now - 3 * 86_400_000, days: 1 });
  const leaf = await testIdentity(old, 'foo/sleep');
  const result = check(leaf);
  t.match(result, { ok: false, fault: { file: 'cert-chain.pem', reason: 'untrusted', message: /expired/ } });
  t.match(
    check({ rootPem: old.rootPem + authority.rootPem }),
    { ok: true },
    'an expired root beside a good one',
  );
});

t.test('any cut of any file is refused, never an exception', async t => {
  const parts = ['certChainPem', 'keyPem', 'rootPem'] as const;
  const accepted: string[] = [];
  for (const part of parts) {
    for (let length = 0; length < pems[part].length - 1; length += 7) {
      if (check({ [part]: pems[part].slice(0, length) }).ok) accepted.push(`${part} cut at ${length}`);
    }
  }
  t.strictSame(accepted, []);
});
