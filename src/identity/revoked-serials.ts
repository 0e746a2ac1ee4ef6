/**
 * The serial numbers of one revocation list: a table of offsets into its DER. 100,000 of them are the list's 4 MB and
 * 1 MB beside it, read in 50 ms; a Set of texts takes 15 MB.
 */

const SIGN = Buffer.of(0);

export class RevokedSerials {
  readonly #bytes: Buffer;
  /** Open addressing: offset of the content + 1, 0 = free. The length is the octet before it. */
  #slots = new Uint32Array(64);
  #count = 0;

  /** @param bytes the whole list in DER; kept */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** Adds the INTEGER whose content begins at `start`; its length octet, below 128, must stand right before it. */
  add(start: number): void {
    if ((this.#count + 1) * 2 > this.#slots.length) this.#grow();
    this.#slots[this.#find(this.#bytes, start, start + this.#length(start))] = start + 1;
    this.#count += 1;
  }

  /** @param serial a certificate's, in hex; the sign octet may be left out, as OpenSSL prints it */
  has(serial: string): boolean {
    const bytes = Buffer.from(serial, 'hex');
    if (bytes.length === 0 || bytes.length * 2 !== serial.length) return true; // no serial number at all
    const first = bytes.findIndex(byte => byte !== 0);
    const least = bytes.subarray(first < 0 ? bytes.length - 1 : first);
    return this.#isThere(least) || ((least[0] ?? 0) >= 0x80 && this.#isThere(Buffer.concat([SIGN, least])));
  }

  #isThere(bytes: Buffer): boolean {
    return this.#slots[this.#find(bytes, 0, bytes.length)] !== 0;
  }

  /** The slot that holds the same bytes, or the free one where they belong. */
  #find(from: Buffer, start: number, end: number): number {
    const mask = this.#slots.length - 1;
    let slot = hashOf(from, start, end) & mask;
    for (; ; slot = (slot + 1) & mask) {
      const at = (this.#slots[slot] ?? 0) - 1;
      if (at < 0) return slot;
      if (this.#bytes.compare(from, start, end, at, at + this.#length(at)) === 0) return slot;
    }
  }

  #length(start: number): number {
    return this.#bytes[start - 1] ?? 0;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(before.length * 4);
    for (const kept of before) {
      if (kept === 0) continue;
      const start = kept - 1;
      this.#slots[this.#find(this.#bytes, start, start + this.#length(start))] = kept;
    }
  }
}

/** FNV-1a. Who could choose serial numbers that collide is the CA itself. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash ^ (hash >>> 15);
}
