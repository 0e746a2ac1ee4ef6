// Hot path: no promise, closure or string per chunk.
/** Encodes header blocks (RFC 7541). A field that stands in a table costs a look-up of its name and a comparison. */
import {
  DEFAULT_TABLE_BYTES,
  DynamicTable,
  FIELD_OVERHEAD_BYTES,
  STATIC_FIELDS,
  STATIC_LENGTH,
} from './hpack-table.ts';
import { huffmanLength, writeHuffman } from './huffman.ts';

/** The field may go into the table, and out of it next time. */
export const INDEX = 0;
/** The value is not worth a place in the table (RFC 7541 6.2.2); of a name that has none, the first value takes one. */
export const NO_INDEX = 1;
/** The field is never in a table, here and at every hop after (RFC 7541 6.2.3). */
export const NEVER = 2;

const FIRST_BUFFER_BYTES = 1024;
/** A buffer that grew beyond is given back with the next block. */
const KEPT_BUFFER_BYTES = 16 * 1024;

/** Larger fields would drive all others out of the table. */
const LARGEST_SHARE = 0.75;

/** After so many values of one name of which none came again, one in so many is still stored: the others stay there. */
const COLD_VALUES = 8;
const COLD_SHARE = 16;

/** Up to here the length of a string takes one byte, coded or not: it is written without being measured first. */
const SHORT = 126;

/** The static table by names: the first index of each, and the index of each of its values. */
interface StaticName {
  readonly index: number;
  readonly values: Map<string, number>;
}
const STATIC_NAMES = new Map<string, StaticName>();
for (const [i, [name, value]] of STATIC_FIELDS.entries()) {
  const known = STATIC_NAMES.get(name) ?? { index: i + 1, values: new Map<string, number>() };
  STATIC_NAMES.set(name, known);
  known.values.set(value, i + 1);
}
const NO_VALUES: ReadonlyMap<string, number> = new Map();

/** V8 keeps shorter strings whole rather than as a slice of another. */
const SLICED = 13;

/** A slice would keep the whole head that it was cut from for as long as the table has it. */
function ownText(text: string): string {
  return text.length < SLICED ? text : Buffer.from(text, 'latin1').toString('latin1');
}

/** An entry of the dynamic table. */
class Entry {
  readonly name: Name;
  readonly value: string;
  readonly size: number;
  /** How many were added before it, plus one. */
  readonly number: number;
  constructor(name: Name, value: string, size: number, number: number) {
    this.name = name;
    this.value = value;
    this.size = size;
    this.number = number;
  }
}

/** What the tables have under one name; kept while one of them has it. */
class Name {
  readonly text: string;
  /** Index in the static table, 0 = it is not there. */
  readonly index: number;
  readonly statics: ReadonlyMap<string, number>;
  readonly values = new Map<string, Entry>();
  /** The entry that came last into the table: it leaves it last. */
  newest: Entry | null = null;
  /** The entry that was sent last. */
  last: Entry | null = null;
  /** Values that were in no table since one was. */
  misses = 0;
  constructor(text: string, known: StaticName | undefined) {
    this.text = text;
    this.index = known?.index ?? 0;
    this.statics = known?.values ?? NO_VALUES;
  }
}

/** One direction of a connection. Each block must be sent, in the order in which they were begun. */
export class HpackEncoder {
  /** The block is `buffer[0, length)`, until the next `begin`. */
  buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  length = 0;
  readonly #table = new DynamicTable<Entry>(DEFAULT_TABLE_BYTES);
  readonly #names = new Map<string, Name>();
  /** What the next block has to announce: the smallest size since the last one, and the one in force. */
  #smallest = DEFAULT_TABLE_BYTES;
  #wanted = DEFAULT_TABLE_BYTES;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE, which bounds the table from the next block on; 4096 bytes are enough. */
  setPeerTableSize(bytes: number): void {
    this.#wanted = Math.min(bytes, DEFAULT_TABLE_BYTES);
    this.#smallest = Math.min(this.#smallest, this.#wanted);
  }

  /** Begins a block. */
  begin(): void {
    this.length = 0;
    if (this.buffer.length > KEPT_BUFFER_BYTES) this.buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
    // RFC 7541 4.2: both, when it became smaller and larger again: the peer has evicted in between.
    if (this.#smallest < this.#table.maxBytes) this.#resize(this.#smallest);
    if (this.#wanted > this.#table.maxBytes) this.#resize(this.#wanted);
    this.#smallest = this.#wanted;
  }

  /**
   * Adds a field to the block. Strings are latin1.
   * @param name in lower case
   * @param how INDEX, NO_INDEX or NEVER
   */
  field(name: string, value: string, how: number): void {
    const known = this.#names.get(name) ?? this.#meet(name);
    if (how === INDEX) {
      if (known !== null && this.#indexed(known, value)) return;
      this.#store(known ?? new Name(name, undefined), value);
    } else if (how === NO_INDEX && known === null) this.#store(new Name(name, undefined), value);
    else this.#literal(how === NEVER ? 0x10 : 0, 0x0f, known, name, value);
  }

  /** A name's first field, or its first since no table had it. */
  #meet(name: string): Name | null {
    const found = STATIC_NAMES.get(name);
    if (found === undefined) return null;
    const known = new Name(name, found);
    this.#names.set(name, known);
    return known;
  }

  /** Writes the field as an index (RFC 7541 6.1); @returns false when no table has it. */
  #indexed(known: Name, value: string): boolean {
    let entry = known.last;
    if (entry === null || entry.value !== value) {
      const index = known.statics.get(value);
      if (index !== undefined) {
        this.#integer(0x80, 0x7f, index);
        return true;
      }
      entry = known.values.get(value) ?? null;
      if (entry === null) return false;
      known.last = entry;
    }
    known.misses = 0;
    this.#integer(0x80, 0x7f, this.#indexOf(entry));
    return true;
  }

  /** Writes the field, and adds it to the table (RFC 7541 6.2.1) if that promises anything. */
  #store(known: Name, value: string): void {
    const table = this.#table;
    const size = known.text.length + value.length + FIELD_OVERHEAD_BYTES;
    known.misses++;
    const cold = known.misses > COLD_VALUES && known.misses % COLD_SHARE !== 0;
    if (cold || size > table.maxBytes * LARGEST_SHARE) {
      this.#literal(0, 0x0f, known, known.text, value);
      return;
    }
    this.#literal(0x40, 0x3f, known, known.text, value);
    this.#makeRoom(size);
    const own = ownText(value);
    const entry = new Entry(known, own, size, table.added + 1);
    table.add(entry);
    known.values.set(own, entry);
    known.newest = entry;
    known.last = entry;
    this.#names.set(known.text, known);
  }

  #makeRoom(bytes: number): void {
    while (this.#table.isFull(bytes)) {
      const entry = this.#table.evict();
      if (entry === null) return;
      const { name } = entry;
      if (name.values.get(entry.value) === entry) name.values.delete(entry.value);
      if (name.last === entry) name.last = null;
      if (name.newest !== entry) continue;
      name.newest = null;
      if (name.index === 0) this.#names.delete(name.text);
    }
  }

  /** A dynamic table size update (RFC 7541 6.3). */
  #resize(bytes: number): void {
    this.#table.setMaxBytes(bytes);
    this.#makeRoom(0);
    this.#integer(0x20, 0x1f, bytes);
  }

  #indexOf(entry: Entry): number {
    return STATIC_LENGTH + 1 + this.#table.added - entry.number;
  }

  /** A literal: `pattern` says which (RFC 7541 6.2), in front of the name's index in the bits of `mask`. */
  #literal(pattern: number, mask: number, known: Name | null, name: string, value: string): void {
    let index = 0;
    if (known !== null && known.index > 0) index = known.index;
    else if (known !== null && known.newest !== null) index = this.#indexOf(known.newest);
    this.#integer(pattern, mask, index);
    if (index === 0) this.#string(name);
    // What is another one each time costs more to code than its few bytes are worth.
    if (pattern === 0 && value.length <= SHORT) this.#plain(value);
    else this.#string(value);
  }

  /** An integer in the bits of `mask` and as many bytes as it takes (RFC 7541 5.1). */
  #integer(pattern: number, mask: number, value: number): void {
    this.#reserve(8);
    const { buffer } = this;
    if (value < mask) {
      buffer[this.length++] = pattern | value;
      return;
    }
    buffer[this.length++] = pattern | mask;
    let rest = value - mask;
    for (; rest >= 0x80; rest >>>= 7) buffer[this.length++] = (rest & 0x7f) | 0x80;
    buffer[this.length++] = rest;
  }

  /** A string literal (RFC 7541 5.2), in the Huffman code where that is shorter. */
  #string(text: string): void {
    const { length } = text;
    if (length <= SHORT) {
      this.#reserve(4 * length + 1);
      const from = this.length + 1;
      const end = writeHuffman(text, this.buffer, from);
      if (end - from < length) {
        this.buffer[from - 1] = 0x80 | (end - from);
        this.length = end;
        return;
      }
    } else {
      const coded = huffmanLength(text);
      if (coded < length) {
        this.#integer(0x80, 0x7f, coded);
        this.#reserve(coded);
        this.length = writeHuffman(text, this.buffer, this.length);
        return;
      }
    }
    this.#plain(text);
  }

  #plain(text: string): void {
    const { length } = text;
    this.#integer(0, 0x7f, length);
    this.#reserve(length);
    this.buffer.write(text, this.length, 'latin1');
    this.length += length;
  }

  #reserve(more: number): void {
    if (this.length + more > this.buffer.length) this.#grow(this.length + more);
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.buffer.length));
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }
}
