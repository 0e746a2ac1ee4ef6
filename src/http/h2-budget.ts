/**
 * How much of what costs us and serves nobody a peer may send: streams that are reset before they are answered
 * (CVE-2023-44487), frames that say nothing (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty ones). A bucket that runs over
 * is an attack; honest use fills it again.
 */

/** Resets in a row, and how many come back a second, whatever else happens. */
const RESETS = 400;
const RESETS_A_SECOND = 50;
/**
 * What an honest peer does now and then and an attacker all the time costs more: a stream that is reset before it could
 * start, or that breaks the protocol.
 */
export const UNREASONABLE = 4;
/** Fields of a list that is too large already that cost as much as a reset: one takes a byte, and 16 KiB of them time. */
const FIELDS_A_RESET = 128;
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

  /** @returns false when there is not so much */
  take(now: number, some = 1): boolean {
    if (this.#left < some) {
      this.put((now - this.#at) * this.#perMs);
      this.#at = now;
      if (this.#left < some) return false;
    }
    this.#left -= some;
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

  /** A stream ended before it was answered. @param weight 1, or UNREASONABLE @returns false when there were too many */
  reset(now: number, weight = 1): boolean {
    return this.#resets.take(now, weight);
  }

  /** Fields came in a list that was too large already. @returns false when there were too many */
  beyond(now: number, fields: number): boolean {
    return this.#resets.take(now, Math.floor(fields / FIELDS_A_RESET));
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
