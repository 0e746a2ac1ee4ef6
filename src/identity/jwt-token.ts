/** A token taken apart: what Envoy reads of it before any key is asked. */
import { claim, type JsonObject, parseJsonObject } from './jwt-json.ts';
import { isRefusal, REFUSALS, type Refusal, TIME_REFUSALS } from './jwt-refusal.ts';

export interface Token {
  /** The two sections that are signed, as they came. */
  readonly header: string;
  readonly payload: string;
  readonly signature: Buffer;
  readonly alg: Algorithm;
  /** '' = none, which fits every key. */
  readonly kid: string;
  /** It has `crit`: extensions that must be understood (RFC 7515 section 4.1.11), and none is here. */
  readonly critical: boolean;
  readonly claims: Claims;
}

/** What of a token is looked at on every request. */
export interface Claims {
  /** '' when absent. */
  readonly iss: string;
  readonly audiences: readonly string[];
  /** Unix seconds; 0 = absent (or 0, which Envoy takes for absent). */
  readonly exp: number;
  readonly nbf: number;
  readonly payload: JsonObject;
}

const ALGORITHMS = [
  ...(['ES256', 'ES384', 'ES512', 'HS256', 'HS384', 'HS512', 'EdDSA'] as const),
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

const CLOCK_SKEW_S = 60; // Envoy's default
const UINT64 = 2 ** 64;

/** Takes a token apart; of several faults the one that Envoy finds first. Empty sections between dots do not count. */
export function parseToken(text: string): Token | Refusal {
  const sections = sectionsOf(text);
  if (sections === null) return REFUSALS.format;
  const [header, payload, signature] = sections;
  const head = parseHeader(header);
  if (isRefusal(head)) return head;
  const payloadBytes = decodeBase64url(payload);
  if (payloadBytes === null) return REFUSALS.payloadBase64;
  const parsed = parseJsonObject(payloadBytes);
  if (parsed === null) return REFUSALS.payloadJson;
  const claims = readClaims(parsed);
  if (isRefusal(claims)) return claims;
  const signatureBytes = decodeBase64url(signature);
  if (signatureBytes === null) return REFUSALS.signatureBase64;
  return { ...head, header, payload, signature: signatureBytes, claims };
}

/** Whether the token's times fit; seconds since 1970. */
export function timeFault({ nbf, exp }: Claims, now: number): Refusal | null {
  if (now + CLOCK_SKEW_S < nbf) return REFUSALS.notYetValid;
  return exp !== 0 && now > exp + CLOCK_SKEW_S ? REFUSALS.expired : null;
}

function sectionsOf(text: string): readonly [string, string, string] | null {
  const sections: string[] = [];
  for (let start = 0; start < text.length; ) {
    const dot = text.indexOf('.', start);
    const end = dot === -1 ? text.length : dot;
    if (end > start && sections.push(text.slice(start, end)) > 3) return null;
    start = end + 1;
  }
  const [header, payload, signature] = sections;
  if (header === undefined || payload === undefined || signature === undefined) return null;
  return [header, payload, signature];
}

function parseHeader(section: string): Pick<Token, 'alg' | 'kid' | 'critical'> | Refusal {
  const bytes = decodeBase64url(section);
  if (bytes === null) return REFUSALS.headerBase64;
  const header = parseJsonObject(bytes);
  if (header === null) return REFUSALS.headerJson;
  const name = claim(header, 'alg');
  if (typeof name !== 'string') return REFUSALS.headerAlg;
  const alg = ALGORITHMS.find(known => known === name);
  if (alg === undefined) return REFUSALS.headerAlgUnknown;
  const kid = stringClaim(header, 'kid');
  return kid === null ? REFUSALS.headerKid : { alg, kid, critical: Object.hasOwn(header, 'crit') };
}

function readClaims(payload: JsonObject): Claims | Refusal {
  const iss = stringClaim(payload, 'iss');
  if (iss === null) return REFUSALS.iss;
  if (stringClaim(payload, 'sub') === null) return REFUSALS.sub;
  const iat = timeClaim(payload, 'iat');
  if (typeof iat !== 'number') return iat;
  const nbf = timeClaim(payload, 'nbf');
  if (typeof nbf !== 'number') return nbf;
  const exp = timeClaim(payload, 'exp');
  if (typeof exp !== 'number') return exp;
  if (stringClaim(payload, 'jti') === null) return REFUSALS.jti;
  const audiences = audienceClaim(payload);
  return audiences === null ? REFUSALS.aud : { iss, audiences, exp, nbf, payload };
}

/** '' when absent, null when it is something else. */
function stringClaim(payload: JsonObject, name: string): string | null {
  const value = claim(payload, name);
  if (value === undefined) return '';
  return typeof value === 'string' ? value : null;
}

function timeClaim(payload: JsonObject, name: 'iat' | 'nbf' | 'exp'): number | Refusal {
  const value = claim(payload, name);
  if (value === undefined) return 0;
  if (typeof value !== 'number') return TIME_REFUSALS[name].type;
  return value < 0 || value >= UINT64 ? TIME_REFUSALS[name].range : Math.trunc(value);
}

function audienceClaim(payload: JsonObject): readonly string[] | null {
  const value = claim(payload, 'aud');
  if (value === undefined) return [];
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return null;
  return value.every(one => typeof one === 'string') ? value : null;
}

const BASE64URL = /^[\w-]*$/;
const SPACED_BASE64URL = /^([\w-]*)(={0,2})$/;

/**
 * Base64url as Envoy's library takes it: white space is skipped, padding may be there but then all of it.
 * @returns null when the text is something else
 */
export function decodeBase64url(text: string): Buffer | null {
  let digits = text;
  if (!BASE64URL.test(text)) {
    const [, unpadded, padding] = SPACED_BASE64URL.exec(text.replace(/[ \t\n\v\f\r]/g, '')) ?? [];
    if (unpadded === undefined || padding === undefined) return null;
    if (padding !== '' && (unpadded.length + padding.length) % 4 !== 0) return null;
    digits = unpadded;
  }
  return digits.length % 4 === 1 ? null : Buffer.from(digits, 'base64url');
}
