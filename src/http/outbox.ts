// Hot path: no promise, closure or string per chunk.
import type { Socket } from 'node:net';

/** A full TLS record (RFC 8446 5.1): after one, more of the same read is likely to follow at once. */
export const FULL_RECORD_BYTES = 16 * 1024;

/** One read brings no more than this; a socket that holds more writes. */
const HELD_BYTES = 64 * 1024;

/**
 * Up to here they are joined as text: a small buffer is a slice of a shared slab, and one that outlives a minor
 * collection keeps its slab until a major one: 7 MB more resident every 60,000 requests, up to V8's limit of 64 MB.
 */
const TEXT_BYTES = 4 * 1024;

/** So many pieces that are held for long are worth a copy. */
const MANY_PIECES = 64;

/**
 * What one connection has to say in this turn of the event loop, gathered and written at once:
 * a head and its first body bytes in two writes cost a 40 ms stall with Nagle and a TLS record each without.
 */
export class Outbox {
  #pieces: (Buffer | string)[] = [];
  #bytes = 0;
  #held: Socket | null = null;
  #heldBytes = 0;
  #release = (): void => {
    const socket = this.#held;
    this.#held = null;
    this.#heldBytes = 0;
    socket?.uncork();
  };

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get pieces(): readonly (Buffer | string)[] {
    return this.#pieces;
  }

  /** Takes all pieces out. */
  take(): (Buffer | string)[] {
    const pieces = this.#pieces;
    this.clear();
    return pieces;
  }

  /** Adds latin1 text. */
  text(text: string): void {
    this.#pieces.push(text);
    this.#bytes += text.length;
  }

  /** Adds latin1 text before everything that is there. */
  textFirst(text: string): void {
    this.#pieces.unshift(text);
    this.#bytes += text.length;
  }

  /** Adds bytes; they must stay untouched until `flush`, and after it as `flush` tells. */
  data(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
  }

  /** Adds what came out of an outbox. */
  piece(piece: Buffer | string): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  /** Adds `bytes[from, to)`. */
  slice(bytes: Buffer, from: number, to: number): void {
    if (to > from) this.data(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to));
  }

  /**
   * Joins the pieces from index `from` on into one, once there are many of them.
   * @returns the index to go on from next time
   */
  join(from: number): number {
    if (this.#pieces.length - from < MANY_PIECES) return from;
    const many = this.#pieces.splice(from);
    this.#pieces.push(
      Buffer.concat(many.map(one => (typeof one === 'string' ? Buffer.from(one, 'latin1') : one))),
    );
    return from + 1;
  }

  /** Everything in it was sent by somebody else. */
  sent(): void {
    if (this.#pieces.length > 64) this.#pieces = [];
    else this.#pieces.length = 0;
    this.#bytes = 0;
  }

  /** Drops everything that was not written. */
  clear(): void {
    this.#pieces = [];
    this.#bytes = 0;
  }

  /**
   * Writes everything in one go.
   * @param borrowed pieces point into a read buffer that is used again: they are copied, unless the socket is TLS with
   * nothing queued, which encrypts before `write` returns
   * @param more the rest of the same read follows in this turn of the event loop: the socket waits for it
   */
  flush(socket: Socket, borrowed: boolean, more = false): void {
    const pieces = this.#pieces;
    if (pieces.length > 0 && !socket.writable) this.clear();
    else if (pieces.length > 0) {
      if (more && this.#held === null) this.#hold(socket);
      const used = 'encrypted' in socket && socket.writableLength === 0 && this.#held === null;
      this.#heldBytes += this.#bytes;
      this.#write(socket, borrowed && !used);
      if (pieces.length > 64) this.#pieces = [];
      else pieces.length = 0;
      this.#bytes = 0;
    }
    if (!more || this.#heldBytes >= HELD_BYTES) this.#release();
  }

  #write(socket: Socket, copy: boolean): void {
    const pieces = this.#pieces;
    if (pieces.length === 1) {
      const only = pieces[0] as Buffer | string;
      if (typeof only === 'string') socket.write(only, 'latin1');
      else socket.write(copy ? Buffer.from(only) : only);
    } else if (this.#bytes <= TEXT_BYTES) socket.write(this.#text(), 'latin1');
    else {
      socket.cork();
      for (const piece of pieces) {
        if (typeof piece === 'string') socket.write(piece, 'latin1');
        else socket.write(copy ? Buffer.from(piece) : piece);
      }
      socket.uncork();
    }
  }

  #hold(socket: Socket): void {
    this.#held = socket;
    socket.cork();
    setImmediate(this.#release);
  }

  #text(): string {
    let text = '';
    for (const piece of this.#pieces) text += typeof piece === 'string' ? piece : piece.toString('latin1');
    return text;
  }
}
