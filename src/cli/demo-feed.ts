/** Lines of one kind from one process: waited for by those who asked before they came. */

interface Waiter<T> {
  readonly match: (value: T) => boolean;
  readonly resolve: (value: T) => void;
}

const WAIT_MS = 10_000; // a sidecar that says nothing for so long has a fault, on however slow a machine

export class Feed<T> {
  #waiters = new Set<Waiter<T>>();
  /** Sees every line, waited for or not. */
  onLine: ((value: T) => void) | null = null;

  push(value: T): void {
    for (const waiter of [...this.#waiters]) {
      if (!waiter.match(value)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(value);
    }
    this.onLine?.(value);
  }

  /** The first line from now on that matches. Ask before doing what makes it. @throws Error when none comes */
  next(what: string, match: (value: T) => boolean): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const waiter: Waiter<T> = { match, resolve };
    this.#waiters.add(waiter);
    const timer = setTimeout(() => {
      this.#waiters.delete(waiter);
      reject(new Error(`no ${what} within ${WAIT_MS / 1000} s`));
    }, WAIT_MS);
    const timed = promise.finally(() => clearTimeout(timer));
    timed.catch(() => {}); // whoever asked may have failed before it waits
    return timed;
  }
}
