import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import t from 'tap';
import { readCertificate } from '../../src/identity/certificate.ts';
import type { Link } from '../../src/identity/chain.ts';
import { readCrl } from '../../src/identity/crl.ts';
import { readLists } from '../../src/identity/revocation.ts';
import {
  der,
  KEY_USAGE,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  withKeyUsage,
} from '../certificates.ts';
import {
  type CrlAlgorithm,
  type CrlParts,
  crlOf,
  crlPem,
  ECDSA_SHA1,
  ECDSA_SHA256,
  ECDSA_SHA384,
  ED25519,
  issuerOf,
  RSA_PSS,
  RSA_SHA1,
  RSA_SHA256,
  utcTime,
} from '../crls.ts';

const authority = await testAuthority();
const signer = issuerOf(authority);
const TRUE = der(0x01, Uint8Array.of(0xff));

function link(pem: string): Link {
  const x509 = new X509Certificate(pem);
  const fields = readCertificate(x509.raw);
  if (!fields) throw new Error('no certificate');
  return { x509, fields };
}

function listsOf(...lists: readonly Buffer[]) {
  const read = readLists(crlPem(...lists));
  if (!read.ok) throw new Error(read.problem);
  return read.lists;
}

t.test('a list tells its issuer, its dates and whom it revokes', async t => {
  const read = readCrl(
    crlOf({
      ...signer,
      thisUpdate: utcTime(Date.UTC(2026, 0, 1)),
      nextUpdate: utcTime(Date.UTC(2026, 0, 2)),
      entries: [{ serial: '01' }, { serial: '00ff01' }, { serial: '7f'.repeat(20) }],
    }),
  );
  if (!read.ok) return t.fail(read.problem);
  const { crl } = read;
  t.match(crl, {
    issuer: 'O=cluster.local,CN=Outrider development CA',
    thisUpdate: Date.UTC(2026, 0, 1),
    nextUpdate: Date.UTC(2026, 0, 2),
  });
  t.equal(crl.revoked.count, 3);
  for (const serial of ['01', '0001', 'FF01', '00FF01', 'ff01', '7F'.repeat(20)]) {
    t.equal(crl.revoked.has(serial), true, serial);
  }
  for (const serial of ['00', '02', '0100', 'FF', '01FF', '7F'.repeat(19), '7F'.repeat(21)]) {
    t.equal(crl.revoked.has(serial), false, serial);
  }
});

t.test('a list of the library that certificates come from is read alike', async t => {
  const read = readLists(await testCrl(authority, ['0badcafe', '01']));
  if (!read.ok) return t.fail(read.problem);
  t.equal(read.lists.all[0]?.revoked.has('0BADCAFE'), true);
  t.equal(read.lists.of(link(authority.certPem)).length, 1);
});

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const rsaPss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 });
const ed25519 = generateKeyPairSync('ed25519');
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signed: [name: string, CrlAlgorithm, { publicKey: KeyObject; privateKey: KeyObject }][] = [
  ['ECDSA with SHA-256', ECDSA_SHA256, p256],
  ['ECDSA with SHA-384', ECDSA_SHA384, p384],
  ['RSA', RSA_SHA256, rsa],
  ['RSA-PSS by an RSA key', RSA_PSS, rsa],
  ['RSA-PSS by a key for nothing else', RSA_PSS, rsaPss],
  ['Ed25519', ED25519, ed25519],
];

for (const [name, algorithm, keys] of signed) {
  t.test(`${name}: the list is its signer's and nobody else's`, async t => {
    const list = crlOf({ ...signer, key: keys.privateKey, algorithm, entries: [{ serial: '0d0d' }] });
    const read = readCrl(list);
    if (!read.ok) return t.fail(read.problem);
    t.equal(read.crl.isSignedBy(keys.publicKey), true);
    for (const [, , others] of signed) {
      if (others !== keys) t.equal(read.crl.isSignedBy(others.publicKey), false);
    }
    const forged = Buffer.from(list);
    forged[forged.indexOf(Buffer.of(2, 2, 13, 13)) + 3] = 14;
    const other = readCrl(forged);
    t.equal(other.ok && other.crl.revoked.has('0D0E') && !other.crl.isSignedBy(keys.publicKey), true);
  });
}

const wrong: [name: string, parts: Partial<CrlParts>, problem: RegExp][] = [
  ['signed with SHA-1', { algorithm: ECDSA_SHA1 }, /not believed/],
  ['signed by RSA with SHA-1', { algorithm: RSA_SHA1, key: rsa.privateKey }, /not believed/],
  ['with two signature algorithms', { inner: ECDSA_SHA384.identifier }, /two signature algorithms/],
  ['of version 3', { version: der(0x02, Uint8Array.of(2)) }, /version/],
  ['without an issuer', { issuer: der(0x30) }, /no issuer/],
  ['without a date', { thisUpdate: der(0x05), nextUpdate: null }, /when it was made/],
  ['with a 13th month', { nextUpdate: der(0x17, '261301000000Z') }, /date/],
  ['that ends before it begins', { nextUpdate: utcTime(Date.now() - 3_600_000) }, /ends before/],
  ['with an entry without a number', { entries: [{ serial: '' }] }, /entry that cannot be read/],
  ['with a number in two octets too many', { entries: [{ serial: '000001' }] }, /entry that cannot be read/],
  ['with a number of 128 octets', { entries: [{ serial: '01'.repeat(128) }] }, /entry that cannot be read/],
  [
    'that is a delta',
    { extensions: [{ oid: '551d1b', critical: true, value: der(0x02, Uint8Array.of(1)) }] },
    /delta/,
  ],
  [
    'that is a delta, not critical',
    { extensions: [{ oid: '551d1b', value: der(0x02, Uint8Array.of(1)) }] },
    /delta/,
  ],
  [
    'that is indirect',
    { extensions: [{ oid: '551d1c', critical: true, value: der(0x30, der(0x84, 'ÿ')) }] },
    /indirect/,
  ],
  [
    'of CAs only',
    { extensions: [{ oid: '551d1c', critical: true, value: der(0x30, der(0x82, 'ÿ')) }] },
    /some certificates/,
  ],
  [
    'of some reasons only',
    { extensions: [{ oid: '551d1c', critical: true, value: der(0x30, der(0x83, '\x01\x02')) }] },
    /reasons/,
  ],
  [
    'with an unknown critical extension',
    { extensions: [{ oid: '2a0304', critical: true, value: der(0x05) }] },
    /critical extension/,
  ],
  [
    'with an extension twice',
    { extensions: [1, 2].map(number => ({ oid: '551d14', value: der(0x02, Uint8Array.of(number)) })) },
    /twice/,
  ],
  [
    'with an entry of another CA',
    { entries: [{ serial: '01', extensions: [{ oid: '551d1d', critical: true, value: der(0x30) }] }] },
    /another CA/,
  ],
  [
    'with an entry that has an unknown critical extension',
    { entries: [{ serial: '01', extensions: [{ oid: '2a0304', critical: true, value: der(0x05) }] }] },
    /critical extension/,
  ],
  ['with something behind it', { more: der(0x05) }, /no part of a list/],
  [
    'of version 1 with extensions',
    { version: Buffer.alloc(0), extensions: [{ oid: '551d14', value: TRUE }] },
    /no part/,
  ],
];

for (const [name, parts, problem] of wrong) {
  t.test(`a list ${name} is no list to go by`, async t => {
    const read = readCrl(crlOf({ ...signer, ...parts }));
    t.match(read, { ok: false, problem });
  });
}

const fine: [name: string, parts: Partial<CrlParts>][] = [
  ['of version 1', { version: Buffer.alloc(0) }],
  ['that never ends', { nextUpdate: null }],
  [
    'with a number and the name of its key',
    {
      extensions: [
        { oid: '551d14', value: der(0x02, Uint8Array.of(7)) },
        { oid: '551d23', value: der(0x30) },
      ],
    },
  ],
  [
    'that says where it is published',
    {
      extensions: [
        { oid: '551d1c', critical: true, value: der(0x30, der(0xa0, der(0xa0, der(0x86, 'http://x/')))) },
      ],
    },
  ],
  [
    'with a reason for each entry',
    {
      entries: [{ serial: '0a', extensions: [{ oid: '551d15', value: der(0x0a, Uint8Array.of(1)) }] }],
    },
  ],
];

for (const [name, parts] of fine) {
  t.test(`a list ${name} is believed`, async t => {
    const lists = listsOf(crlOf({ ...signer, ...parts }));
    t.equal(lists.of(link(authority.certPem)).length, 1);
  });
}

t.test('no byte that is cut off or changed makes a list that is believed', async t => {
  const list = crlOf({ ...signer, entries: [{ serial: '0a' }, { serial: '0b' }] });
  const { publicKey } = new X509Certificate(authority.certPem);
  for (let at = 0; at < list.length; at += 1) {
    t.equal(readCrl(list.subarray(0, at)).ok, false);
    for (const flip of [0x01, 0x80]) {
      const changed = Buffer.from(list);
      changed[at] = (changed[at] ?? 0) ^ flip;
      const read = readCrl(changed);
      if (read.ok && read.crl.isSignedBy(publicKey)) t.fail(`byte ${at}`);
    }
  }
  t.equal(readCrl(Buffer.concat([list, Buffer.of(0)])).ok, false);
});

t.test('a list counts for the CA whose key signed it, whatever name it bears', async t => {
  const other = await testAuthority(); // the same name, another key
  const lists = listsOf(crlOf({ ...signer, entries: [{ serial: '0a' }] }));
  t.equal(lists.of(link(authority.certPem)).length, 1);
  t.equal(lists.of(link(other.certPem)).length, 0);
  const foreign = listsOf(crlOf({ ...signer, key: issuerOf(other).key }));
  t.equal(foreign.of(link(authority.certPem)).length, 0);
  const named = await testAuthority({ name: 'another' });
  const renamed = listsOf(crlOf({ ...issuerOf(named), key: signer.key }));
  t.equal(renamed.of(link(authority.certPem)).length, 0);
});

t.test('a CA that may not sign lists has none; one without keyUsage may', async t => {
  const bare = await testIntermediate(authority, { mutate: withKeyUsage(KEY_USAGE.keyCertSign) });
  t.equal(listsOf(crlOf(issuerOf(bare))).of(link(bare.certPem)).length, 0);
  const free = await testIntermediate(authority, {
    mutate: plan => ({ ...plan, extensions: plan.extensions.filter(({ oid }) => oid !== '2.5.29.15') }),
  });
  t.equal(listsOf(crlOf(issuerOf(free))).of(link(free.certPem)).length, 1);
});

t.test('revoked on any list of its CA is revoked, also on one that is out of date', async t => {
  const leaf = link((await testIdentity(authority, 'foo/sleep')).certChainPem);
  const { serialNumber } = leaf.x509;
  const serial = serialNumber.length % 2 ? `0${serialNumber}` : serialNumber;
  const root = link(authority.certPem);
  const now = Date.now();
  const old = { thisUpdate: utcTime(now - 7_200_000), nextUpdate: utcTime(now - 3_600_000) };
  const fresh = crlOf(signer);
  const entries = [{ serial: leaf.fields.serial >= '8' ? `00${serial}` : serial }];
  const status = (...lists: Buffer[]) => listsOf(...lists).status(leaf, root, now);
  t.equal(status(fresh), 'good');
  t.equal(status(crlOf({ ...signer, entries })), 'revoked');
  t.equal(status(crlOf({ ...signer, ...old, entries }), fresh), 'revoked');
  t.equal(status(crlOf({ ...signer, ...old })), 'crl_expired');
  t.equal(status(crlOf({ ...signer, ...old }), fresh), 'good');
  t.equal(status(crlOf(issuerOf(await testAuthority({ name: 'another' })))), 'no_crl');
});

t.test('one list that cannot be read spoils all, and the text says which', async t => {
  const good = crlPem(crlOf(signer));
  const cases: [text: string, problem: RegExp][] = [
    ['', /empty/],
    ['x', /garbage/],
    [good.slice(0, -30), /truncated/],
    [good + authority.certPem, /block 2 is a CERTIFICATE/],
    [good + crlPem(Buffer.from('x')), /block 2 .* not exactly one list/],
  ];
  for (const [text, problem] of cases) t.match(readLists(text), { ok: false, problem });
});

t.test('a hundred thousand revoked certificates are read in less than a second', async t => {
  const serials = Array.from({ length: 100_000 }, (_, n) => `01${(n * 7).toString(16).padStart(30, '0')}`);
  const pem = crlPem(crlOf({ ...signer, entries: serials.map(serial => ({ serial })) }));
  const before = performance.now();
  const read = readLists(pem);
  if (!read.ok) return t.fail(read.problem);
  t.equal(read.lists.of(link(authority.certPem)).length, 1);
  const took = performance.now() - before;
  t.ok(took < 1_000, `${took.toFixed(0)} ms`);
  const revoked = read.lists.all[0]?.revoked;
  t.equal(revoked?.count, 100_000);
  t.equal(
    serials.every(serial => revoked?.has(serial)),
    true,
  );
  t.equal(
    serials.some(serial => revoked?.has(`${serial.slice(0, -1)}${serial.endsWith('f') ? 'e' : 'f'}00`)),
    false,
  );
});
