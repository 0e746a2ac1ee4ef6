/**
 * The corpus of certificates that must not be believed, each with the reason that a peer is refused for. `client` is
 * the reason when the holder connects, `server` when the holder is connected to; null = that side accepts it.
 */
import {
  der,
  KEY_USAGE,
  mutations,
  rawUris,
  testAuthority,
  testIdentity,
  testIntermediate,
  withCa,
  withExtension,
  withKeyUsage,
  withPurposes,
} from './certificates.ts';
import { believed, type WrongCertificate, wrong } from './wrong-certificate.ts';
import { WRONG_CHAINS } from './wrong-chains.ts';
import { WRONG_EXTENSIONS } from './wrong-extensions.ts';

const GOOD = 'spiffe://cluster.local/ns/foo/sa/sleep';
const HOUR_MS = 3_600_000;

function wrongUri(name: string, reason: string, ...uris: string[]): WrongCertificate {
  return wrong(name, reason, { mutate: rawUris(...uris) });
}

/** What is wrong with the leaf and its name. */
export const WRONG_LEAVES: readonly WrongCertificate[] = [
  wrong('expired a second ago', 'expired', { notBefore: Date.now() - HOUR_MS, ttlMs: -1_000 }),
  wrong('valid from tomorrow', 'not_yet_valid', {
    notBefore: Date.now() + 24 * HOUR_MS,
    ttlMs: 25 * HOUR_MS,
  }),
  {
    name: 'of another authority',
    client: 'untrusted',
    server: 'untrusted',
    make: async () => testIdentity(await testAuthority(), 'foo/sleep'),
  },
  {
    name: 'of another authority with the same name',
    client: 'untrusted',
    server: 'untrusted',
    make: async authority => ({
      ...(await testIdentity(await testAuthority(), 'foo/sleep')),
      rootPem: authority.rootPem,
    }),
  },
  {
    name: 'of an intermediate that is not sent along',
    client: 'untrusted',
    server: 'untrusted',
    make: async authority => {
      const pems = await testIdentity(await testIntermediate(authority), 'foo/sleep');
      return { ...pems, certChainPem: pems.certChainPem.replace(/(END CERTIFICATE-----\n)[\s\S]*/, '$1') };
    },
  },
  {
    name: 'of an intermediate that is no CA',
    client: 'bad_chain',
    server: 'bad_chain',
    make: async authority =>
      testIdentity(await testIntermediate(authority, { mutate: withCa(false) }), 'foo/sleep'),
  },
  {
    name: 'of an intermediate without keyCertSign',
    client: 'untrusted',
    server: 'untrusted',
    make: async authority =>
      testIdentity(
        await testIntermediate(authority, { mutate: withKeyUsage(KEY_USAGE.digitalSignature) }),
        'foo/sleep',
      ),
  },
  {
    name: 'of another leaf',
    client: 'untrusted',
    server: 'untrusted',
    make: async authority => {
      const holder = await testIdentity(authority, 'foo/holder');
      const signer = {
        ...authority,
        certPem: holder.certChainPem,
        keyPem: holder.keyPem,
        chainPem: holder.certChainPem,
      };
      return testIdentity(signer, 'foo/sleep');
    },
  },
  {
    name: 'self-signed',
    client: 'is_ca',
    server: 'is_ca',
    make: async () => {
      const own = await testAuthority();
      return { certChainPem: own.rootPem, keyPem: own.keyPem, rootPem: own.rootPem };
    },
  },
  {
    name: 'that is the root itself',
    client: 'is_ca',
    server: 'is_ca',
    make: async authority => ({
      certChainPem: authority.rootPem,
      keyPem: authority.keyPem,
      rootPem: authority.rootPem,
    }),
  },
  wrong('with cA true', 'is_ca', { mutate: withCa(true) }),
  wrong('with cA true and keyCertSign', 'is_ca', {
    mutate: mutations(withCa(true), withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyCertSign)),
  }),
  wrong('with keyCertSign', 'bad_key_usage', {
    mutate: withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyCertSign),
  }),
  wrong('with cRLSign', 'bad_key_usage', {
    mutate: withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.cRLSign),
  }),
  wrong('without digitalSignature', 'bad_key_usage', { mutate: withKeyUsage(KEY_USAGE.keyEncipherment) }),
  {
    ...wrong('for servers only', 'bad_extended_key_usage', { mutate: withPurposes(1) }),
    server: null,
  },
  {
    ...wrong('for clients only', 'bad_extended_key_usage', { mutate: withPurposes(2) }),
    client: null,
  },
  wrong('for signing code only', 'bad_extended_key_usage', { mutate: withPurposes(3) }),
  wrong('without a SAN', 'no_uri_san', { subject: `CN=${GOOD}`, mutate: withExtension('2.5.29.17', null) }),
  wrong('with the SPIFFE ID as DNS and mail names', 'no_uri_san', {
    mutate: withExtension('2.5.29.17', der(0x30, der(0x82, GOOD), der(0x81, GOOD))),
  }),
  wrong('with a comma in a DNS name that reads as a URI', 'no_uri_san', {
    mutate: withExtension('2.5.29.17', der(0x30, der(0x82, `x, URI:${GOOD}`))),
  }),
  wrongUri('with two SPIFFE IDs', 'many_uri_sans', GOOD, 'spiffe://cluster.local/ns/foo/sa/admin'),
  wrongUri('with the same SPIFFE ID twice', 'many_uri_sans', GOOD, GOOD),
  wrongUri('with a SPIFFE ID and a URL', 'many_uri_sans', GOOD, 'https://example.org/'),
  wrongUri('with a NUL in its URI', 'malformed_san', 'spiffe://cluster.local/ns/foo/sa/sleep\0.evil'),
  wrongUri(
    'with a letter beyond ASCII in its URI',
    'malformed_san',
    'spiffe://cluster.local/ns/foo/sa/sl\xe9ep',
  ),
  wrongUri('with a line end in its URI', 'malformed_san', `${GOOD}\n`),
  wrongUri(
    'with a Cyrillic letter that looks like a Latin one',
    'malformed_san',
    Buffer.from('spiffe://cluster.local/ns/foo/sa/sl\u0435ep').toString('latin1'),
  ),
  wrongUri('with a tab in its URI', 'malformed_san', `${GOOD}\t`),
  wrongUri('with two IDs in one URI', 'bad_spiffe_id', `${GOOD}, URI:spiffe://cluster.local/ns/foo/sa/admin`),
  wrongUri('with a comma', 'bad_spiffe_id', 'spiffe://cluster.local/ns/foo/sa/sleep,admin'),
  wrongUri('with quotes around its URI', 'bad_spiffe_id', `"${GOOD}"`),
  wrongUri('with a quote in its path', 'bad_spiffe_id', "spiffe://cluster.local/ns/foo/sa/sl'eep"),
  wrongUri('with a space before its URI', 'bad_spiffe_id', ` ${GOOD}`),
  wrongUri('with a space after its URI', 'bad_spiffe_id', `${GOOD} `),
  wrongUri('with an empty URI', 'bad_spiffe_id', ''),
  wrongUri('with one slash after the scheme', 'bad_spiffe_id', 'spiffe:/cluster.local/ns/foo/sa/sleep'),
  wrongUri('without a trust domain', 'bad_spiffe_id', 'spiffe:///ns/foo/sa/sleep'),
  wrongUri('with backslashes', 'bad_spiffe_id', 'spiffe:\\\\cluster.local\\ns\\foo\\sa\\sleep'),
  wrongUri(
    'with a scheme that looks like spiffe',
    'bad_spiffe_id',
    'spifffe://cluster.local/ns/foo/sa/sleep',
  ),
  wrongUri('with a mixed-case scheme', 'bad_spiffe_id', 'Spiffe://cluster.local/ns/foo/sa/sleep'),
  wrongUri(
    'with a percent sign in its trust domain',
    'bad_spiffe_id',
    'spiffe://cluster%2elocal/ns/foo/sa/sleep',
  ),
  wrongUri('with an encoded slash', 'bad_spiffe_id', 'spiffe://cluster.local/ns/foo/sa%2fsleep'),
  wrongUri('with an IPv6 address', 'bad_spiffe_id', 'spiffe://[::1]/ns/foo/sa/sleep'),
  wrongUri(
    'with a trust domain of 256 octets',
    'bad_spiffe_id',
    `spiffe://${'a'.repeat(256)}/ns/foo/sa/sleep`,
  ),
  wrongUri('with a tilde', 'bad_spiffe_id', 'spiffe://cluster.local/ns/foo/sa/~sleep'),
  wrongUri('with a dot segment at its end', 'bad_spiffe_id', `${GOOD}/.`),
  wrongUri('with two dots at its end', 'bad_spiffe_id', `${GOOD}/..`),
  wrongUri('with a slash only', 'bad_spiffe_id', 'spiffe://cluster.local/'),
  wrongUri('with a URL', 'bad_spiffe_id', 'https://cluster.local/ns/foo/sa/sleep'),
  wrongUri('with an upper-case scheme', 'bad_spiffe_id', 'SPIFFE://cluster.local/ns/foo/sa/sleep'),
  wrongUri('with an upper-case trust domain', 'bad_spiffe_id', 'spiffe://CLUSTER.local/ns/foo/sa/sleep'),
  wrongUri('with a port', 'bad_spiffe_id', 'spiffe://cluster.local:443/ns/foo/sa/sleep'),
  wrongUri('with user information', 'bad_spiffe_id', 'spiffe://x@cluster.local/ns/foo/sa/sleep'),
  wrongUri('with a query', 'bad_spiffe_id', `${GOOD}?x`),
  wrongUri('with a fragment', 'bad_spiffe_id', `${GOOD}#x`),
  wrongUri('with a percent sign', 'bad_spiffe_id', 'spiffe://cluster.local/ns/foo/sa/%73leep'),
  wrongUri('with a trailing slash', 'bad_spiffe_id', `${GOOD}/`),
  wrongUri('with an empty segment', 'bad_spiffe_id', 'spiffe://cluster.local/ns//sa/sleep'),
  wrongUri('with dot segments', 'bad_spiffe_id', 'spiffe://cluster.local/ns/foo/sa/x/../sleep'),
  wrongUri('with a trust domain only', 'bad_spiffe_id', 'spiffe://cluster.local'),
  wrongUri('with 2049 octets', 'bad_spiffe_id', `spiffe://cluster.local/${'a'.repeat(2026)}`),
  wrongUri('of a foreign trust domain', 'foreign_trust_domain', 'spiffe://example.org/ns/foo/sa/sleep'),
  wrongUri(
    'of a trust domain with a digit for a letter',
    'foreign_trust_domain',
    GOOD.replace('local', '1ocal'),
  ),
  wrongUri('of a trust domain that ends with a dot', 'foreign_trust_domain', GOOD.replace('local', 'local.')),
  wrongUri(
    'of a trust domain that begins as ours',
    'foreign_trust_domain',
    GOOD.replace('local', 'local.evil'),
  ),
  wrongUri('of a sub-domain', 'foreign_trust_domain', 'spiffe://x.cluster.local/ns/foo/sa/sleep'),
  believed('of 2048 octets', { mutate: rawUris(`spiffe://cluster.local/${'a'.repeat(2025)}`) }),
  believed('with segments of three dots', { mutate: rawUris('spiffe://cluster.local/.../..x/.y') }),
  believed('with another path than Istio has', { mutate: rawUris('spiffe://cluster.local/Some_Thing-1') }),
];

/** All of them. */
export const WRONG_CERTIFICATES: readonly WrongCertificate[] = [
  ...WRONG_LEAVES,
  ...WRONG_EXTENSIONS,
  ...WRONG_CHAINS,
];
