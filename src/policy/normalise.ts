// Hot path: a target with nothing to do comes back as the same string.
/**
 * Path normalisation (meshConfig.pathNormalization), done once: what policy matches is what is forwarded.
 * The rules are Envoy's (its URL canonicaliser, merge_slashes, path_with_escaped_slashes_action), checked against it.
 */
import type { PathNormalization } from '../config/resources.ts';

const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const QUERY = 0x3f;
const BACKSLASH = 0x5c;

// What a path character asks for: 0 nothing, 1 a look (`%` and `\`), 2 percent-encoding, 3 refusal.
const WORK = new Uint8Array(256).fill(3);
WORK.fill(0, 0x21, 0x7f);
for (const c of '"<>^`{|}') WORK[c.charCodeAt(0)] = 2;
WORK[PERCENT] = 1;
WORK[BACKSLASH] = 1;

const UNRESERVED = /^[A-Za-z0-9\-._~]$/;

/**
 * The path and query to match and to forward.
 * - always: a `#fragment` is dropped;
 * - BASE: escapes of unreserved characters decoded, `\` is `/`, `"<>^{|}` and the backquote encoded, `.` and `..` segments
 *   resolved, those with path parameters (`..;x`) too;
 * - MERGE_SLASHES: then runs of `/` become one;
 * - DECODE_AND_MERGE_SLASHES: before all that `%2F` and `%5C` become `/`.
 * @param target origin-form as received, or `*`, which stays
 * @returns null when the request must get 400: not origin-form, `%00`, a control or non-ASCII byte
 */
export function normaliseTarget(target: string, mode: PathNormalization): string | null {
  if (target.charCodeAt(0) !== SLASH) return target === '*' ? target : null;
  const fragment = target.indexOf('#');
  const text = fragment === -1 ? target : target.slice(0, fragment);
  if (mode === 'NONE' || isNormal(text, mode !== 'BASE')) return text;
  const query = text.indexOf('?');
  const path = normalisePath(query === -1 ? text : text.slice(0, query), mode);
  return path === null || query === -1 ? path : path + text.slice(query);
}

/** The path of a target: everything before the query. */
export function pathOf(target: string): string {
  const query = target.indexOf('?');
  return query === -1 ? target : target.slice(0, query);
}

/** False when the path needs a second look; it may still turn out to be normal. */
function isNormal(text: string, merge: boolean): boolean {
  let afterSlash = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === SLASH) {
      if (afterSlash && merge) return false;
      afterSlash = true;
    } else {
      if (c === QUERY) return true;
      if (WORK[c] !== 0 || (c === DOT && afterSlash)) return false;
      afterSlash = false;
    }
  }
  return true;
}

function normalisePath(path: string, mode: PathNormalization): string | null {
  const decoded = decode(path, mode === 'DECODE_AND_MERGE_SLASHES');
  if (decoded === null) return null;
  const resolved = resolveDots(decoded);
  return mode === 'BASE' ? resolved : mergeSlashes(resolved);
}

/** One pass over escapes, `\` and characters that a URL may not hold raw. */
function decode(path: string, unescapeSlashes: boolean): string | null {
  let out = '';
  const stray: number[] = [];
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i);
    const work = WORK[c] ?? 3;
    if (work === 3) return null;
    if (work === 0) out += path[i];
    else if (work === 2) out += percent(c);
    else if (c === BACKSLASH) out += '/';
    else {
      const value = hexPair(path, i + 1);
      if (value === 0) return null;
      if (value === -1) {
        stray.push(out.length);
        out += '%';
        continue;
      }
      const char = String.fromCharCode(value);
      if (unescapeSlashes && (value === SLASH || value === BACKSLASH)) out += '/';
      else out += UNRESERVED.test(char) ? char : path.slice(i, i + 3);
      i += 2;
    }
  }
  return stray.length === 0 ? out : escapeStrays(out, stray);
}

/**
 * `%2%65` decodes to `%2e`, an escape that nobody sent and the next server would decode to a dot: its `%` becomes `%25`.
 * @param stray places of `%` that began no escape
 */
function escapeStrays(text: string, stray: readonly number[]): string {
  let out = '';
  let from = 0;
  for (const at of stray) {
    if (hexPair(text, at + 1) === -1) continue;
    out += `${text.slice(from, at)}%25`;
    from = at + 1;
  }
  return out + text.slice(from);
}

/** `.` and `..` segments (RFC 3986 5.2.4). Servers that cut `;parameters` first would see them in `..;x`: so do we. */
function resolveDots(path: string): string {
  if (!path.includes('/.')) return path;
  const segments = path.split('/');
  const kept: string[] = [];
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] as string;
    const parameters = segment.indexOf(';');
    const name = parameters === -1 ? segment : segment.slice(0, parameters);
    if (name === '..') kept.pop();
    else if (name !== '.') {
      kept.push(segment);
      continue;
    }
    if (i === segments.length - 1) kept.push('');
  }
  return `/${kept.join('/')}`;
}

/** Empty segments go; a path of nothing but slashes keeps two, as in Envoy. */
function mergeSlashes(path: string): string {
  if (!path.includes('//')) return path;
  const segments = path.split('/').filter(segment => segment !== '');
  return `/${segments.join('/')}${path.endsWith('/') ? '/' : ''}`;
}

/** The byte that two hexadecimal digits at `at` stand for, or -1. */
function hexPair(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high === -1 || low === -1 ? -1 : high * 16 + low;
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = c | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

function percent(c: number): string {
  return `%${c.toString(16).toUpperCase().padStart(2, '0')}`;
}
