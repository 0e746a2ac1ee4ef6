/** One coarse clock a thread: arming a deadline is one field write, and one timer looks after all of them. */

/** How often deadlines are looked at, in ms; a deadline fires at most this much late. */
const TICK_MS = 250;

export interface Deadline {
  deadline: number;
  onDeadline(): void;
}

export class CoarseClock {
  /** Milliseconds since the process began, at most one tick old. */
  now = performance.now();
  #items = new Set<Deadline>();
  #timer: NodeJS.Timeout;

  constructor() {
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  add(item: Deadline): void {
    this.#items.add(item);
  }

  delete(item: Deadline): void {
    this.#items.delete(item);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    this.now = performance.now();
    for (const item of this.#items) {
      if (item.deadline > this.now) continue;
      item.deadline = Number.POSITIVE_INFINITY;
      item.onDeadline();
    }
  }
}
