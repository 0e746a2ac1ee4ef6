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
  if (!hasPlainShape(text)) return null;
  const value = parse(text);
  if (value === null) return {};
  return isObject(value) && isSound(value) ? value : null;
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

/** Nesting in bounds and no key twice in one object; of text that is no JSON it may say either. */
function hasPlainShape(text: string): boolean {
  const open: (Set<string> | '{' | '[')[] = []; // what is open: a list, an object without or with keys
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
      case 0x5b: // [
        if (open.length === MAX_DEPTH) return false;
        open.push(text[at] === '{' ? '{' : '[');
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        break;
      case 0x22: {
        const end = endOfString(text, at);
        const top = open.at(-1);
        if (top !== undefined && top !== '[' && isKey(text, end)) {
          const keys = typeof top === 'string' ? new Set<string>() : top;
          const key = parse(text.slice(at, end));
          if (typeof key !== 'string' || keys.has(key)) return false;
          open[open.length - 1] = keys.add(key);
        }
        at = end - 1;
      }
    }
  }
  return true;
}

/** Where the string that begins at `start` is over: behind its closing quote. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '"') return at + 1;
  }
  return text.length;
}

function isKey(text: string, end: number): boolean {
  let at = end;
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return text[at] === ':';
}

/** No number that became infinite, no half of a surrogate pair. Depth was checked before. */
function isSound(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isSound);
  return Object.entries(value).every(([key, member]) => key.isWellFormed() && isSound(member));
}
