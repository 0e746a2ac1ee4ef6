/** Fields between a request, an external authorizer and the app: which are asked about, and which an answer may write. */
import {
  FIELD_CHAR,
  fieldCode,
  isEndToEnd,
  PLAIN,
  REQUEST_ID,
  TCHAR,
  TRACEPARENT,
  TRACESTATE,
  XFCC,
} from '../http/fields.ts';
import { plainName } from '../http/header-edits.ts';
import { wireText } from '../policy/attributes.ts';
import type { Field } from './ext-authz-question.ts';

/** Names of one list of the provider's configuration; lower case in, as all names here. */
export type NameMatcher = (name: string) => boolean;

/** Istio's patterns, any case: exact, `prefix*`, `*suffix`. A `*` elsewhere stands for itself. */
export function nameMatcher(patterns: readonly string[]): NameMatcher {
  const exact = new Set<string>();
  const suffixes: string[] = [];
  const prefixes: string[] = [];
  for (const pattern of patterns) {
    const lower = wireText(pattern).toLowerCase();
    if (lower.startsWith('*')) suffixes.push(lower.slice(1));
    else if (lower.endsWith('*')) prefixes.push(lower.slice(0, -1));
    else exact.add(lower);
  }
  return name =>
    exact.has(name) ||
    suffixes.some(suffix => name.endsWith(suffix)) ||
    prefixes.some(prefix => name.startsWith(prefix));
}

/** Fields that say how long a message is, where it ends or where it goes: each side writes its own. */
const FRAMING = new Set([
  'host',
  'content-length',
  'trailer',
  'expect',
  'proxy-connection',
  'http2-settings',
]);

/** The kind of a field; spelled with `_` it is the same to an app that reads it so. */
function codeOf(name: string): number {
  return fieldCode(plainName(name), 0, name.length);
}

/** Whether an authorizer is told the field: not what belongs to the client's connection only. */
export function isTold(name: string): boolean {
  const code = codeOf(name);
  return code === XFCC || isEndToEnd(code);
}

/** Whether the field can be repeated in a message to the authorizer, which has a length and a target of its own. */
export function isForwardable(name: string): boolean {
  return !FRAMING.has(name) && isTold(name);
}

/**
 * Whether a provider's answer may touch the field in a message: not what frames or routes it, not what belongs to one
 * connection, not the identity that the sidecar vouches for.
 */
export function isWritable(name: string): boolean {
  return !FRAMING.has(plainName(name)) && isEndToEnd(codeOf(name));
}

/** Whether a provider's answer may write the field of a request, where a sidecar's own words stand as well. */
export function isRequestField(name: string): boolean {
  if (!isWritable(name) || plainName(name) === 'content-type') return false;
  const code = codeOf(name);
  return code === PLAIN || code === REQUEST_ID || code === TRACEPARENT || code === TRACESTATE;
}

/** Whether a provider's answer may take the field out of a request. */
export function isRemovable(name: string): boolean {
  return isWritable(name) && isField([name, '']);
}

/** Whether it can stand in a message at all; what cannot would end a line and begin another. */
export function isField([name, value]: Field): boolean {
  if (name === '') return false;
  for (let i = 0; i < name.length; i++) if (TCHAR[name.charCodeAt(i)] !== 1) return false;
  for (let i = 0; i < value.length; i++) if (FIELD_CHAR[value.charCodeAt(i)] !== 1) return false;
  return true;
}

/**
 * One value a name, in order of first appearance: lines of one name are joined, so that no authorizer sees one line of
 * several while the app takes another.
 */
export function joinedFields(lines: readonly Field[]): Map<string, string> {
  const joined = new Map<string, string>();
  for (const [written, value] of lines) {
    const name = written.toLowerCase();
    const before = joined.get(name);
    joined.set(name, before === undefined ? value : `${before}${separator(name)}${value}`);
  }
  return joined;
}

/** RFC 6265 5.4 for cookies, RFC 9110 5.3 for the rest. */
export function separator(name: string): string {
  return name === 'cookie' ? '; ' : ',';
}
