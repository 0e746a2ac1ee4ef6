/** Whether one rule certainly matches whatever another does. In doubt it does not. */
import { isAboutRequests } from './http-fields.ts';
import type { Condition, Rule } from './resources.ts';

type Match = Readonly<Record<string, readonly string[] | undefined>>;

/** Fields whose values are plain texts with a wildcard at an edge. */
const PATTERNS = new Set(['hosts', 'methods', 'paths']);
/** Fields of which "*" takes every value. */
const ANY = new Set(['principals', 'requestPrincipals', 'trustDomains', ...PATTERNS]);
const MAX_PATTERNS = 32; // of one list; longer ones are compared by equality

/** A rule, and the namespace in which its service accounts are meant. */
export interface Scoped {
  readonly rule: Rule;
  readonly namespace: string;
}

/** True for a rule without a condition. */
export function matchesAll({ from, to, when }: Rule): boolean {
  return from === null && to === null && when.length === 0;
}

/** True when every request and connection that `narrow` matches is one that `wide` matches. */
export function covers(wide: Scoped, narrow: Scoped): boolean {
  const same = wide.namespace === narrow.namespace;
  if (isAboutRequests(wide.rule) && !isAboutRequests(narrow.rule)) return false; // on TCP an ALLOW of the wide one is gone
  return (
    listCovers(wide.rule.from, narrow.rule.from, same) &&
    listCovers(wide.rule.to, narrow.rule.to, same) &&
    wide.rule.when.every(condition => narrow.rule.when.some(other => conditionCovers(condition, other, same)))
  );
}

function listCovers(
  wide: readonly object[] | null,
  narrow: readonly object[] | null,
  same: boolean,
): boolean {
  if (wide === null) return true;
  if (narrow === null) return false;
  return narrow.every(one => wide.some(other => matchCovers({ ...other }, { ...one }, same)));
}

/** Each field that the wide one has narrows the other at least as much. */
function matchCovers(wide: Match, narrow: Match, same: boolean): boolean {
  return Object.entries(wide).every(([field, values = []]) => {
    const others = narrow[field];
    if (others === undefined) return false;
    return field.startsWith('not')
      ? allAmong(values, others, same, field)
      : coversValues(field, values, others, same);
  });
}

function conditionCovers(wide: Condition, narrow: Condition, same: boolean): boolean {
  if (wide.key !== narrow.key) return false;
  const positive =
    wide.values.length === 0 ||
    (narrow.values.length > 0 && coversValues(wide.key, wide.values, narrow.values, same));
  return positive && allAmong(wide.notValues, narrow.notValues, same, wide.key);
}

function coversValues(
  field: string,
  wide: readonly string[],
  narrow: readonly string[],
  same: boolean,
): boolean {
  if (ANY.has(field) && wide.includes('*')) return true;
  if (allAmong(narrow, wide, same, field)) return true;
  if (!PATTERNS.has(field) || wide.length > MAX_PATTERNS) return false;
  const fold = (value: string): string => (field === 'hosts' ? value.toLowerCase() : value);
  return narrow.every(value => wide.some(pattern => takes(fold(pattern), fold(value))));
}

/** Equality; a service account by itself is one of the policy's own namespace. */
function allAmong(some: readonly string[], all: readonly string[], same: boolean, field: string): boolean {
  const known = new Set(all);
  const relative = !same && /service-?accounts?$/i.test(field);
  return some.every(value => known.has(value) && !(relative && !value.includes('/')));
}

/** True when the pattern takes whatever the value, itself perhaps a pattern, stands for. */
function takes(pattern: string, value: string): boolean {
  if (pattern === value) return true;
  if (/[{}]/.test(pattern + value)) return false; // path templates
  if (pattern.startsWith('*')) {
    const suffix = pattern.slice(1);
    return (value.startsWith('*') || !value.endsWith('*')) && value.replace(/^\*/, '').endsWith(suffix);
  }
  return (
    pattern.endsWith('*') &&
    !value.startsWith('*') &&
    value.replace(/\*$/, '').startsWith(pattern.slice(0, -1))
  );
}
