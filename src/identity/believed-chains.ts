/**
 * The certificate chains of clients that were believed, shared by all threads at once: a resumed session holds the leaf
 * only, may arrive at a thread that never saw its signers, and is judged there before anything could be asked of another.
 *
 * A ring of records in shared memory, the oldest overwritten first. Only what was believed is in it, so strangers cannot
 * push others out.
 */

const BYTES = 16 * 1024 * 1024; // 12,000 chains of a P-256 leaf and an intermediate; pages that nobody wrote cost nothing
const HEADER_BYTES = 32;
const LOCK = 0; // Int32
const TAIL = 1; // Float64, as HEAD: bytes ever written before the oldest whole record, and before the next one
const HEAD = 2;
/** Longer than any thread takes to copy a chain: whoever held the lock has died with it. */
const ABANDONED_MS = 500;
const HASH_BYTES = 32;
const MAX_INDEX = 40_000; // more than the ring has room for

/** One thread's view of the ring. */
export class BelievedChains {
  readonly #lock: Int32Array;
  readonly #marks: Float64Array;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Positions of records by the SHA-256 of the leaf; what was overwritten since may still be in it. */
  #index = new Map<string, number>();
  /** As far as this thread has read. */
  #read = 0;

  /** @param memory of `BelievedChains.memory`, the same for all threads */
  constructor(memory: SharedArrayBuffer) {
    this.#lock = new Int32Array(memory, 0, 1);
    this.#marks = new Float64Array(memory, 0, HEADER_BYTES / 8);
    this.#bytes = new Uint8Array(memory, HEADER_BYTES);
    this.#view = new DataView(memory, HEADER_BYTES);
  }

  /** @param bytes for chains */
  static memory(bytes: number = BYTES): SharedArrayBuffer {
    return new SharedArrayBuffer(HEADER_BYTES + bytes);
  }

  /**
   * From now on every thread finds the chain, for as long as half of the ring takes at least.
   *
   * @param hash lower-case hex SHA-256 of the leaf
   * @param chain DER, leaf first
   */
  add(hash: string, chain: readonly Uint8Array[]): void {
    this.#locked(() => {
      const at = this.#find(hash);
      // Of the older half it would be overwritten before the ticket that follows has lived its time.
      const old = at !== null && this.#mark(HEAD) - at > this.#bytes.length / 2;
      if (at === null || old || !this.#holds(at, chain)) this.#write(hash, chain);
    });
  }

  /** The chain of a leaf that some thread believed, leaf first; null when none did, or too long ago. */
  find(hash: string): readonly Uint8Array[] | null {
    return this.#locked(() => {
      const at = this.#find(hash);
      return at === null ? null : this.#chainAt(at);
    });
  }

  #find(hash: string): number | null {
    this.#catchUp();
    const at = this.#index.get(hash);
    return at === undefined || at < this.#mark(TAIL) ? null : at;
  }

  #mark(which: typeof TAIL | typeof HEAD): number {
    return this.#marks[which] ?? 0;
  }

  /** Reads what other threads have written since. */
  #catchUp(): void {
    const tail = this.#mark(TAIL);
    const head = this.#mark(HEAD);
    let at = Math.max(this.#read, tail);
    while (at < head) {
      const { length, hash } = this.#recordAt(at);
      if (hash !== null) this.#index.set(hash, at);
      at += length;
    }
    this.#read = head;
    if (this.#index.size <= MAX_INDEX) return;
    for (const [hash, at] of this.#index) if (at < tail) this.#index.delete(hash);
  }

  /** A record: its length, 4 bytes; the leaf's hash; each certificate after its length. Without a hash it only fills the end. */
  #recordAt(at: number): { length: number; hash: string | null } {
    const size = this.#bytes.length;
    const start = at % size;
    if (size - start < 4) return { length: size - start, hash: null };
    const length = this.#view.getUint32(start);
    if (length === 0) return { length: size - start, hash: null };
    return {
      length,
      hash: Buffer.from(this.#bytes.slice(start + 4, start + 4 + HASH_BYTES)).toString('hex'),
    };
  }

  #chainAt(at: number): Uint8Array[] {
    const start = at % this.#bytes.length;
    const end = start + this.#view.getUint32(start);
    const chain: Uint8Array[] = [];
    for (let next = start + 4 + HASH_BYTES; next < end; ) {
      const length = this.#view.getUint32(next);
      chain.push(this.#bytes.slice(next + 4, next + 4 + length)); // a copy: the place is written again some day
      next += 4 + length;
    }
    return chain;
  }

  #holds(at: number, chain: readonly Uint8Array[]): boolean {
    const start = at % this.#bytes.length;
    const end = start + this.#view.getUint32(start);
    let next = start + 4 + HASH_BYTES;
    for (const certificate of chain) {
      if (next >= end || this.#view.getUint32(next) !== certificate.length) return false;
      const there = this.#bytes.subarray(next + 4, next + 4 + certificate.length);
      if (Buffer.compare(there, certificate) !== 0) return false;
      next += 4 + certificate.length;
    }
    return next === end;
  }

  /** Tail first, head last: a thread that dies in between leaves a whole ring. */
  #write(hash: string, chain: readonly Uint8Array[]): void {
    const size = this.#bytes.length;
    const length = 4 + HASH_BYTES + chain.reduce((sum, { length }) => sum + 4 + length, 0);
    if (length > size / 4) return; // larger than any handshake that OpenSSL takes
    let head = this.#mark(HEAD);
    const left = size - (head % size);
    const filled = left < length ? left : 0;
    let tail = this.#mark(TAIL);
    while (tail < head && tail < head + filled + length - size) tail += this.#recordAt(tail).length;
    this.#marks[TAIL] = tail;
    if (filled >= 4) this.#view.setUint32(head % size, 0);
    head += filled;
    let at = head % size;
    this.#view.setUint32(at, length);
    this.#bytes.set(Buffer.from(hash, 'hex'), at + 4);
    at += 4 + HASH_BYTES;
    for (const certificate of chain) {
      this.#view.setUint32(at, certificate.length);
      this.#bytes.set(certificate, at + 4);
      at += 4 + certificate.length;
    }
    this.#marks[HEAD] = head + length;
    this.#read = head + length;
    this.#index.set(hash, head);
  }

  #locked<T>(work: () => T): T {
    this.#acquire();
    try {
      return work();
    } finally {
      Atomics.store(this.#lock, LOCK, 0);
      Atomics.notify(this.#lock, LOCK, 1);
    }
  }

  #acquire(): void {
    for (;;) {
      const held = Atomics.compareExchange(this.#lock, LOCK, 0, 1);
      if (held === 0) return;
      if (Atomics.wait(this.#lock, LOCK, held, ABANDONED_MS) !== 'timed-out') continue;
      // Another number, so that of several who wait only one takes over.
      if (Atomics.compareExchange(this.#lock, LOCK, held, held + 1) === held) return;
    }
  }
}
