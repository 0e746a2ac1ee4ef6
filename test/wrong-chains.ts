/** Good leaves below signing certificates that are wrong, or odd and right. The reasons are mostly OpenSSL's. */
import type { AuthorityOptions } from '../src/identity/dev-ca.ts';
import {
  type CertificatePlan,
  der,
  KEY_USAGE,
  testIdentity,
  testIntermediate,
  withExtension,
  withKeyUsage,
  withPurposes,
} from './certificates.ts';
import type { WrongCertificate } from './wrong-certificate.ts';

type Mutation = (plan: CertificatePlan) => CertificatePlan;

const BASIC_CONSTRAINTS_OID = '2.5.29.19';
const NAME_CONSTRAINTS_OID = '2.5.29.30';
const PERMITTED = 0xa0;
const EXCLUDED = 0xa1;
const HOUR_MS = 3_600_000;

function below(
  name: string,
  reason: string | null,
  options: Omit<AuthorityOptions, 'trustDomain'>,
): WrongCertificate {
  return {
    name,
    client: reason,
    server: reason,
    make: async authority => testIdentity(await testIntermediate(authority, options), 'foo/sleep'),
  };
}

/** RFC 5280 4.2.1.10: of a URI the host is compared. */
function constrained(tree: number, host: string, critical = true): Mutation {
  const names = der(0x30, der(tree, der(0x30, der(0x86, host))));
  return withExtension(NAME_CONSTRAINTS_OID, names, critical);
}

function pathLength(length: number): Mutation {
  const constraints = der(0x30, der(0x01, Uint8Array.of(0xff)), der(0x02, Uint8Array.of(length)));
  return withExtension(BASIC_CONSTRAINTS_OID, constraints);
}

function named(uri: string): Mutation {
  return withExtension('2.5.29.17', der(0x30, der(0x86, uri)), false);
}

export const WRONG_CHAINS: readonly WrongCertificate[] = [
  below('of an intermediate without basicConstraints', 'bad_chain', {
    mutate: withExtension(BASIC_CONSTRAINTS_OID, null),
  }),
  below('of an intermediate with cRLSign only', 'untrusted', { mutate: withKeyUsage(KEY_USAGE.cRLSign) }),
  below('of an intermediate that expired', 'expired', { now: Date.now() - 48 * HOUR_MS, days: 1 }),
  below('of an intermediate that is valid from tomorrow', 'not_yet_valid', {
    now: Date.now() + 24 * HOUR_MS,
  }),
  below('of an intermediate for signing code', 'bad_chain', { mutate: withPurposes(3) }),
  below('of an intermediate with an unknown critical extension', 'untrusted', {
    mutate: withExtension('1.2.3.4', der(0x05)),
  }),
  below("of an intermediate with a workload's SPIFFE ID", 'bad_chain', {
    mutate: named('spiffe://cluster.local/ns/foo/sa/sleep'),
  }),
  below('of an intermediate for another trust domain', 'untrusted', {
    mutate: constrained(PERMITTED, 'example.org'),
  }),
  below('of an intermediate for another trust domain, not critical', 'untrusted', {
    mutate: constrained(PERMITTED, 'example.org', false),
  }),
  below('of an intermediate for sub-domains of the trust domain', 'untrusted', {
    mutate: constrained(PERMITTED, '.cluster.local'),
  }),
  below('of an intermediate for all but the trust domain', 'untrusted', {
    mutate: constrained(EXCLUDED, 'cluster.local'),
  }),
  {
    name: 'of an intermediate below one that may have none',
    client: 'bad_chain',
    server: 'bad_chain',
    make: async authority => {
      const first = await testIntermediate(authority, { mutate: pathLength(0) });
      return testIdentity(await testIntermediate(first, { name: 'second' }), 'foo/sleep');
    },
  },
  {
    ...below('of an intermediate for servers', 'bad_chain', { mutate: withPurposes(1) }),
    server: null,
  },
  {
    ...below('of an intermediate for clients', 'bad_chain', { mutate: withPurposes(2) }),
    client: null,
  },
  below('of an intermediate for the trust domain', null, { mutate: constrained(PERMITTED, 'cluster.local') }),
  below('of an intermediate for all but another trust domain', null, {
    mutate: constrained(EXCLUDED, 'example.org'),
  }),
  below("of an intermediate with the trust domain's SPIFFE ID", null, {
    mutate: named('spiffe://cluster.local'),
  }),
  {
    name: 'whose intermediates come in the wrong order',
    client: null,
    server: null,
    make: async authority => {
      const second = await testIntermediate(await testIntermediate(authority), { name: 'second' });
      const pems = await testIdentity(second, 'foo/sleep');
      const blocks = pems.certChainPem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
      const [leaf, near, far] = blocks;
      return { ...pems, certChainPem: `${leaf}\n${far}\n${near}\n` };
    },
  },
];
