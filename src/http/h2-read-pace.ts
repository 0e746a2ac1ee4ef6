// Hot path: no promise, closure or string per chunk.
/**
 * How fast a peer is read: not while it takes nothing of what it is told; after so much that was begun only when others had
 * their turn; and after the connection's end only until our last words have arrived.
 */
import type { Socket } from 'node:net';
import type { H2Output } from './h2-output.ts';

/** What is read after the end, and thrown away: enough to see an honest peer's end. A flood stays in the kernel. */
const MAX_UNREAD_BYTES = 64 * 1024;

/** More than this is not read ahead of what is acted on. */
const READ_AHEAD_BYTES = 64 * 1024;

/** Who acts on what is read. */
export interface PacedReader {
  /** Its end was said. */
  readonly over: boolean;
  /** Something besides bytes is left for the next turn. */
  readonly waiting: boolean;
  /** What is read from now on is of a new turn of the event loop. */
  beginTurn(): void;
  /** @returns the offset of what is left for the next turn; the chunk's length where nothing is */
  readFrames(chunk: Buffer, borrowed: boolean): number;
  /** All that was read of the socket is acted on, after some of it had to wait. */
  onCaughtUp(): void;
}

export class ReadPace {
  readonly #reader: PacedReader;
  readonly #socket: Socket;
  readonly #output: H2Output;
  /** The peer takes nothing. */
  #stalled = false;
  /** What waits for the next turn. */
  #rest: Buffer | null = null;
  #paused = false;
  #unread = 0;
  #goOn = (): void => this.#readRest();

  constructor(reader: PacedReader, socket: Socket, output: H2Output) {
    this.#reader = reader;
    this.#socket = socket;
    this.#output = output;
  }

  /** Not all that was read of the socket is acted on. */
  get behind(): boolean {
    return this.#rest !== null;
  }

  /** @param borrowed the bytes are overwritten by the next read; never where anything may be left for later */
  read(chunk: Buffer, borrowed: boolean): void {
    if (this.#reader.over) this.#ignore(chunk.length);
    else if (this.#rest === null) this.#act(chunk, borrowed);
    else {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      this.#pauseOrNot();
    }
  }

  #act(chunk: Buffer, borrowed: boolean): void {
    const reader = this.#reader;
    reader.beginTurn();
    const at = reader.readFrames(chunk, borrowed);
    if (reader.over) return;
    if (at < chunk.length || reader.waiting) {
      this.#rest = chunk.subarray(at);
      setImmediate(this.#goOn);
    }
    this.#pauseOrNot();
  }

  /** A turn comes soon: to stop and go on for it would cost more than it brings. */
  #pauseOrNot(): void {
    if (this.#output.stalled) this.#stalled = true;
    const ahead = this.#rest !== null && this.#rest.length > READ_AHEAD_BYTES;
    if (this.#paused || !(this.#stalled || ahead)) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#paused || this.#stalled) return;
    this.#paused = false;
    this.#socket.resume();
  }

  #readRest(): void {
    const rest = this.#rest;
    this.#rest = null;
    if (rest === null || this.#reader.over) return;
    this.#act(rest, false);
    if (this.#rest !== null || this.#reader.over) return;
    this.#resume();
    this.#reader.onCaughtUp();
  }

  /** The socket's queue is empty. */
  drained(): void {
    if (!this.#stalled || this.#output.stalled) return;
    this.#stalled = false;
    if (this.#rest === null) this.#resume();
  }

  #ignore(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread > MAX_UNREAD_BYTES) this.#socket.pause();
  }
}
