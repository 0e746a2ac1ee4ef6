// Hot path: no promise, closure or string per chunk.
/** Idle connections to one endpoint and the limits on open ones; what a connection is, the pool does not care. */

export interface Pooled {
  /** Whether it can take a request now. */
  readonly usable: boolean;
  /** When it became idle, in ms on the caller's clock. */
  readonly idleSince: number;
  /** Longest the server said it keeps an idle connection, in ms. */
  readonly idleLimitMs: number;
  readonly requests: number;
  destroy(): void;
}

export interface PoolLimits {
  /** Open connections at most (DestinationRule connectionPool.tcp.maxConnections). */
  readonly maxConnections: number;
  /** Requests that wait for a connection at most (connectionPool.http.http1MaxPendingRequests). */
  readonly maxPending: number;
  /** 0 = unlimited (connectionPool.http.maxRequestsPerConnection). */
  readonly maxRequestsPerConnection: number;
  /** Idle connections older than this are closed. */
  readonly idleTimeoutMs: number;
}

/** A request that waits for a connection of an endpoint that has as many as it may. */
export interface Waiter<C> {
  onConnection(connection: C): void;
}

export class Pool<C extends Pooled, W extends Waiter<C> = Waiter<C>> {
  readonly limits: PoolLimits;
  #idle: C[] = [];
  #open = 0;
  #waiting: W[] = [];

  constructor(limits: PoolLimits) {
    this.limits = limits;
  }

  get open(): number {
    return this.#open;
  }

  get idle(): number {
    return this.#idle.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * The connection used last, or null. `maxIdleMs` is how stale it may be: a request that cannot be sent twice takes a
   * fresh one, since the server may be closing an old one at this moment.
   */
  take(now: number, maxIdleMs: number): C | null {
    for (;;) {
      const connection = this.#idle.at(-1);
      if (connection === undefined) return null;
      const idle = now - connection.idleSince;
      if (!connection.usable || idle > connection.idleLimitMs || idle > this.limits.idleTimeoutMs) {
        this.#idle.pop();
        connection.destroy();
        continue;
      }
      if (idle > maxIdleMs) {
        // Where no other may be opened, the oldest gives up its place: it would be waited for until it times out.
        if (this.#open >= this.limits.maxConnections) this.#idle.shift()?.destroy();
        return null;
      }
      this.#idle.pop();
      return connection;
    }
  }

  /**
   * Counts a connection that is being opened; `anyway`: beyond the limit too.
   *
   * @returns false when the endpoint has as many as it may
   */
  reserve(anyway = false): boolean {
    if (this.#open >= this.limits.maxConnections && !anyway) return false;
    this.#open++;
    return true;
  }

  /** A reserved or open connection is gone; null = one that is not kept here. Call `next` after it. */
  drop(connection: C | null): void {
    this.#open--;
    if (connection === null) return;
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** The waiter for whom a new connection may be opened now. */
  next(): W | null {
    return this.#waiting.shift() ?? null;
  }

  /** Waits for a connection. @returns false when too many wait already */
  wait(waiter: W): boolean {
    if (this.#waiting.length >= this.limits.maxPending) return false;
    this.#waiting.push(waiter);
    return true;
  }

  /** The waiter went away. */
  forget(waiter: W): void {
    const at = this.#waiting.indexOf(waiter);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** Takes back a connection that finished a request. */
  put(connection: C): void {
    const { maxRequestsPerConnection } = this.limits;
    if (maxRequestsPerConnection > 0 && connection.requests >= maxRequestsPerConnection) {
      connection.destroy();
      return;
    }
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.onConnection(connection);
    else this.#idle.push(connection);
  }

  /** Closes what has been idle too long; call it now and then. */
  sweep(now: number): void {
    const stale = this.#idle.filter(c => {
      const idle = now - c.idleSince;
      return !c.usable || idle > c.idleLimitMs || idle > this.limits.idleTimeoutMs;
    });
    for (const connection of stale) connection.destroy();
  }

  /** Closes every idle connection: after a change of certificates none made with the old ones is used again. */
  clear(): void {
    for (const connection of [...this.#idle]) connection.destroy();
    this.#idle = [];
  }
}
