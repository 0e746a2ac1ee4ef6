/** One JWT rule, compiled: Envoy calls it a provider. */
import type { JwtRule } from '../config/resources.ts';
import { parseJwks, signatureFault, type VerificationKey } from './jwks.ts';
import { type KeySets, keySource } from './jwks-source.ts';
import { claim, type JsonObject } from './jwt-json.ts';
import { type Location, locationsOf } from './jwt-locations.ts';
import { type HeaderLine, type Outputs, outputsOf } from './jwt-output.ts';
import { REFUSALS, type Refusal } from './jwt-refusal.ts';
import { type Claims, type Token, timeFault } from './jwt-token.ts';

/** What a rule makes of a token whose signature it verified. */
export interface Acceptance {
  /** With space-delimited claims as lists. */
  readonly payload: JsonObject;
  /** Header lines for the app; null when a claim cannot be one, which refuses the request. */
  readonly lines: readonly HeaderLine[] | null;
}

export interface Provider {
  readonly locations: readonly Location[];
  readonly outputs: Outputs;
  /** The token goes on to the app. */
  readonly forwards: boolean;
  /** What is wrong with a token besides its signature; `now` in Unix seconds. */
  claimsFault(claims: Claims, now: number): Refusal | null;
  /** Never rejects. */
  verify(token: Token): Promise<Refusal | null>;
  accept(token: Token): Acceptance;
}

/** Claims that are lists of words in every rule (Istio's default). */
const SPACE_DELIMITED = ['permission', 'scope'];

/** Compiles a rule. Its key set is read at the first signature, not before. */
export function compileProvider(rule: JwtRule, keySets: KeySets): Provider {
  const { issuer } = rule;
  const audiences = new Set(rule.audiences.map(bareAudience));
  const delimited = [...new Set([...rule.spaceDelimitedClaims, ...SPACE_DELIMITED])];
  const outputs = outputsOf(rule);
  let keys: readonly VerificationKey[] | null | undefined;
  return {
    locations: locationsOf(rule),
    outputs,
    forwards: rule.forwardOriginalToken,
    claimsFault(claims, now) {
      if (issuer !== '' && claims.iss !== issuer) return REFUSALS.issuer;
      const fault = timeFault(claims, now);
      if (fault !== null) return fault;
      const allowed =
        audiences.size === 0 || claims.audiences.some(audience => audiences.has(bareAudience(audience)));
      return allowed ? null : REFUSALS.audience;
    },
    verify(token) {
      if (keys === undefined) keys = keysOf(rule, keySets);
      return keys === null ? Promise.resolve(REFUSALS.verification) : signatureFault(token, keys);
    },
    accept(token) {
      const { payload } = token.claims;
      return { payload: withLists(payload, delimited), lines: outputs.lines(token, payload) };
    },
  };
}

/** @returns null when the set could not be fetched: istiod puts a key in its place that nobody can sign with */
function keysOf(rule: JwtRule, keySets: KeySets): readonly VerificationKey[] | null {
  const source = keySource(rule);
  if (source === null) return parseJwks(rule.jwks ?? '');
  const set = Object.hasOwn(keySets, source) ? keySets[source] : undefined;
  return set !== undefined && 'jwks' in set ? parseJwks(set.jwks) : null;
}

/** Envoy compares audiences without http:// or https:// in front and one slash behind. */
function bareAudience(audience: string): string {
  return audience.replace(/^https?:\/\//, '').replace(/\/$/, '');
}

function withLists(payload: JsonObject, names: readonly string[]): JsonObject {
  const lists: [string, string[]][] = [];
  for (const name of names) {
    const value = claim(payload, name);
    const words = typeof value === 'string' ? value.split(' ').filter(word => word !== '') : [];
    if (words.length > 0) lists.push([name, words]);
  }
  // fromEntries defines members, also one that is called __proto__.
  return lists.length === 0 ? payload : Object.fromEntries([...Object.entries(payload), ...lists]);
}
