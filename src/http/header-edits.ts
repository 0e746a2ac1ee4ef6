/**
 * Changes that Outrider makes to a request's fields before policy decides: policy and the app see the same fields. Names
 * are lower case; a spelling with `_` for `-` is the same name, since CGI-like apps read it so.
 */
import {
  FIELD_CHAR,
  fieldCode,
  isEndToEnd,
  PLAIN,
  REQUEST_ID,
  TCHAR,
  TRACEPARENT,
  TRACESTATE,
} from './fields.ts';

/** Fields of the connection or of the message itself, which no claim and no provider may write. */
const FRAMING = new Set(['content-length', 'trailer', 'expect', 'host', 'content-type']);

export class HeaderEdits {
  /** Names whose lines from the client are left out. */
  readonly removed: string[] = [];
  #values = new Map<string, string[]>();

  /** Leaves out every line of that name, also those that an earlier edit added; not what frames the message. */
  remove(name: string): void {
    const plain = plainName(name);
    if (FRAMING.has(plain) || !isEndToEnd(fieldCode(plain, 0, plain.length))) return;
    if (!this.removed.includes(plain)) this.removed.push(plain);
    this.#values.delete(plain);
  }

  /** One line in place of all others. @returns false when the name or value may not be written; then they are gone all the same */
  set(name: string, value: string): boolean {
    this.remove(name);
    return this.append(name, value);
  }

  /** One more line. @returns false when the name or value may not be written */
  append(name: string, value: string): boolean {
    if (!mayWrite(name) || !isFieldValue(value)) return false;
    const plain = plainName(name);
    const values = this.#values.get(plain);
    if (values === undefined) this.#values.set(plain, [value]);
    else values.push(value);
    return true;
  }

  /** Leaves out every line of `remove`, then adds `headers`. */
  apply(edits: {
    readonly remove: readonly string[];
    readonly headers: readonly (readonly [name: string, value: string])[];
  }): void {
    for (const name of edits.remove) this.remove(name);
    for (const [name, value] of edits.headers) this.append(name, value);
  }

  /** What the field has after the edits, given what the client sent. */
  valuesOf(name: string, sent: readonly string[]): string[] {
    const added = this.#values.get(plainName(name)) ?? [];
    return this.removed.includes(plainName(name)) ? added : [...sent, ...added];
  }

  /** Whether lines of that name from the client are left out. */
  removes(name: string): boolean {
    return this.removed.includes(plainName(name));
  }

  /** The added fields, in order. */
  get fields(): (readonly [name: string, value: string])[] {
    return [...this.#values].flatMap(([name, values]) => values.map(value => [name, value] as const));
  }

  /** The added lines, each ending in CRLF. */
  get lines(): string {
    return this.fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  }
}

/** The name in the one spelling by which edits compare. */
export function plainName(name: string): string {
  return name.includes('_') ? name.replaceAll('_', '-') : name;
}

function mayWrite(name: string): boolean {
  if (name === '' || FRAMING.has(plainName(name))) return false;
  for (let i = 0; i < name.length; i++) if (TCHAR[name.charCodeAt(i)] !== 1) return false;
  const code = fieldCode(plainName(name), 0, name.length);
  return code === PLAIN || code === REQUEST_ID || code === TRACEPARENT || code === TRACESTATE;
}

function isFieldValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c > 0xff || FIELD_CHAR[c] !== 1) return false;
  }
  return true;
}
