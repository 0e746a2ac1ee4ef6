// Hot path: no promise, closure or string per chunk.
/** One HTTP/2 stream's two windows, and what waits to be sent on it (RFC 9113 5.1, 5.2). */
import type { FieldList } from './field-list.ts';
import type { H2Connection } from './h2-connection.ts';
import { MAX_FRAME_BYTES, STREAM_WINDOW } from './h2-frames.ts';
import type { Outbox } from './outbox.ts';

/** Above this many bytes that wait for a window, whoever sends them should pause. */
const QUEUE_BYTES = 64 * 1024;
/** The same where nothing can be sent now: a peer that opens no window makes us keep this much for each stream. */
const BLOCKED_BYTES = 16 * 1024;
/** Room is announced when this much of the window was used. */
const CREDIT_BYTES = STREAM_WINDOW / 2;

/** So many small pieces that wait are worth a copy. */
const MANY_PIECES = 64;

/** `bytes` to keep for longer than this turn: a small piece would hold all of the buffer that it was read into. */
export function kept(bytes: Buffer): Buffer {
  return bytes.length * 2 < bytes.buffer.byteLength ? Buffer.from(bytes) : bytes;
}

export abstract class H2Stream {
  readonly connection: H2Connection;
  id: number;
  /** Bytes that may be sent; may be below zero after SETTINGS. */
  sendWindow: number;
  /** The peer will send nothing more on it. */
  remoteEnded = false;
  /** We will send nothing more on it. */
  localEnded = false;
  /** On the clock's scale: when something last came or went. */
  touched: number;
  /** Waits its turn to send. */
  waiting = false;
  /** Content bytes of DATA that came. */
  received = 0;
  #queue: Buffer[] | null = null;
  #queuedBytes = 0;
  /** So many pieces at the queue's head are joined ones. */
  #joined = 0;
  /** What ends the stream once the queue is empty; null = nothing yet. */
  #ending: string | null = null;
  /** Bytes received whose window was not given back yet. */
  #credit = 0;
  /** And those that are kept back, since what came could not be passed on. */
  #heldBack = 0;
  #holding = false;

  constructor(connection: H2Connection, id: number) {
    this.connection = connection;
    this.id = id;
    this.sendWindow = connection.peer.window;
    this.touched = connection.clock.now;
  }

  /** A header section came: a head, an interim one, trailers. */
  abstract onFields(list: FieldList, end: boolean): void;
  /** Content came. `borrowed`: the bytes are overwritten by the next read. `more`: there is more of the same read. */
  abstract onData(bytes: Buffer, borrowed: boolean, more: boolean): void;
  /** The peer ended the stream without trailers. */
  abstract onEnd(): void;
  /** The peer reset it, or the connection is gone (`code` null). */
  abstract onReset(code: number | null): void;
  /** What waited was sent. */
  abstract onDrained(): void;
  /** Everything was sent, the end too. */
  abstract onSent(): void;
  /** Nothing came or went for longer than allowed. */
  abstract onStalled(): void;
  /** The queue is empty: header lines that end the stream. */
  abstract sendTrailers(lines: string): void;

  get backedUp(): boolean {
    const bytes = this.#queuedBytes;
    return bytes > QUEUE_BYTES || (bytes > BLOCKED_BYTES && this.connection.sendable(this) <= 0);
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Sends what `out` holds, as windows allow; the rest waits. @param borrowed its bytes are overwritten by the next read */
  send(out: Outbox, borrowed: boolean): void {
    for (const piece of out.pieces) {
      if (typeof piece === 'string') this.sendBytes(Buffer.from(piece, 'latin1'), false);
      else this.sendBytes(piece, borrowed);
    }
    out.sent();
  }

  /** Sends `bytes`, as windows allow. */
  sendBytes(bytes: Buffer, borrowed: boolean): void {
    if (this.localEnded || bytes.length === 0) return;
    let from = 0;
    if (this.#queue === null) from = this.#write(bytes, 0);
    if (from === bytes.length) return;
    const rest = from === 0 ? bytes : bytes.subarray(from);
    this.#enqueue(rest, borrowed);
    this.connection.wait(this);
  }

  #enqueue(bytes: Buffer, borrowed: boolean): void {
    this.#queue ??= [];
    this.#queue.push(borrowed ? Buffer.from(bytes) : kept(bytes));
    this.#queuedBytes += bytes.length;
    if (this.#queue.length - this.#joined < MANY_PIECES) return;
    // A stream of tiny frames would else be held at the price of an object each.
    this.#queue.push(Buffer.concat(this.#queue.splice(this.#joined)));
    this.#joined++;
  }

  /** @returns the offset of what could not be written */
  #write(bytes: Buffer, start: number): number {
    let from = start;
    while (from < bytes.length) {
      const size = Math.min(bytes.length - from, this.connection.sendable(this), MAX_FRAME_BYTES);
      if (size <= 0) break;
      this.connection.writeData(this, bytes, from, from + size);
      from += size;
    }
    return from;
  }

  /** Its turn: one frame of what waits. @returns whether it still waits */
  pump(): boolean {
    const queue = this.#queue;
    if (queue !== null) {
      const first = queue[0] as Buffer;
      const size = Math.min(first.length, this.connection.sendable(this), MAX_FRAME_BYTES);
      if (size <= 0) return true;
      this.connection.writeData(this, first, 0, size);
      this.#queuedBytes -= size;
      if (size < first.length) queue[0] = first.subarray(size);
      else if (queue.length === 1) this.#queue = null;
      else queue.shift();
      if (size === first.length && this.#joined > 0) this.#joined--;
      if (this.#queue !== null) return true;
    }
    if (this.#ending !== null) this.#finish(this.#ending);
    else this.onDrained();
    return this.#queue !== null;
  }

  /** Ends the stream once everything was sent. @param trailers header lines, '' = none */
  sendEnd(trailers: string): void {
    if (this.localEnded || this.#ending !== null) return;
    if (this.#queue === null) this.#finish(trailers);
    else this.#ending = trailers;
  }

  #finish(trailers: string): void {
    this.#ending = null;
    if (trailers !== '') this.sendTrailers(trailers);
    else if (!this.connection.output.endStream(this.id)) this.connection.output.emptyEnd(this.id);
    this.endedLocally();
  }

  /** END_STREAM was sent. */
  endedLocally(): void {
    this.localEnded = true;
    this.onSent();
    if (this.remoteEnded) this.connection.forget(this);
  }

  /** Drops what waits. */
  drop(): void {
    this.#queue = null;
    this.#queuedBytes = 0;
    this.#joined = 0;
    this.#ending = null;
  }

  /** `bytes` of DATA came, padding included. @returns false when that is more than the window allowed */
  take(bytes: number): boolean {
    if (this.#credit + this.#heldBack + bytes > STREAM_WINDOW) return false;
    if (this.#holding) this.#heldBack += bytes;
    else this.#give(bytes);
    return true;
  }

  #give(bytes: number): void {
    this.connection.credit(bytes);
    this.#credit += bytes;
    if (this.#credit < CREDIT_BYTES || this.remoteEnded) return;
    this.connection.output.windowUpdate(this.id, this.#credit);
    this.#credit = 0;
  }

  /** What comes cannot be passed on: its window is not given back. */
  holdBack(): void {
    this.#holding = true;
  }

  /** It was passed on. */
  release(): void {
    this.#holding = false;
    const bytes = this.#heldBack;
    this.#heldBack = 0;
    if (bytes > 0) this.#give(bytes);
  }

  /** It is over: what was kept back of the connection's window is free. */
  surrender(): void {
    this.drop();
    const bytes = this.#heldBack;
    this.#heldBack = 0;
    if (bytes > 0) this.connection.credit(bytes);
  }
}
