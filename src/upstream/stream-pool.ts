// Hot path: no promise, closure or string per chunk.
/**
 * Connections to one endpoint that carry many requests at a time, and the requests that wait for room on one. What a
 * connection is, the pool does not care.
 */

export interface Shareable {
  /** Requests that may begin on it now. */
  readonly room: number;
  /** No further request begins on it; it closes when the last is done. */
  retire(): void;
}

export class StreamPool<C extends Shareable, W> {
  /** Whether the endpoint let a connection be shared when it was last asked; null = it was not yet. */
  shares: boolean | null = null;
  /** A connection is being made for those that wait. */
  opening = false;
  /** Oldest first. */
  #connections: C[] = [];
  #waiting: W[] = [];

  get size(): number {
    return this.#connections.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get connections(): readonly C[] {
    return this.#connections;
  }

  /** The oldest with room, so that those opened in a rush become idle and close; null = all are full. */
  withRoom(): C | null {
    for (const connection of this.#connections) if (connection.room > 0) return connection;
    return null;
  }

  add(connection: C): void {
    this.#connections.push(connection);
  }

  /** It takes no further request. */
  remove(connection: C): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
  }

  /** None of those there are takes a further request. */
  retireAll(): void {
    for (const connection of this.#connections.splice(0)) connection.retire();
  }

  wait(waiter: W): void {
    this.#waiting.push(waiter);
  }

  /** Who waited longest waits no more. */
  next(): W | null {
    return this.#waiting.shift() ?? null;
  }

  /** Nobody waits any more. */
  all(): readonly W[] {
    return this.#waiting.splice(0);
  }

  /** The waiter went away. */
  forget(waiter: W): void {
    const at = this.#waiting.indexOf(waiter);
    if (at >= 0) this.#waiting.splice(at, 1);
  }
}
