/** The header that tells a caller, in a development run, what refused the request. */

/** Field name of the header. */
export const DECISION_HEADER = 'x-outrider-decision';

const MAX_PART = 512; // characters of one part; names of policies come from files

/** What refused; a `Decision` is one. */
export interface Refusal {
  /** `namespace/name` of the policy whose rule matched; null when none did. */
  readonly policy: string | null;
  readonly rule: number | null;
  /** The ALLOW policies none of which matched, with commas; else null. */
  readonly missed: string | null;
  /** As in response_code_details. */
  readonly reason: string;
}

/**
 * The value of `x-outrider-decision`: `policy=foo/p; rule=0; reason=…`, without the parts that have no meaning.
 * @param provider the external authorizer that refused; null when none was asked
 */
export function decisionHeader(
  { policy, rule, missed, reason }: Refusal,
  provider: string | null = null,
): string {
  const parts: string[] = [];
  if (provider !== null) parts.push(`provider=${word(provider)}`);
  if (policy !== null) parts.push(`policy=${word(policy)}`);
  if (rule !== null) parts.push(`rule=${rule}`);
  if (missed !== null) parts.push(`missed=${word(missed)}`);
  if (reason !== '') parts.push(`reason=${word(reason)}`);
  return parts.join('; ');
}

/** What a header value can hold and what cannot be taken for another part. */
function word(text: string): string {
  const safe = text.replace(/[^\x21-\x7e]|;/g, '_');
  return safe.length <= MAX_PART ? safe : `${safe.slice(0, MAX_PART)}...`;
}
