// Hot path: no promise, closure or string per chunk.
/**
 * What HTTP/2 cannot say of an HTTP/1.1 head: its minor version, the names of its fields in their order and case, the white
 * space around a value where it is not one space before, and a response's reason phrase. Two Outriders that agreed to it
 * send this in one field, `outrider-http1`; heads of one shape have one value, which HPACK makes a byte.
 *
 *     1 Host User-Agent X-Odd:ss:t            1 "Not Found" Server Date
 *
 * The names are those of the fields that go on, Host too, at its place; not TE, which is written anew at every hop.
 */

import type { FieldList } from './field-list.ts';
import { FIELD_CHAR, HOST, TCHAR, TE } from './fields.ts';
import { KIND_BITS, kindOf } from './h2-field-kind.ts';

export const MEMO_NAME = 'outrider-http1';
/** Longest value, in characters; a head that needs more travels without. */
export const MAX_MEMO_BYTES = 8 * 1024;
/** Characters of names, shapes and values that are remembered; then all are forgotten and learned again. */
const MAX_REMEMBERED = 1024 * 1024;
/** What an entry of a map costs beside its text, about. */
const ENTRY_COST = 100;

/** A field name as it stood in a head: one object for one spelling. */
export interface SentName {
  readonly lower: string;
  /** Of h2-field-kind.ts. */
  readonly kind: number;
  /** What stands before the value: name, colon, white space. */
  readonly open: string;
  /** What stands after it: white space, CRLF. */
  readonly close: string;
  /** As the memo has it. */
  readonly entry: string;
}

let names = new Map<string, SentName>();
let remembered = 0;

function remember(characters: number): void {
  remembered += characters + ENTRY_COST;
  if (remembered < MAX_REMEMBERED) return;
  remembered = 0;
  names = new Map();
  ownNames.clear();
  requests.length = 0;
  responses.clear();
  memos.clear();
}

/**
 * The name of a field line.
 * @param start where the line begins, @param from and @param to its value's ends, @param end its CRLF
 */
export function sentName(text: string, start: number, from: number, to: number, end: number): SentName {
  const open = text.slice(start, from);
  const key = to === end ? open : `${open}\n${text.slice(to, end)}`;
  return names.get(key) ?? newName(key);
}

const ownNames = new Map<string, SentName>();

/** The name of a field that Outrider adds; in lower case. */
export function ownName(lower: string): SentName {
  const known = ownNames.get(lower);
  if (known !== undefined) return known;
  const key = `${lower}: `;
  const name = names.get(key) ?? newName(key);
  ownNames.set(lower, name);
  return name;
}

/** Most messages have the name at a place that the one before had: to see that costs a fifth of the look-up. */
const MAX_PLACES = 32;

/** Names of field lines, by their place in a message. */
export class PlacedNames {
  readonly #last: SentName[] = [];

  /** As `sentName`; @param place the number of the line */
  at(place: number, text: string, start: number, from: number, to: number, end: number): SentName {
    if (place < this.#last.length) {
      const last = this.#last[place] as SentName;
      if (to === end && last.close.length === 2 && isAt(text, start, from, last.open)) return last;
    }
    const name = sentName(text, start, from, to, end);
    if (place < MAX_PLACES && place <= this.#last.length) this.#last[place] = name;
    return name;
  }
}

/** Whether `text[start, end)` is `wanted`; startsWith takes five times as long. */
function isAt(text: string, start: number, end: number, wanted: string): boolean {
  if (wanted.length !== end - start) return false;
  for (let i = 0; i < wanted.length; i++) {
    if (text.charCodeAt(start + i) !== wanted.charCodeAt(i)) return false;
  }
  return true;
}

function newName(key: string): SentName {
  // A slice would keep the whole head in memory.
  const own = Buffer.from(key, 'latin1').toString('latin1');
  const [open = '', after = ''] = own.split('\n');
  const colon = open.indexOf(':');
  const [sent, before] = [open.slice(0, colon), open.slice(colon + 1)];
  const usual = before === ' ' && after === '';
  const lower = sent.toLowerCase();
  const entry = usual ? sent : `${sent}:${lettersOf(before)}:${lettersOf(after)}`;
  const name = { lower, kind: kindOf(lower), open, close: `${after}\r\n`, entry };
  names.set(own, name);
  remember(3 * own.length);
  return name;
}

function lettersOf(space: string): string {
  return space.replaceAll(' ', 's').replaceAll('\t', 't');
}

function spaceOf(letters: string): string {
  return letters.replaceAll('s', ' ').replaceAll('t', '\t');
}

/** What a head has said so far; shapes are a tree, so that the same names in the same order end at the same one. */
export class Shape {
  readonly #before: Shape | null;
  readonly #entry: string;
  #next: Map<SentName, Shape> | null = null;
  #memo: string | null = null;

  constructor(before: Shape | null, entry: string) {
    this.#before = before;
    this.#entry = entry;
  }

  /** The shape with one more field. */
  with(name: SentName): Shape {
    this.#next ??= new Map();
    let next = this.#next.get(name);
    if (next === undefined) {
      next = new Shape(this, name.entry);
      this.#next.set(name, next);
      remember(name.entry.length);
    }
    return next;
  }

  /** The value of the field; '' when it would be too long. */
  get memo(): string {
    if (this.#memo !== null) return this.#memo;
    const entries: string[] = [];
    for (let shape: Shape | null = this; shape !== null; shape = shape.#before) entries.push(shape.#entry);
    const memo = entries.reverse().join(' ');
    this.#memo = memo.length > MAX_MEMO_BYTES ? '' : memo;
    remember(this.#memo.length);
    return this.#memo;
  }
}

const requests: Shape[] = [];
const responses = new Map<string, Shape[]>();

/** The shape of a request before its first field. */
export function requestShape(minor: number): Shape {
  requests[minor] ??= new Shape(null, `${minor}`);
  return requests[minor];
}

/** The shape of a response before its first field. */
export function responseShape(minor: number, reason: string): Shape {
  let shapes = responses.get(reason);
  if (shapes === undefined) {
    const own = Buffer.from(reason, 'latin1').toString('latin1');
    shapes = [0, 1].map(version => new Shape(null, `${version} "${own}"`));
    responses.set(own, shapes);
    remember(3 * own.length);
  }
  return shapes[minor] as Shape;
}

/** A memo as it was read. */
export interface Memo {
  readonly minor: number;
  /** Null in a request's. */
  readonly reason: string | null;
  /** In order, Host too. */
  readonly names: readonly SentName[];
  /** Which of the names is a request's Host; Infinity = none. */
  readonly host: number;
}

const memos = new Map<string, Memo | null>();

/** Reads a memo; null = it is none. */
export function memoOf(value: string): Memo | null {
  let memo = memos.get(value);
  if (memo !== undefined) return memo;
  memo = value.length > MAX_MEMO_BYTES ? null : readMemo(value);
  if (memo === null) return null;
  memos.set(value, memo);
  remember(2 * value.length);
  return memo;
}

function readMemo(value: string): Memo | null {
  const match = /^([01])(?: "(.*)")?((?: [^ "]+)*)$/.exec(value);
  if (match === null) return null;
  const [, minor, reason = null, entries = ''] = match;
  if (reason !== null && !isReason(reason)) return null;
  const found: SentName[] = [];
  for (const entry of entries.split(' ').slice(1)) {
    const name = nameOf(entry);
    if (name === null) return null;
    found.push(name);
  }
  if (found.some(name => name.kind === TE)) return null;
  // In a response it is a field like any other.
  const host = reason === null ? found.findIndex(name => name.kind === HOST) : -1;
  if (host >= 0 && found.some((name, i) => name.kind === HOST && i !== host)) return null;
  return { minor: Number(minor), reason, names: found, host: host < 0 ? Number.POSITIVE_INFINITY : host };
}

function nameOf(entry: string): SentName | null {
  const match = /^([^:]+)(?::([st]*):([st]*))?$/.exec(entry);
  if (match === null) return null;
  const [, sent = '', before = 's', after = ''] = match;
  for (let i = 0; i < sent.length; i++) if (TCHAR[sent.charCodeAt(i)] !== 1) return null;
  const open = `${sent}:${spaceOf(before)}`;
  const key = after === '' ? open : `${open}\n${spaceOf(after)}`;
  return names.get(key) ?? newName(key);
}

function isReason(reason: string): boolean {
  for (let i = 0; i < reason.length; i++) if (FIELD_CHAR[reason.charCodeAt(i)] !== 1) return false;
  return true;
}

/**
 * Whether the memo lists just the fields of the list: from `first` on, in order; then TE at most, and the memo as the last.
 */
export function listsFieldsOf(memo: Memo, list: FieldList, first: number): boolean {
  const { names, kinds } = list;
  let end = names.length - 1;
  if (names[end] !== MEMO_NAME) return false;
  if (end > first && ((kinds[end - 1] as number) & KIND_BITS) === TE) end--;
  const listed = memo.names;
  let at = 0;
  for (let i = first; i < end; i++) {
    if (at === memo.host) at++;
    if (listed[at]?.lower !== names[i]) return false;
    at++;
  }
  if (at === memo.host) at++;
  return at === listed.length;
}

/** The name that the memo has for the field at `index` of the list whose fields begin at `first`. */
export function nameIn(memo: Memo, index: number): SentName {
  return memo.names[index < memo.host ? index : index + 1] as SentName;
}
