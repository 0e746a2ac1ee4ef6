// Hot path: no promise, closure or string per chunk.
/** The tables of HPACK that both directions have: the static one (RFC 7541 appendix A), and a dynamic one (2.3.2, 4). */

/** Size of either side's dynamic table until told otherwise, in bytes (RFC 9113 6.5.2). */
export const DEFAULT_TABLE_BYTES = 4096;

/** Each field counts so many bytes more than its name and value (RFC 7541 4.1). */
export const FIELD_OVERHEAD_BYTES = 32;

/** Indices up to here are of the static table; the newest entry of the dynamic one has the next. */
export const STATIC_LENGTH = 61;

/** The static table from index 1 on: a name and the values that it has there, '' where it has none. */
const STATIC_VALUES: readonly (readonly [name: string, ...values: string[]])[] = [
  [':authority', ''],
  [':method', 'GET', 'POST'],
  [':path', '/', '/index.html'],
  [':scheme', 'http', 'https'],
  [':status', '200', '204', '206', '304', '400', '404', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
];

/** All fields of the static table; index 1 is the first. */
export const STATIC_FIELDS: readonly (readonly [name: string, value: string])[] = STATIC_VALUES.flatMap(
  ([name, ...values]) => values.map(value => [name, value] as const),
);

/** A dynamic table: first in, first out, bounded in bytes. */
export class DynamicTable<E extends { readonly size: number }> {
  /** A ring whose length is a power of two; most tables hold few entries. */
  #ring: (E | null)[] = new Array<null>(16).fill(null);
  /** Entries ever added. */
  #added = 0;
  #count = 0;
  #bytes = 0;
  #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Entries ever added: the newest is number `added`. */
  get added(): number {
    return this.#added;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** The entry at `index`, 0 = the newest; null when there is none. */
  at(index: number): E | null {
    if (index >= this.#count) return null;
    const ring = this.#ring;
    return ring[(this.#added - 1 - index) & (ring.length - 1)] as E;
  }

  /** Takes out the oldest entry; null when the table is empty. */
  evict(): E | null {
    if (this.#count === 0) return null;
    const ring = this.#ring;
    const place = (this.#added - this.#count) & (ring.length - 1);
    const oldest = ring[place] as E;
    ring[place] = null;
    this.#count--;
    this.#bytes -= oldest.size;
    return oldest;
  }

  /** Whether so many bytes more are too many: time to evict. */
  isFull(more: number): boolean {
    return this.#bytes + more > this.#maxBytes;
  }

  /** Sets the bound; the caller evicts while `isFull(0)`. */
  setMaxBytes(maxBytes: number): void {
    this.#maxBytes = maxBytes;
  }

  /** Adds an entry for which there is room. */
  add(entry: E): void {
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[this.#added & (this.#ring.length - 1)] = entry;
    this.#added++;
    this.#count++;
    this.#bytes += entry.size;
  }

  #grow(): void {
    const ring = this.#ring;
    const larger = new Array<E | null>(2 * ring.length).fill(null);
    for (let number = this.#added - this.#count; number < this.#added; number++) {
      larger[number & (larger.length - 1)] = ring[number & (ring.length - 1)] as E;
    }
    this.#ring = larger;
  }
}
