/**
 * JSON as a token may carry it: one object that every reader takes for the same. Two keys of one name, deep nesting,
 * numbers past double's range, broken Unicode are refused as protobuf's parser (Envoy's) refuses them.
 */
import { isUtf8 } from 'node:buffer';

/** A JSON object. Its keys are the token's: look with `claim`, which asks for own ones only. */
export type JsonObject = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 100; // protobuf's recursion limit

/**
 * The object that UTF-8 bytes of JSON hold; `null` counts as an empty one.
 * @returns null when they hold none
 */
export function parseJsonObject(bytes: Buffer): JsonObject | null {
  if (!isUtf8(bytes)) return null;
  const text = bytes.toString('utf8');
  const written = countKeys(text);
  if (written === null) return null;
  const value = parse(text);
  if (value === null) return {};
  // A key that stands twice in one object is read once.
  return isObject(value) && soundKeys(value) === written ? value : null;
}

/** A member that the object has itself; undefined when it has none, whatever its prototype offers. */
export function claim(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** How many keys JSON text has, which is how many colons outside strings; null when it is nested too deep. */
function countKeys(text: string): number | null {
  let [depth, keys] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: // [
        if (++depth > MAX_DEPTH) return null;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth--;
        break;
      case 0x3a: // :
        keys++;
        break;
      case 0x22: // "
        at = endOfString(text, at);
    }
  }
  return keys;
}

/** Where the quote stands that closes the string beginning at `start`; past the end when none does. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5c) at++;
    else if (code === 0x22) return at;
  }
  return text.length;
}

/** How many keys a value has in all its objects; NaN when a number became infinite or half of a surrogate pair is in it. */
function soundKeys(value: unknown): number {
  if (typeof value === 'string') return value.isWellFormed() ? 0 : Number.NaN;
  if (typeof value === 'number') return Number.isFinite(value) ? 0 : Number.NaN;
  if (typeof value !== 'object' || value === null) return 0;
  let keys = 0;
  if (Array.isArray(value)) {
    for (const member of value) keys += soundKeys(member);
    return keys;
  }
  for (const [key, member] of Object.entries(value)) keys += 1 + soundKeys(key) + soundKeys(member);
  return keys;
}
