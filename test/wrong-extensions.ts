/** Leaves whose extensions are wrong, or odd and right. */
import {
  type CertificatePlan,
  der,
  KEY_USAGE,
  mutations,
  withExtension,
  withKeyUsage,
} from './certificates.ts';
import { believed, type WrongCertificate, wrong } from './wrong-certificate.ts';

const GOOD = 'spiffe://cluster.local/ns/foo/sa/sleep';
const KEY_USAGE_OID = '2.5.29.15';
const SAN_OID = '2.5.29.17';
const BASIC_CONSTRAINTS_OID = '2.5.29.19';
const PURPOSES_OID = '2.5.29.37';
const UNKNOWN_OID = '1.2.3.4';
const ANY_PURPOSE = der(0x06, Buffer.from('551d2500', 'hex'));
const BOTH = [1, 2].map(last => der(0x06, Uint8Array.of(0x2b, 6, 1, 5, 5, 7, 3, last)));

/** The extension of `oid` twice. */
function twice(oid: string): (plan: CertificatePlan) => CertificatePlan {
  return plan => ({
    ...plan,
    extensions: [...plan.extensions, ...plan.extensions.filter(extension => extension.oid === oid)],
  });
}

export const WRONG_EXTENSIONS: readonly WrongCertificate[] = [
  wrong('with cA true in BER', 'is_ca', {
    mutate: withExtension(BASIC_CONSTRAINTS_OID, der(0x30, der(0x01, Uint8Array.of(1)))),
  }),
  wrong('with keyCertSign and no basicConstraints', 'bad_key_usage', {
    mutate: mutations(
      withExtension(BASIC_CONSTRAINTS_OID, null),
      withKeyUsage(KEY_USAGE.digitalSignature, KEY_USAGE.keyCertSign),
    ),
  }),
  wrong('with a keyUsage of no bit', 'bad_key_usage', {
    mutate: withExtension(KEY_USAGE_OID, der(0x03, Uint8Array.of(0))),
  }),
  wrong('for any purpose by name only', 'bad_extended_key_usage', {
    mutate: withExtension(PURPOSES_OID, der(0x30, ANY_PURPOSE), false),
  }),
  wrong('with an empty list of purposes', 'bad_extended_key_usage', {
    mutate: withExtension(PURPOSES_OID, der(0x30), false),
  }),
  wrong('with two SANs', 'malformed_certificate', { mutate: twice(SAN_OID) }),
  wrong('with an unknown extension twice', 'malformed_certificate', {
    mutate: mutations(withExtension(UNKNOWN_OID, der(0x05), false), twice(UNKNOWN_OID)),
  }),
  wrong('with a SAN of nothing', 'no_uri_san', { mutate: withExtension(SAN_OID, der(0x30)) }),
  believed('for any purpose and both', {
    mutate: withExtension(PURPOSES_OID, der(0x30, ANY_PURPOSE, ...BOTH), false),
  }),
  believed('without basicConstraints', { mutate: withExtension(BASIC_CONSTRAINTS_OID, null) }),
  believed('with names of other kinds beside its URI', {
    mutate: withExtension(
      SAN_OID,
      der(
        0x30,
        der(0x82, 'admin.example'),
        der(0x81, 'admin@example.org'),
        der(0x86, GOOD),
        der(0x87, Uint8Array.of(127, 0, 0, 1)),
      ),
    ),
  }),
  believed('with an empty subject and a SAN that is not critical', {
    mutate: withExtension(SAN_OID, der(0x30, der(0x86, GOOD)), false),
  }),
];
