// Hot path: no promise, closure or string per chunk.
/** Decodes header blocks (RFC 7541 3, 5, 6). A field out of a table costs a look-up: nothing is validated twice. */
import type { FieldList } from './field-list.ts';
import { CONTENT_TYPE } from './fields.ts';
import {
  isFieldValue,
  isTrimmed,
  kindOf,
  MALFORMED,
  NEVER_INDEXED,
  nameFault,
  valueFault,
} from './h2-field-kind.ts';
import {
  DEFAULT_TABLE_BYTES,
  DynamicTable,
  FIELD_OVERHEAD_BYTES,
  STATIC_FIELDS,
  STATIC_LENGTH,
} from './hpack-table.ts';
import { hasOnlyFieldChars, huffmanText } from './huffman.ts';

const NOTHING = Buffer.alloc(0);

/** A field, with what was found out about it when it came. */
class Entry {
  readonly name: string;
  readonly value: string;
  readonly kind: number;
  readonly fault: string | null;
  readonly size: number;
  constructor(name: string, value: string, kind: number, fault: string | null) {
    this.name = name;
    this.value = value;
    this.kind = kind;
    this.fault = fault;
    this.size = name.length + value.length + FIELD_OVERHEAD_BYTES;
  }
}

const STATIC = STATIC_FIELDS.map(([name, value]) => new Entry(name, value, kindOf(name), null));

/** How much of a header list is stored; a field beyond costs its bytes no work, unless the table needs it. */
export interface ListLimits {
  /** As FieldList.bytes counts. */
  readonly bytes: number;
  readonly fields: number;
}

/** One direction of a connection; header blocks come in the order in which they were sent, none left out. */
export class HpackDecoder {
  readonly #limit: number;
  readonly #table: DynamicTable<Entry>;
  #block: Buffer = NOTHING;
  #at = 0;
  #to = 0;
  #fault: string | null = null;

  /** @param maxTableSize bytes, what our SETTINGS_HEADER_TABLE_SIZE says */
  constructor(maxTableSize: number) {
    this.#limit = maxTableSize;
    this.#table = new DynamicTable(Math.min(maxTableSize, DEFAULT_TABLE_BYTES));
  }

  /**
   * Reads one whole header block, `block[from, to)`, into `list`. Faults of names and values and a list that is too large
   * are the list's: `list.malformed`, `list.tooLarge`.
   * @returns null, or what is wrong with the compression: the tables are no longer the same, the connection is over
   */
  decode(block: Buffer, from: number, to: number, list: FieldList, limits: ListLimits): string | null {
    this.#block = block;
    this.#at = from;
    this.#to = to;
    this.#fault = null;
    let updates = true;
    // Whatever is at fault takes #at to the end.
    while (this.#at < to) {
      const octet = block[this.#at] as number;
      if (octet >= 0x20 && octet < 0x40) {
        if (updates) this.#resize();
        else this.#fail('header table size update after a field');
        continue;
      }
      updates = false;
      if (octet >= 0x80) this.#indexed(list, limits);
      else this.#literal(octet, list, limits);
    }
    this.#block = NOTHING;
    return this.#fault;
  }

  /** An indexed field (RFC 7541 6.1). */
  #indexed(list: FieldList, limits: ListLimits): void {
    const entry = this.#entry(this.#integer(0x7f));
    if (entry === null) return;
    if (list.tooLarge) {
      list.beyond++;
      if (entry.kind === CONTENT_TYPE) list.lateContentType = entry.value;
      return;
    }
    if (list.bytes + entry.size > limits.bytes || list.names.length >= limits.fields) {
      list.tooLarge = true;
      return;
    }
    list.bytes += entry.size;
    list.names.push(entry.name);
    list.values.push(entry.value);
    list.kinds.push(entry.kind);
    if (entry.fault !== null) list.malformed ??= entry.fault;
  }

  /** A literal field: with incremental indexing, without, or never indexed (RFC 7541 6.2). */
  #literal(octet: number, list: FieldList, limits: ListLimits): void {
    if (list.tooLarge) list.beyond++;
    const incremental = octet >= 0x40;
    const index = this.#integer(incremental ? 0x3f : 0x0f);
    const named = index === 0 ? null : this.#entry(index);
    const nameAt = this.#at;
    let least = FIELD_OVERHEAD_BYTES + (named === null ? this.#skipString() : named.name.length);
    const valueAt = this.#at;
    least += this.#skipString();
    if (this.#fault !== null) return;
    if (list.bytes + least > limits.bytes || list.names.length >= limits.fields) list.tooLarge = true;
    // Larger than the table: it leaves the table empty (RFC 7541 4.4).
    const kept = incremental && least <= this.#table.maxBytes;
    if (incremental && !kept) this.#makeRoom(least);
    if (list.tooLarge && !kept && named?.kind !== CONTENT_TYPE) return;
    const name = named === null ? this.#string(nameAt) : named.name;
    const value = this.#string(valueAt);
    if (this.#fault !== null) return;
    const kind = named === null ? kindOf(name) : named.kind;
    const fault = kind === MALFORMED ? (named?.fault ?? nameFault(name)) : this.#faultOf(value, valueAt);
    if (kept) this.#keep(new Entry(name, value, kind, fault));
    if (list.tooLarge) {
      if (kind === CONTENT_TYPE) list.lateContentType = value;
      return;
    }
    const size = name.length + value.length + FIELD_OVERHEAD_BYTES;
    if (list.bytes + size > limits.bytes) {
      list.tooLarge = true;
      return;
    }
    list.bytes += size;
    list.names.push(name);
    list.values.push(value);
    list.kinds.push(octet >= 0x10 && octet < 0x20 ? kind | NEVER_INDEXED : kind);
    if (fault !== null) list.malformed ??= fault;
  }

  /** The field at `index` of both tables (RFC 7541 2.3.3). */
  #entry(index: number): Entry | null {
    const entry = index > STATIC_LENGTH ? this.#table.at(index - STATIC_LENGTH - 1) : STATIC[index - 1];
    if (entry) return entry;
    this.#fail('header table index out of range');
    return null;
  }

  #keep(entry: Entry): void {
    this.#makeRoom(entry.size);
    if (!this.#table.isFull(entry.size)) this.#table.add(entry);
  }

  #makeRoom(bytes: number): void {
    while (this.#table.isFull(bytes) && this.#table.evict() !== null);
  }

  /** A dynamic table size update (RFC 7541 6.3). */
  #resize(): void {
    const bytes = this.#integer(0x1f);
    if (bytes > this.#limit) this.#fail('header table size over the limit');
    if (this.#fault !== null) return;
    this.#table.setMaxBytes(bytes);
    this.#makeRoom(0);
  }

  /** Goes over a string literal (RFC 7541 5.2); @returns the fewest bytes that it can have when it is decoded. */
  #skipString(): number {
    if (this.#at >= this.#to) return this.#fail('header block ends within a field');
    const coded = (this.#block[this.#at] as number) >= 0x80;
    const length = this.#integer(0x7f);
    if (length > this.#to - this.#at) return this.#fail('header block ends within a field');
    this.#at += length;
    // The longest code has 30 bits.
    return coded ? Math.floor((length * 8) / 30) : length;
  }

  /** The string literal at `at`, which #skipString went over. */
  #string(at: number): string {
    const block = this.#block;
    const coded = (block[at] as number) >= 0x80;
    const after = this.#at;
    this.#at = at;
    const length = this.#integer(0x7f);
    const from = this.#at;
    this.#at = after;
    if (!coded) return block.toString('latin1', from, from + length);
    const text = huffmanText(block, from, from + length);
    if (text === null) this.#fail('malformed Huffman code');
    return text ?? '';
  }

  /** The fault of the value, which stands at `at` and was read last. */
  #faultOf(value: string, at: number): string | null {
    const known = (this.#block[at] as number) >= 0x80 && hasOnlyFieldChars();
    return (known ? isTrimmed(value) : isFieldValue(value)) ? null : valueFault(value);
  }

  /** An integer with the prefix `mask` (RFC 7541 5.1), below 2^28: nothing here is larger. */
  #integer(mask: number): number {
    const block = this.#block;
    let value = (block[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift < 28; shift += 7) {
      if (this.#at >= this.#to) return this.#fail('header block ends within an integer');
      const octet = block[this.#at++] as number;
      value += (octet & 0x7f) << shift;
      if (octet < 0x80) return value;
    }
    return this.#fail('integer too large in a header block');
  }

  /** Ends the block; the first fault stands. */
  #fail(what: string): 0 {
    this.#fault ??= what;
    this.#at = this.#to;
    return 0;
  }
}
