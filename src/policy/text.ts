// Hot path: matchesText runs for every clause of every request and allocates nothing.
/** String values of AuthorizationPolicy, compiled: exact, prefix, suffix, presence, path template (Istio's StringMatcher). */
import { wireText } from './attributes.ts';

/** What `*` alone asks for: headers may be empty; other strings may not, nor hold a line feed (Envoy's present_match against the regex `.+`). */
export type Presence = 'any' | 'nonEmpty';

export interface TextMatcher {
  /** The one exact value when there is just one, else null. */
  readonly exact: string | null;
  /** All exact values when there are several, else null. */
  readonly exacts: ReadonlySet<string> | null;
  readonly prefixes: readonly string[];
  readonly suffixes: readonly string[];
  readonly templates: readonly RegExp[];
  readonly presence: Presence | null;
}

export interface TextOptions {
  readonly presence: Presence;
  /** Compare in lower case: the caller gives lower-case text. */
  readonly foldCase?: boolean;
  /** `{*}` and `{**}` are operators (paths only). */
  readonly templates?: boolean;
  /** What is compared is Unicode text (claims), not bytes from the wire. */
  readonly unicode?: boolean;
}

// pchar of RFC 3986: what Envoy's URI template lets an operator match.
const PCHAR = "[A-Za-z0-9\\-._~%!$&'()*+,;:@=]";
const PCHAR_OR_SLASH = "[A-Za-z0-9\\-._~%!$&'()*+,;:@=/]";

/**
 * Compiles the values of one field. `*` = presence; a leading `*` makes a suffix (its rest is literal, even a `*` at
 * the end); a trailing `*` a prefix; anything else is exact.
 */
export function compileText(values: readonly string[], options: TextOptions): TextMatcher {
  const exacts: string[] = [];
  const prefixes: string[] = [];
  const suffixes: string[] = [];
  const templates: RegExp[] = [];
  let presence: Presence | null = null;
  for (const value of values) {
    const given = options.unicode === true ? value : wireText(value);
    const text = options.foldCase === true ? lowerCase(given) : given;
    if (options.templates === true && isPathTemplate(text)) templates.push(compileTemplate(text));
    else if (text === '*') presence = options.presence;
    else if (text.startsWith('*')) suffixes.push(text.slice(1));
    else if (text.endsWith('*')) prefixes.push(text.slice(0, -1));
    else exacts.push(text);
  }
  const several = exacts.length > 1;
  return {
    exact: several ? null : (exacts[0] ?? null),
    exacts: several ? new Set(exacts) : null,
    prefixes,
    suffixes,
    templates,
    presence,
  };
}

/** Whether any value matches `text`. */
export function matchesText(matcher: TextMatcher, text: string): boolean {
  if (matcher.exact === text) return true;
  if (matcher.exacts?.has(text)) return true;
  const { prefixes, suffixes, templates } = matcher;
  for (let i = 0; i < prefixes.length; i++) if (text.startsWith(prefixes[i] as string)) return true;
  for (let i = 0; i < suffixes.length; i++) if (text.endsWith(suffixes[i] as string)) return true;
  for (let i = 0; i < templates.length; i++) if ((templates[i] as RegExp).test(text)) return true;
  const { presence } = matcher;
  return presence !== null && (presence === 'any' || (text !== '' && !text.includes('\n')));
}

/** ASCII letters in lower case, other bytes as they are; the same string when it has no capitals. */
export function lowerCase(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x41 && c <= 0x5a) return text.replace(/[A-Z]+/g, letters => letters.toLowerCase());
  }
  return text;
}

/** Istio's ContainsPathTemplate. */
export function isPathTemplate(value: string): boolean {
  return value.includes('{*}') || value.includes('{**}');
}

/**
 * `{*}` is one segment of at least one character, `{**}` any characters with slashes, also none; the rest is literal.
 * Linear: `{*}` cannot cross a slash and nothing but literals may follow `{**}`, so there is nothing to backtrack into.
 */
function compileTemplate(value: string): RegExp {
  const segments = value.split('/').map(segment => {
    if (segment === '{*}') return `${PCHAR}+`;
    if (segment === '{**}') return `${PCHAR_OR_SLASH}*`;
    return segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${segments.join('/')}$`);
}
