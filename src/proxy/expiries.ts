/** What falls due at which second. Certificates end on whole seconds, so that the buckets are exact and few. */

const SECOND_MS = 1_000;

export class Expiries<T> {
  #bySecond = new Map<number, Set<T>>();
  /** Unix milliseconds; nothing is due before it. */
  #next = Number.POSITIVE_INFINITY;

  /** `at` in Unix milliseconds. */
  add(at: number, item: T): void {
    if (!Number.isFinite(at)) return;
    const second = Math.floor(at / SECOND_MS);
    const items = this.#bySecond.get(second);
    if (items === undefined) this.#bySecond.set(second, new Set([item]));
    else items.add(item);
    this.#next = Math.min(this.#next, at);
  }

  /** `at` as it was added. */
  delete(at: number, item: T): void {
    const second = Math.floor(at / SECOND_MS);
    const items = this.#bySecond.get(second);
    if (items?.delete(item) && items.size === 0) this.#bySecond.delete(second);
  }

  /** Takes out what is past; costs a comparison while nothing is. `now` in Unix milliseconds. */
  take(now: number): T[] {
    if (now <= this.#next) return NONE as T[];
    const due: T[] = [];
    this.#next = Number.POSITIVE_INFINITY;
    for (const [second, items] of this.#bySecond) {
      const at = second * SECOND_MS;
      if (now > at) {
        due.push(...items);
        this.#bySecond.delete(second);
      } else this.#next = Math.min(this.#next, at);
    }
    return due;
  }
}

const NONE: readonly unknown[] = [];
