// Hot path: isRequestPrincipal and claimMatches run for clauses of every request and allocate nothing.
/** What policy asks of a verified token: who it is about, and its claims. Claims are Unicode text, not bytes. */
import type { VerifiedJwt } from './attributes.ts';
import { isFilled, matchesText, type TextMatcher } from './text.ts';

/** One value of `requestPrincipals` with a `*`. */
interface PrincipalPattern {
  readonly iss: Part;
  readonly sub: Part;
}

export interface Part {
  readonly how: 'exact' | 'prefix' | 'suffix' | 'present';
  readonly text: string;
}

export interface RequestPrincipals {
  /** Subjects by issuer. */
  readonly exact: ReadonlyMap<string, ReadonlySet<string>>;
  readonly patterns: readonly PrincipalPattern[];
}

/** Splits each value as Istio does, at its last slash: an issuer may be a URL. */
export function compileRequestPrincipals(values: readonly string[]): RequestPrincipals {
  const exact = new Map<string, Set<string>>();
  const patterns: PrincipalPattern[] = [];
  for (const value of values) {
    const pattern = patternOf(value);
    const { iss, sub } = pattern;
    if (iss.how !== 'exact' || sub.how !== 'exact') {
      patterns.push(pattern);
      continue;
    }
    const subjects = exact.get(iss.text) ?? new Set();
    exact.set(iss.text, subjects.add(sub.text));
  }
  return { exact, patterns };
}

const PRESENT: Part = { how: 'present', text: '' };

function patternOf(value: string): PrincipalPattern {
  const slash = value.lastIndexOf('/');
  const iss = slash === -1 ? value : value.slice(0, slash);
  const sub = slash === -1 ? '' : value.slice(slash + 1);
  if (value === '*') return { iss: PRESENT, sub: PRESENT };
  if (value.startsWith('*')) {
    if (slash === -1) return { iss: PRESENT, sub: { how: 'suffix', text: value.slice(1) } };
    const issuer: Part = iss === '*' ? PRESENT : { how: 'suffix', text: iss.slice(1) };
    return { iss: issuer, sub: { how: 'exact', text: sub } };
  }
  if (value.endsWith('*')) {
    if (slash === -1) return { iss: { how: 'prefix', text: value.slice(0, -1) }, sub: PRESENT };
    const subject: Part = sub === '*' ? PRESENT : { how: 'prefix', text: sub.slice(0, -1) };
    return { iss: { how: 'exact', text: iss }, sub: subject };
  }
  return { iss: { how: 'exact', text: iss }, sub: { how: 'exact', text: sub } };
}

/** Whether the token's issuer and subject are among them; without a token nobody is. */
export function isRequestPrincipal(principals: RequestPrincipals, jwt: VerifiedJwt | null): boolean {
  if (jwt === null) return false;
  const { iss, sub } = jwt.payload;
  if (typeof iss !== 'string' || typeof sub !== 'string') return false;
  const { exact, patterns } = principals;
  if (exact.get(iss)?.has(sub) === true) return true;
  for (let i = 0; i < patterns.length; i++) {
    const pattern = patterns[i] as PrincipalPattern;
    if (partMatches(pattern.iss, iss) && partMatches(pattern.sub, sub)) return true;
  }
  return false;
}

function partMatches({ how, text }: Part, given: string): boolean {
  switch (how) {
    case 'exact':
      return given === text;
    case 'prefix':
      return given.startsWith(text);
    case 'suffix':
      return given.endsWith(text);
    case 'present':
      return isFilled(given);
  }
}

/**
 * The names of `request.auth.claims[a][b]`, outermost first; brackets that do not pair up are part of one name, as in
 * Istio.
 * @param brackets what follows `request.auth.claims`
 * @returns null when it does not stand in brackets
 */
export function claimPath(brackets: string): readonly string[] | null {
  if (/^(?:\[[^[\]]*\])+$/.test(brackets)) return brackets.slice(1, -1).split('][');
  return brackets.startsWith('[') && brackets.endsWith(']') && brackets.length > 1
    ? [brackets.slice(1, -1)]
    : null;
}

/** Whether the claim is a string that matches, or a list with such a string in it. */
export function claimMatches(path: readonly string[], text: TextMatcher, jwt: VerifiedJwt | null): boolean {
  const value = claimOf(path, jwt);
  if (typeof value === 'string') return matchesText(text, value);
  if (!Array.isArray(value)) return false;
  for (let i = 0; i < value.length; i++) {
    const element: unknown = value[i];
    if (typeof element === 'string' && matchesText(text, element)) return true;
  }
  return false;
}

/** The claim; undefined when there is none. */
export function claimOf(path: readonly string[], jwt: VerifiedJwt | null): unknown {
  let value: unknown = jwt?.payload;
  for (let i = 0; i < path.length; i++) {
    const name = path[i] as string;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    // Only what the token holds: `constructor` is no claim.
    if (!Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}
