// Hot path: no promise, closure or string per stream.
/**
 * The open streams of one connection by their id. Not a Map: V8's leaves each table that it outgrows linked to the next with
 * all that was in it, so that once one is old, every stream after it lives until the next full collection.
 */

const FIRST_SLOTS = 32; // a power of two

/** Open addressing with linear probing; at most half of the slots are taken. */
export class H2StreamTable<S extends { readonly id: number }> {
  #slots: (S | null)[] = new Array<S | null>(FIRST_SLOTS).fill(null);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): S | undefined {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let at = (id >>> 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at] as S | null;
      if (stream === null) return undefined;
      if (stream.id === id) return stream;
    }
  }

  has(id: number): boolean {
    return this.get(id) !== undefined;
  }

  /** `stream.id` is not in it yet, and does not change while it is. */
  add(stream: S): void {
    if (2 * this.#size >= this.#slots.length) this.#grow();
    this.#size++;
    this.#put(stream);
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = (id >>> 1) & mask;
    for (; ; at = (at + 1) & mask) {
      const stream = slots[at] as S | null;
      if (stream === null) return false;
      if (stream.id === id) break;
    }
    this.#size--;
    // What stands behind the gap and would not be found across it moves into it.
    for (let next = (at + 1) & mask; ; next = (next + 1) & mask) {
      const stream = slots[next] as S | null;
      if (stream === null) break;
      const home = (stream.id >>> 1) & mask;
      if (((next - home) & mask) < ((next - at) & mask)) continue;
      slots[at] = stream;
      at = next;
    }
    slots[at] = null;
    return true;
  }

  clear(): void {
    this.#slots.fill(null);
    this.#size = 0;
  }

  /** All of them, as they are now. */
  values(): S[] {
    return this.#slots.filter(stream => stream !== null);
  }

  #put(stream: S): void {
    const mask = this.#slots.length - 1;
    let at = (stream.id >>> 1) & mask;
    while (this.#slots[at] !== null) at = (at + 1) & mask;
    this.#slots[at] = stream;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Array<S | null>(2 * old.length).fill(null);
    for (const stream of old) if (stream !== null) this.#put(stream);
  }
}
