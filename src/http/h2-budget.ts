/**
 * How much of what costs us and serves nobody a peer may send: streams that are reset before they are answered
 * (CVE-2023-44487), frames that say nothing (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty ones). A bucket that runs over
 * is an attack; honest use fills it again.
 */

/** Resets in a row, and how many come back a second, whatever else happens. */
const RESETS = 400;
const RESETS_A_SECOND = 50;
const CONTROLS = 2_000;
const CONTROLS_A_SECOND = 200;
/** Frames without content that each frame with content allows; a peer may well give back windows in small pieces. */
const CONTROLS_A_FRAME = 4;

class Bucket {
  readonly #size: number;
  readonly #perMs: number;
  #left: number;
  #at: number;

  constructor(size: number, perSecond: number, now: number) {
    this.#size = size;
    this.#left = size;
    this.#perMs = perSecond / 1000;
    this.#at = now;
  }

  /** @returns false when it is empty */
  take(now: number): boolean {
    if (this.#left < 1) {
      this.put((now - this.#at) * this.#perMs);
      this.#at = now;
      if (this.#left < 1) return false;
    }
    this.#left--;
    return true;
  }

  put(some: number): void {
    this.#left = Math.min(this.#size, this.#left + some);
  }
}

export class H2Budget {
  readonly #resets: Bucket;
  readonly #controls: Bucket;

  /** @param now on the clock's scale, ms */
  constructor(now: number) {
    this.#resets = new Bucket(RESETS, RESETS_A_SECOND, now);
    this.#controls = new Bucket(CONTROLS, CONTROLS_A_SECOND, now);
  }

  /** A stream ended before it was answered. @returns false when there were too many */
  reset(now: number): boolean {
    return this.#resets.take(now);
  }

  /** A frame that carries nothing. @returns false when there were too many */
  control(now: number): boolean {
    return this.#controls.take(now);
  }

  /** A stream was answered. */
  answered(): void {
    this.#resets.put(1);
    this.#controls.put(CONTROLS_A_FRAME);
  }

  /** A frame of content came or went. */
  content(): void {
    this.#controls.put(CONTROLS_A_FRAME);
  }
}
