/**
 * SPIFFE IDs, read strictly: what is not exactly as SPIFFE-ID.md section 2 says is refused, nothing is folded,
 * decoded or normalised (`new URL()` would do all three).
 */

/** A SPIFFE ID with its parts. */
export interface SpiffeId {
  /** The whole ID as it stood. */
  readonly uri: string;
  readonly trustDomain: string;
  /** With the leading slash. */
  readonly path: string;
  /** From `/ns/NS/sa/SA` (Istio's form, exactly four segments); null for any other path. */
  readonly namespace: string | null;
  readonly serviceAccount: string | null;
}

/** Why a text is not a workload's SPIFFE ID. */
export type SpiffeFault =
  | 'too_long'
  | 'not_spiffe_scheme'
  | 'no_trust_domain'
  | 'bad_trust_domain'
  | 'no_path'
  | 'bad_path';

const MAX_OCTETS = 2048; // SPIFFE-ID 2.3: up to here must be supported, longer should not be made
const WHOLE = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)+)$/;
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/;
const ISTIO_PATH = /^\/ns\/([^/]+)\/sa\/([^/]+)$/;
const SCHEME = 'spiffe://';

/** Reads a workload's SPIFFE ID (a path is required: X509-SVID 3.1). */
export function parseSpiffeId(
  text: string,
): { readonly ok: true; readonly id: SpiffeId } | { readonly ok: false; readonly reason: SpiffeFault } {
  const whole = text.length <= MAX_OCTETS ? WHOLE.exec(text) : null;
  const trustDomain = whole?.[1];
  const path = whole?.[2];
  if (trustDomain === undefined || path === undefined || DOT_SEGMENT.test(path)) {
    return { ok: false, reason: faultOf(text) };
  }
  const istio = ISTIO_PATH.exec(path);
  return {
    ok: true,
    id: {
      uri: text,
      trustDomain,
      path,
      namespace: istio?.[1] ?? null,
      serviceAccount: istio?.[2] ?? null,
    },
  };
}

/** Whether a text can be a trust domain's name (SPIFFE-ID 2.1). */
export function isTrustDomain(text: string): boolean {
  return /^[a-z0-9._-]{1,255}$/.test(text);
}

function faultOf(text: string): SpiffeFault {
  if (text.length > MAX_OCTETS) return 'too_long';
  if (!text.startsWith(SCHEME)) return 'not_spiffe_scheme';
  const slash = text.indexOf('/', SCHEME.length);
  const trustDomain = text.slice(SCHEME.length, slash < 0 ? undefined : slash);
  if (trustDomain === '') return 'no_trust_domain';
  if (!isTrustDomain(trustDomain)) return 'bad_trust_domain';
  return slash < 0 || slash === text.length - 1 ? 'no_path' : 'bad_path';
}
