import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { readCertificate, readIssuer } from '../../src/identity/certificate.ts';
import { judgePeer } from '../../src/identity/peer.ts';
import { der, mutations, rawUris, testAuthority, testIdentity, withExtension } from '../certificates.ts';

const authority = await testAuthority();
const good = await certificate({});

async function certificate(options: Parameters<typeof testIdentity>[2]): Promise<X509Certificate> {
  return new X509Certificate((await testIdentity(authority, 'foo/sleep', options)).certChainPem);
}

/** A copy of the good certificate with bytes changed; its signature no longer fits, which nobody here asks. */
function changed(change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(good.raw);
  change(bytes);
  return bytes;
}

t.test('reads what node:crypto reads', async t => {
  const root = new X509Certificate(authority.rootPem);
  for (const x509 of [good, root]) {
    const fields = readCertificate(x509.raw);
    t.equal(fields?.serial, x509.serialNumber);
    t.equal(fields?.notBefore, x509.validFromDate.getTime());
    t.equal(fields?.notAfter, x509.validToDate.getTime());
    t.equal(readIssuer(x509.raw), 'O=cluster.local,CN=Outrider development CA');
  }
  t.match(readCertificate(root.raw), {
    ca: true,
    keyUsage: 0x06,
    purposes: null,
    uris: ['spiffe://cluster.local'],
  });
  t.match(readCertificate(good.raw), { ca: false, keyUsage: 0x80, subject: '' });
});

t.test('reads dates in both of their forms', async t => {
  const now = Date.UTC(2049, 11, 31, 23, 59, 0);
  const x509 = await certificate({ now, notBefore: Date.UTC(1999, 1, 28, 3, 4, 5), ttlMs: 60_000 });
  const fields = readCertificate(x509.raw);
  t.equal(fields?.notBefore, Date.UTC(1999, 1, 28, 3, 4, 5), 'UTCTime of the last century');
  t.equal(fields?.notAfter, Date.UTC(2050, 0, 1), 'GeneralizedTime from 2050 on');
});

t.test('a date that is no date makes the certificate malformed', async t => {
  const at = good.raw.indexOf(Buffer.from([0x17, 0x0d])) + 2;
  for (const text of ['991331000000Z', '990230000000Z', '990101240000Z', '9901010000000', '99010100000aZ']) {
    const bytes = changed(copy => {
      copy.write(text, at, 'latin1');
    });
    t.equal(readCertificate(bytes), null, text);
  }
});

t.test('a subject is printed as OpenSSL prints it with -nameopt RFC2253', async t => {
  const subjects: [name: Buffer, expected: string][] = [
    [name(attribute('550403', 0x0c, 'sleep')), 'CN=sleep'],
    [name(attribute('550406', 0x13, 'DE'), attribute('55040a', 0x0c, 'a, b+c')), 'O=a\\, b\\+c,C=DE'],
    [name(attribute('55040a', 0x0c, Buffer.from('Ünï'))), 'O=\\C3\\9Cn\\C3\\AF'],
    [name(attribute('55040a', 0x14, 'caf\xe9')), 'O=caf\\C3\\A9'],
    [name(attribute('55040a', 0x1e, '\0A\x20\xac')), 'O=A\\E2\\82\\AC'],
    [name(attribute('550403', 0x0c, '#x ')), 'CN=\\#x\\ '],
    [name(attribute('550403', 0x0c, ' "<\\>;')), 'CN=\\ \\"\\<\\\\\\>\\;'],
    [name(attribute('550403', 0x0c, 'a\x01\x7f')), 'CN=a\\01\\7F'],
    [name(attribute('2a0304', 0x0c, 'x')), '1.2.3.4=#0C0178'],
    [name(attribute('550403', 0x03, '\x00\x01')), 'CN=#03020001'],
    [name(attribute('2a864886f70d010901', 0x16, 'a@b')), 'emailAddress=a@b'],
    [
      der(0x30, der(0x31, ...[attributeOf('550403', 0x0c, 'a'), attributeOf('55040b', 0x0c, 'b')])),
      'OU=b+CN=a',
    ],
  ];
  for (const [subject, expected] of subjects) {
    t.equal(readCertificate(withSubject(subject))?.subject, expected, expected);
  }
});

t.test('a second extension of a kind that matters makes the certificate malformed', async t => {
  const san = der(0x30, der(0x86, 'spiffe://cluster.local/ns/foo/sa/admin'));
  const twice = await certificate({
    mutate: plan => ({
      ...plan,
      extensions: [...plan.extensions, { oid: '2.5.29.17', critical: false, der: san }],
    }),
  });
  t.equal(readCertificate(twice.raw), null);
});

t.test('a URI in pieces (BER) makes the certificate malformed', async t => {
  const pieces = der(0x30, der(0xa6, der(0x16, 'spiffe://cluster.local/'), der(0x16, 'ns/foo/sa/admin')));
  const x509 = await certificate({ mutate: withExtension('2.5.29.17', pieces) });
  t.equal(readCertificate(x509.raw), null);
});

t.test('other names and other extensions change nothing', async t => {
  const names = der(
    0x30,
    der(0x82, 'x, URI:spiffe://cluster.local/ns/foo/sa/admin'),
    der(0x81, 'spiffe://cluster.local/ns/foo/sa/mail'),
    der(0x87, Uint8Array.of(127, 0, 0, 1)),
    der(0x86, 'spiffe://cluster.local/ns/foo/sa/sleep'),
  );
  const mutate = mutations(
    withExtension('2.5.29.17', names),
    withExtension('1.2.3.4', Uint8Array.of(1, 2), false),
  );
  const x509 = await certificate({ mutate });
  t.strictSame(readCertificate(x509.raw)?.uris, ['spiffe://cluster.local/ns/foo/sa/sleep']);
});

t.test('a long chain of names is read, and an endless one refused without being walked', async t => {
  const many = (count: number) => Array.from({ length: count }, (_, at) => `spiffe://td/${at}`);
  const hundred = await certificate({ mutate: rawUris(...many(100)) });
  t.equal(readCertificate(hundred.raw)?.uris.length, 100);
  const thousands = await certificate({ mutate: rawUris(...many(4_000)) });
  t.ok(thousands.raw.length > 64_000, 'a certificate of 64 KB');
  t.equal(readCertificate(thousands.raw), null);
});

t.test('garbage is malformed, never an exception', async t => {
  const evidence = {
    authorizationError: null,
    trust: { trustDomains: ['cluster.local'], refusal: () => null },
    role: 'client',
    now: Date.now(),
  } as const;
  for (let length = 0; length < good.raw.length; length += 1) {
    const cut = good.raw.subarray(0, length);
    if (readCertificate(cut) !== null) t.fail(`cut at ${length} was accepted`);
  }
  t.equal(readCertificate(Buffer.concat([good.raw, Buffer.of(0)])), null, 'a byte too many');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), bytes => {
      readCertificate(bytes);
      readIssuer(bytes);
      return judgePeer({ ...evidence, der: bytes }).ok === false;
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(
      fc.nat(good.raw.length - 1),
      fc.nat(255),
      fc.nat(good.raw.length - 1),
      fc.nat(255),
      (a, x, b, y) => {
        const bytes = changed(copy => {
          copy[a] = x;
          copy[b] = y;
        });
        const verdict = judgePeer({ ...evidence, der: bytes });
        return verdict.ok === true || typeof verdict.reason === 'string';
      },
    ),
    { numRuns: 5_000 },
  );
  for (const head of [
    '30847fffffff',
    '3084ffffffff',
    '3080',
    '30ff',
    '3085000000000',
    '1f8130',
    '308300ffff',
  ]) {
    t.equal(readCertificate(Buffer.concat([Buffer.from(head, 'hex'), Buffer.alloc(65_536)])), null, head);
  }
  t.equal(readCertificate(Buffer.alloc(65_536, 0x30)), null, 'nested without end');
});

function attributeOf(oid: string, tag: number, value: string | Buffer): Buffer {
  return der(0x30, der(0x06, Buffer.from(oid, 'hex')), der(tag, value));
}

function attribute(oid: string, tag: number, value: string | Buffer): Buffer {
  return der(0x31, attributeOf(oid, tag, value));
}

function name(...sets: Buffer[]): Buffer {
  return der(0x30, ...sets);
}

/** The good certificate with another subject; its own is the empty SEQUENCE that follows the dates. */
function withSubject(subject: Buffer): Buffer {
  const validity = good.raw.indexOf(Buffer.from([0x30, 0x1e, 0x17, 0x0d]));
  const outer = 4; // SEQUENCE with two length octets, twice
  const at = validity + 32;
  const body = Buffer.concat([good.raw.subarray(outer + 4, at), subject, good.raw.subarray(at + 2)]);
  const bodyEnd = good.raw.readUInt16BE(outer + 2) + subject.length - 2;
  return der(0x30, der(0x30, body.subarray(0, bodyEnd)), body.subarray(bodyEnd));
}
