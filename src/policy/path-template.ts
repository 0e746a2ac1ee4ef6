// Hot path: matchesTemplate runs for every request that comes near a template and allocates nothing.
/** Path templates of operation.paths, as Envoy's URI templates: `{*}` is one segment, `{**}` any characters with slashes. */

export interface PathTemplate {
  /** The literal text before the first operator, with which every match begins. */
  readonly head: string;
  /** The literal segments: every match has them, whole. */
  readonly segments: readonly string[];
  /** What stands behind each `{*}`. */
  readonly afterOne: readonly string[];
  /** What stands behind `{**}`, which is the last operator; null when there is none. */
  readonly afterAny: string | null;
}

/** Istio's ContainsPathTemplate. */
export function isPathTemplate(value: string): boolean {
  return value.includes('{*}') || value.includes('{**}');
}

/** @param value a template that validation has passed: operators are whole segments, `{**}` the last of them */
export function compileTemplate(value: string): PathTemplate {
  const rest = value.indexOf('{**}');
  const before = rest === -1 ? value : value.slice(0, rest);
  const [head, ...afterOne] = before.split('{*}') as [string, ...string[]];
  const segments = value.split('/').filter(segment => segment !== '' && !segment.includes('{'));
  return { head, segments, afterOne, afterAny: rest === -1 ? null : value.slice(rest + 4) };
}

/** What an operator matches: pchar of RFC 3986, a percent sign for itself. */
const PCHAR = new Uint8Array(256);
for (const c of Buffer.from(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;:@=",
)) {
  PCHAR[c] = 1;
}
const SLASH = 0x2f;

/** Linear: a segment ends at its slash and nothing but literals follow `{**}`, so nothing is tried twice. */
export function matchesTemplate({ head, afterOne, afterAny }: PathTemplate, path: string): boolean {
  if (!standsAt(head, path, 0)) return false;
  let at = head.length;
  for (let i = 0; i < afterOne.length; i++) {
    const start = at;
    while (PCHAR[path.charCodeAt(at)] === 1) at++;
    const literal = afterOne[i] as string;
    if (at === start || !standsAt(literal, path, at)) return false;
    at += literal.length;
  }
  if (afterAny === null) return at === path.length;
  const end = path.length - afterAny.length;
  if (end < at || !standsAt(afterAny, path, end)) return false;
  for (; at < end; at++) {
    const c = path.charCodeAt(at);
    if (c !== SLASH && PCHAR[c] !== 1) return false;
  }
  return true;
}

/** `startsWith` at a place, without the call that costs more than looking at one character. */
function standsAt(literal: string, path: string, at: number): boolean {
  if (at + literal.length > path.length) return false;
  for (let i = 0; i < literal.length; i++) {
    if (path.charCodeAt(at + i) !== literal.charCodeAt(i)) return false;
  }
  return true;
}
