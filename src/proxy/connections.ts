/** The open connections of one thread: for `/connections`, for draining, and for closing what policy no longer allows. */
import type { Socket } from 'node:net';

/** Longer than a destroyed socket takes to say so. */
const LAST_WORDS_MS = 1_000;

export interface ConnectionRow {
  readonly direction: 'inbound' | 'outbound';
  readonly peer: string | null;
  readonly remote: string;
  readonly local: string;
  readonly protocol: string;
  /** ISO 8601. */
  readonly since: string;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

export interface OpenConnection {
  describe(): ConnectionRow;
  /** Reports to the metrics what a long connection carried since the last call. */
  progress(): void;
  /** Finishes what is in flight and ends. */
  drain(): void;
  destroy(): void;
}

export class Connections {
  #open = new Set<OpenConnection>();
  /** Accepted, and not yet known for what they are: a client may send its request right behind its handshake. */
  #arriving = new Set<Socket>();
  #onEmpty: (() => void) | null = null;

  get size(): number {
    return this.#open.size;
  }

  add(connection: OpenConnection): void {
    this.#open.add(connection);
  }

  delete(connection: OpenConnection): void {
    this.#open.delete(connection);
    this.#tellEmpty();
  }

  /** A drain waits for `raw` until it has arrived or is closed. */
  arrives(raw: Socket): void {
    this.#arriving.add(raw);
    raw.once('close', () => this.arrived(raw));
  }

  /** It is open, or will not be. */
  arrived(raw: Socket): void {
    if (this.#arriving.delete(raw)) this.#tellEmpty();
  }

  get #empty(): boolean {
    return this.#open.size === 0 && this.#arriving.size === 0;
  }

  #tellEmpty(): void {
    if (this.#empty) this.#onEmpty?.();
  }

  [Symbol.iterator](): IterableIterator<OpenConnection> {
    return this.#open.values();
  }

  list(limit: number): ConnectionRow[] {
    const rows: ConnectionRow[] = [];
    for (const connection of this.#open) {
      if (rows.length >= limit) break;
      rows.push(connection.describe());
    }
    return rows;
  }

  /** Drains all; resolves when none is left, or after `ms`, having destroyed the rest and heard their end. */
  async drain(ms: number): Promise<void> {
    for (const connection of [...this.#open]) connection.drain();
    await this.#emptyWithin(ms);
    for (const connection of [...this.#open, ...this.#arriving]) connection.destroy();
    await this.#emptyWithin(LAST_WORDS_MS); // their log lines are written when their sockets say that they are closed
  }

  #emptyWithin(ms: number): Promise<void> {
    if (this.#empty) return Promise.resolve();
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.#onEmpty = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
