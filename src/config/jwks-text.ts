/**
 * Inline key sets: whether Istio takes them, read as its parser (lestrrat-go/jwx) reads them, and what of them may be
 * shown. A set is `{"keys": […]}` or one key by itself.
 */
import { X509Certificate } from 'node:crypto';

type Json = null | boolean | number | string | readonly Json[] | JsonObject;

interface JsonObject {
  readonly keys?: Json;
  readonly kty?: Json;
  readonly key_ops?: Json;
  readonly x5c?: Json;
  readonly [name: string]: Json | undefined;
}

interface Fields {
  /** Base64 texts that must be there. */
  readonly required: readonly string[];
  /** Base64 texts that may be. */
  readonly optional: readonly string[];
}

const PUBLIC: ReadonlyMap<string, Fields> = new Map([
  ['RSA', { required: ['n', 'e'], optional: [] }],
  ['EC', { required: ['x', 'y'], optional: [] }],
  ['OKP', { required: ['x'], optional: [] }],
  ['oct', { required: ['k'], optional: [] }],
]);
const PRIVATE: ReadonlyMap<string, Fields> = new Map([
  ['RSA', { required: ['n', 'e', 'd'], optional: ['p', 'q', 'dp', 'dq', 'qi'] }],
  ['EC', { required: ['x', 'y', 'd'], optional: [] }],
  ['OKP', { required: ['x', 'd'], optional: [] }],
]);
const TEXTS = ['kty', 'alg', 'use', 'kid', 'x58', 'x5t', 'x5t#S256']; // x58 is the parser's name for x5u
const BASE64 = /^(?:[A-Za-z0-9_-]*|[A-Za-z0-9+/]*)$/;

/** What is wrong with a key set as JSON text; null when nothing is. */
export function jwksProblem(text: string): string | null {
  const set = parse(text);
  if (!isObject(set)) return 'is not a JSON object: a key set starts with {"keys": [';
  const keys = keysOf(set);
  if (keys === null) return 'keys must be a list of keys';
  for (const [i, key] of keys.entries()) {
    const problem = isObject(key) ? keyProblem(key) : 'is not a JSON object';
    if (problem !== null) return `key ${i} ${problem}`;
  }
  return null;
}

/** True when something follows the key set: Istio's validation takes it, and Envoy then refuses the set. */
export function hasTrailingText(text: string): boolean {
  return text.slice(endOfObject(text)).trim() !== '';
}

/** The indices of the keys that are secrets, or hold one; of a set without problems. */
export function privateKeys(text: string): readonly number[] {
  const set = parse(text);
  const keys = (isObject(set) && keysOf(set)) || [];
  return keys.flatMap((key, i) => (isObject(key) && isPrivate(key) ? [i] : []));
}

/** The members of a key that anyone may see. */
const SHOWN = new Set(['kty', 'use', 'alg', 'kid', 'key_ops', 'crv', 'x', 'y', 'n', 'e']);
const CERTIFICATES = new Set(['x5c', 'x5t', 'x5t#S256', 'x5u']);

/** A key set to be shown: only the public members of each key; a secret key keeps its name alone. */
export function redactedJwks(text: string): string {
  const set = parse(text);
  const keys = isObject(set) ? keysOf(set) : null;
  if (keys === null) return '(not a key set)';
  return JSON.stringify({ keys: keys.map(key => (isObject(key) ? publicPart(key) : null)) });
}

function publicPart(key: JsonObject): JsonObject {
  const secret = !['RSA', 'EC', 'OKP'].includes(typeOf(key));
  const shown = (name: string): boolean =>
    secret ? ['kty', 'use', 'alg', 'kid'].includes(name) : SHOWN.has(name) || CERTIFICATES.has(name);
  return Object.fromEntries(Object.entries(key).filter(([name]) => shown(name)));
}

/** The first JSON value of the text, which is all that Istio's validation looks at; null when it is none. */
function parse(text: string): Json {
  try {
    return JSON.parse(text.slice(0, endOfObject(text)), (_name, value) => {
      if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) throw new RangeError();
      return value;
    });
  } catch {
    return null;
  }
}

/** Where the object ends that the text starts with. */
function endOfObject(text: string): number {
  let depth = 0;
  for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}]/gs)) {
    if (token[0] === '{') depth++;
    else if (token[0] === '}' && --depth === 0) return token.index + 1;
  }
  return text.length;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The keys of a set, or the one key that the text is; null when `keys` is no list. */
function keysOf(set: JsonObject): readonly Json[] | null {
  if (!Object.hasOwn(set, 'keys')) return [set];
  const keys = set.keys ?? [];
  return Array.isArray(keys) ? keys : null;
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

/** A member "d", even null, makes a key private. The parser finds it, and kty, in any case of letters. */
function isPrivate(key: JsonObject): boolean {
  return typeOf(key) === 'oct' || Object.keys(key).some(name => name.toLowerCase() === 'd');
}

function typeOf(key: JsonObject): string {
  const [, kty] = Object.entries(key).findLast(([name]) => name.toLowerCase() === 'kty') ?? [];
  return textOf(kty);
}

function keyProblem(key: JsonObject): string | null {
  const kty = typeOf(key);
  const fields = (isPrivate(key) && kty !== 'oct' ? PRIVATE : PUBLIC).get(kty);
  if (fields === undefined)
    return `has the kty ${JSON.stringify(key.kty ?? null)}; RSA, EC, OKP and oct are known`;
  const curve = kty === 'EC' || kty === 'OKP';
  const missing = [...fields.required, ...(curve ? ['crv'] : [])].find(name => !Object.hasOwn(key, name));
  if (missing !== undefined) return `has no ${missing}`;
  const text = [...TEXTS, ...(curve ? ['crv'] : [])].find(name => !isTextOrAbsent(key[name]));
  if (text !== undefined) return `has a ${text} that is not a string`;
  const bytes = [...fields.required, ...fields.optional].find(name => !isBase64(key[name]));
  if (bytes !== undefined) return `has a ${bytes} that is not base64`;
  return operationsProblem(key.key_ops) ?? certificatesProblem(key.x5c);
}

function isTextOrAbsent(value: Json | undefined): boolean {
  return value === undefined || value === null || typeof value === 'string';
}

/** Go's decoders: either alphabet, padding whole or absent, line ends passed over. */
function isBase64(value: Json | undefined): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value !== 'string') return false;
  const text = value.replace(/[\r\n]/g, '');
  const bare = text.replace(/={1,2}$/, '');
  if (!BASE64.test(bare) || bare.length % 4 === 1) return false;
  return value.endsWith('=') ? text.length % 4 === 0 : text.length === bare.length;
}

function operationsProblem(value: Json | undefined): string | null {
  if (value === undefined || value === null) return null;
  return Array.isArray(value) && value.every(isTextOrAbsent)
    ? null
    : 'has key_ops that are not a list of strings';
}

function certificatesProblem(value: Json | undefined): string | null {
  if (value === undefined || value === null) return null;
  if (!Array.isArray(value)) return 'has an x5c that is not a list';
  return value.every(isCertificate) ? null : 'has an x5c with something that is not a certificate';
}

function isCertificate(value: Json): boolean {
  if (typeof value !== 'string' || !isBase64(value)) return false;
  try {
    return new X509Certificate(Buffer.from(value, 'base64')).subject !== '';
  } catch {
    return false;
  }
}
