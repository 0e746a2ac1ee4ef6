/** Tells when the own certificate nears its end and no new one came, once a generation and stage. */

/** What is left of the certificate's life: a third, a tenth, nothing. */
export type ExpiryStage = 'third' | 'tenth' | 'expired';

/** As much of an identity generation as the watch looks at; times in Unix milliseconds. */
interface Dated {
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface ExpiryWatchOptions<T extends Dated> {
  /** Said once for each stage that is reached; of several that are reached at once, the last one. */
  readonly onStage: (stage: ExpiryStage, identity: T) => void;
  /** The clock, Unix milliseconds. */
  readonly now?: () => number;
}

const STAGES: readonly { readonly stage: ExpiryStage; readonly left: number }[] = [
  { stage: 'third', left: 1 / 3 },
  { stage: 'tenth', left: 1 / 10 },
  { stage: 'expired', left: 0 },
];
/** A timer does not see a clock that is set or a machine that slept. */
const LOOK_MS = 30_000;

/** Watches one identity after the other, from the first `watch` to `close`; its timer holds no process up. */
export class ExpiryWatch<T extends Dated> {
  readonly #options: ExpiryWatchOptions<T>;
  readonly #now: () => number;
  #identity: T | null = null;
  /** From when its life counts. */
  #begin = 0;
  /** How many stages were reached. */
  #reached = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ExpiryWatchOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * From now on `identity` counts, and what was said of the one before may be said of it again; unless it is the same
   * certificate, which came with another bundle.
   */
  watch(identity: T): void {
    const before = this.#identity;
    const { notBefore, notAfter } = identity;
    this.#identity = identity;
    if (before === null || before.notBefore !== notBefore || before.notAfter !== notAfter) {
      // One that came in place of another is new, however far its maker dated it back for clocks that disagree.
      this.#begin = before === null ? notBefore : Math.max(notBefore, this.#now());
      this.#reached = 0;
    }
    this.look();
  }

  /** Looks at the clock; the timer does this by itself. */
  look(): void {
    clearTimeout(this.#timer);
    const identity = this.#identity;
    if (identity === null) return;
    const now = this.#now();
    const due = STAGES.findLastIndex(({ left }) => now >= this.#momentOf(identity, left)) + 1;
    const next = STAGES[due];
    if (next !== undefined) {
      const ms = Math.min(Math.max(this.#momentOf(identity, next.left) - now, 1), LOOK_MS);
      this.#timer = setTimeout(() => this.look(), ms);
      this.#timer.unref();
    }
    if (due <= this.#reached) return;
    this.#reached = due;
    const { stage } = STAGES[due - 1] ?? { stage: 'expired' };
    this.#options.onStage(stage, identity);
  }

  #momentOf({ notAfter }: T, left: number): number {
    return notAfter - (notAfter - this.#begin) * left;
  }

  close(): void {
    this.#identity = null;
    clearTimeout(this.#timer);
  }
}
