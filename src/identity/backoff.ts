/** How long to wait before asking again: each failure doubles the pause, up to a longest one; a success starts over. */

export interface BackoffOptions {
  readonly firstMs: number;
  readonly longestMs: number;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

const JITTER = 0.2; // of the pause, both ways: what restarts must not be asked by all its clients at once

export class Backoff {
  readonly #options: BackoffOptions;
  #pauseMs: number;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#pauseMs = options.firstMs;
  }

  /** The pause after one more failure, in milliseconds. */
  next(): number {
    const { longestMs, random = Math.random } = this.#options;
    const pauseMs = this.#pauseMs;
    this.#pauseMs = Math.min(pauseMs * 2, longestMs);
    return pauseMs * (1 - JITTER + 2 * JITTER * random());
  }

  reset(): void {
    this.#pauseMs = this.#options.firstMs;
  }
}
