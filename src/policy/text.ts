// Hot path: matchesText runs for every clause of every request and allocates nothing.
/** String values of AuthorizationPolicy, compiled: exact, prefix, suffix, presence, path template (Istio's StringMatcher). */
import { wireText } from './attributes.ts';
import { compileTemplate, isPathTemplate, matchesTemplate, type PathTemplate } from './path-template.ts';

/** What `*` alone asks for: headers may be empty; other strings may not, nor hold a line feed (Envoy's present_match against the regex `.+`). */
export type Presence = 'any' | 'nonEmpty';

export interface TextMatcher {
  /** The one exact value when there is just one, else null. */
  readonly exact: string | null;
  /** All exact values when there are several, else null. */
  readonly exacts: ReadonlySet<string> | null;
  readonly prefixes: readonly string[];
  readonly suffixes: readonly string[];
  readonly templates: readonly PathTemplate[];
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

/**
 * Compiles the values of one field. `*` = presence; a leading `*` makes a suffix (its rest is literal, even a `*` at
 * the end); a trailing `*` a prefix; anything else is exact.
 */
export function compileText(values: readonly string[], options: TextOptions): TextMatcher {
  const exacts: string[] = [];
  const prefixes: string[] = [];
  const suffixes: string[] = [];
  const templates: PathTemplate[] = [];
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
  for (let i = 0; i < templates.length; i++) {
    if (matchesTemplate(templates[i] as PathTemplate, text)) return true;
  }
  const { presence } = matcher;
  return presence !== null && (presence === 'any' || isFilled(text));
}

/** Istio's `.+`: a dot is no line feed. */
export function isFilled(text: string): boolean {
  return text !== '' && !text.includes('\n');
}

/** ASCII letters in lower case, other bytes as they are; the same string when it has no capitals. */
export function lowerCase(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x41 && c <= 0x5a) return text.replace(/[A-Z]+/g, letters => letters.toLowerCase());
  }
  return text;
}
