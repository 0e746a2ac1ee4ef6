/** Why an identity, or revocation lists, are not taken: a file, a stable reason, and what to do. */

/** Why files are no identity; the same word in the log, the metric and `/certs`. */
export const IDENTITY_FAULT_REASONS = Object.freeze([
  'folder_missing',
  'file_missing',
  'file_unreadable',
  'file_too_large',
  'file_unstable',
  'file_empty',
  'not_pem',
  'bad_certificate',
  'bad_key',
  'key_encrypted',
  'key_mismatch',
  'expired',
  'not_yet_valid',
  'is_ca',
  'bad_key_usage',
  'malformed_san',
  'no_uri_san',
  'many_uri_sans',
  'bad_spiffe_id',
  'root_is_no_ca',
  'untrusted',
  'crl_missing',
  'crl_unreadable',
  'bad_crl',
  'crl_incomplete',
  'crl_expired',
  'unusable',
  'workload_api_away',
  'workload_api_silent',
  'workload_api_denied',
  'workload_api_refused',
  'bad_response',
  'no_svid',
  'svid_not_found',
] as const);

export type IdentityFaultReason = (typeof IDENTITY_FAULT_REASONS)[number];

export interface IdentityFault {
  /** The file's name as it stands in the folder, its path elsewhere; the folder itself for `folder_missing`; a Workload API's address. */
  readonly file: string;
  readonly reason: IdentityFaultReason;
  /** One line: the file, what is wrong, what to do. */
  readonly message: string;
}

/** Makes a fault; the message is always `<file>: <what>; <to do>`. */
export function identityFault(file: string, reason: IdentityFaultReason, text: string): IdentityFault {
  return { file, reason, message: `${file}: ${text}` };
}
