// Hot path: no promise, closure or string per chunk.
/**
 * What one HTTP/2 connection has to say in a turn of the event loop: frames of all its streams, written one behind the
 * other into one buffer and sent at once, so that one system call and few TLS records carry them.
 */
import type { Socket } from 'node:net';
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HEADERS,
  MAX_FRAME_BYTES,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './h2-frames.ts';

const BUFFER_BYTES = 64 * 1024;
/** Free buffers that a thread keeps. */
const MAX_FREE = 64;
/** Above this many queued bytes no more DATA is written; 'drain' goes on. */
const HIGH_WATER_BYTES = 256 * 1024;
/** Above this the peer is not read any more either: what it is told, it does not take. */
const STALLED_BYTES = 1024 * 1024;
/** A peer that takes not one byte for so long is not coming back. */
const STALL_MS = 60_000;
/** Less than this is copied, rather than a whole buffer held for it. */
const SMALL_BYTES = 16 * 1024;

const free: Buffer[] = [];
let dirty: H2Output[] = [];
let spare: H2Output[] = [];

function flushAll(): void {
  const now = dirty;
  dirty = spare;
  spare = now;
  for (const output of now) output.flush();
  now.length = 0;
}

export class H2Output {
  readonly #socket: Socket;
  readonly #tls: boolean;
  #buffer: Buffer | null = null;
  #at = 0;
  #scheduled = false;
  /** Bytes that had left when it was last asked, and since when it is as many. */
  #left = 0;
  #leftAt = 0;
  /** Where the last frame that may yet end its stream begins in the buffer, and whose it is; -1 = none. */
  #last = -1;
  #lastStream = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#tls = 'encrypted' in socket;
  }

  /** More is queued than should be: DATA waits. */
  get backedUp(): boolean {
    return this.#socket.writableLength + this.#at > HIGH_WATER_BYTES;
  }

  /** To be asked now and then: bytes wait for the peer, and none of them has left for long. @param now ms, of any clock */
  takesNothing(now: number): boolean {
    const left = this.#socket.bytesWritten - this.#socket.writableLength;
    if (left === this.#left && this.backedUp) return now - this.#leftAt > STALL_MS;
    this.#left = left;
    this.#leftAt = now;
    return false;
  }

  /** More is queued than the peer should be read beside. */
  get stalled(): boolean {
    return this.#socket.writableLength + this.#at > STALLED_BYTES;
  }

  /** One header block, in as many frames as it takes. @param end nothing follows it on its stream */
  headers(stream: number, block: Buffer, length: number, end: boolean): void {
    let from = 0;
    let type = HEADERS;
    do {
      const size = Math.min(length - from, MAX_FRAME_BYTES);
      const last = from + size === length;
      const flags = (last ? END_HEADERS : 0) | (end && type === HEADERS ? END_STREAM : 0);
      const start = this.#frame(size, type, flags, stream);
      block.copy(this.#buffer as Buffer, this.#at, from, from + size);
      this.#at += size;
      // END_STREAM stands on HEADERS, never on what continues it.
      if (type === HEADERS && last && !end) this.#remember(start, stream);
      from += size;
      type = CONTINUATION;
    } while (from < length);
  }

  /** One frame of at most MAX_FRAME_BYTES. */
  data(stream: number, bytes: Buffer, from: number, to: number): void {
    const start = this.#frame(to - from, DATA, 0, stream);
    bytes.copy(this.#buffer as Buffer, this.#at, from, to);
    this.#at += to - from;
    this.#remember(start, stream);
  }

  /** The same of latin1 text. */
  dataText(stream: number, text: string): void {
    const start = this.#frame(text.length, DATA, 0, stream);
    (this.#buffer as Buffer).write(text, this.#at, 'latin1');
    this.#at += text.length;
    this.#remember(start, stream);
  }

  /** Sets END_STREAM on the last frame, where that is one of `stream`. @returns whether it was */
  endStream(stream: number): boolean {
    if (this.#last < 0 || this.#lastStream !== stream) return false;
    const buffer = this.#buffer as Buffer;
    buffer[this.#last + 4] = (buffer[this.#last + 4] as number) | END_STREAM;
    this.#last = -1;
    return true;
  }

  /** DATA without bytes that ends its stream. */
  emptyEnd(stream: number): void {
    this.#frame(0, DATA, END_STREAM, stream);
  }

  reset(stream: number, code: number): void {
    this.#frame(4, RST_STREAM, 0, stream);
    this.#uint32(code);
  }

  windowUpdate(stream: number, bytes: number): void {
    this.#frame(4, WINDOW_UPDATE, 0, stream);
    this.#uint32(bytes);
  }

  settings(values: readonly (readonly [id: number, value: number])[]): void {
    this.#frame(values.length * 6, SETTINGS, 0, 0);
    for (const [id, value] of values) {
      (this.#buffer as Buffer).writeUInt16BE(id, this.#at);
      this.#at += 2;
      this.#uint32(value);
    }
  }

  settingsAck(): void {
    this.#frame(0, SETTINGS, ACK, 0);
  }

  /** Eight bytes of `payload` from `at`. */
  ping(payload: Buffer, at: number, ack: boolean): void {
    this.#frame(8, PING, ack ? ACK : 0, 0);
    payload.copy(this.#buffer as Buffer, this.#at, at, at + 8);
    this.#at += 8;
  }

  goaway(lastStream: number, code: number, debug: string): void {
    const text = debug.slice(0, 256);
    this.#frame(8 + text.length, GOAWAY, 0, 0);
    this.#uint32(lastStream);
    this.#uint32(code);
    (this.#buffer as Buffer).write(text, this.#at, 'latin1');
    this.#at += text.length;
  }

  /** Bytes as they are: a client's preface. */
  raw(bytes: Buffer): void {
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer as Buffer, this.#at);
    this.#at += bytes.length;
  }

  /** Writes what is there; called at the end of the turn by itself. */
  flush(): void {
    this.#scheduled = false;
    this.#write();
  }

  #write(): void {
    const buffer = this.#buffer;
    if (buffer === null) return;
    const length = this.#at;
    this.#at = 0;
    this.#last = -1;
    const socket = this.#socket;
    if (length === 0 || !socket.writable) {
      this.#recycle(buffer);
      return;
    }
    const queued = socket.writableLength > 0;
    if (queued && length < SMALL_BYTES) {
      socket.write(Buffer.from(buffer.subarray(0, length)));
      this.#recycle(buffer);
      return;
    }
    socket.write(buffer.subarray(0, length));
    // TLS has encrypted what it was given; a plain socket is done with it when nothing is queued.
    if (this.#tls ? !queued : socket.writableLength === 0) this.#recycle(buffer);
    else this.#buffer = null;
  }

  #recycle(buffer: Buffer): void {
    this.#buffer = null;
    if (free.length < MAX_FREE) free.push(buffer);
  }

  #remember(start: number, stream: number): void {
    this.#last = start;
    this.#lastStream = stream;
  }

  /** Writes a frame's header. @returns where it begins */
  #frame(length: number, type: number, flags: number, stream: number): number {
    this.#reserve(FRAME_HEADER_BYTES + length);
    const buffer = this.#buffer as Buffer;
    const start = this.#at;
    buffer[start] = length >>> 16;
    buffer[start + 1] = length >>> 8;
    buffer[start + 2] = length;
    buffer[start + 3] = type;
    buffer[start + 4] = flags;
    buffer[start + 5] = stream >>> 24;
    buffer[start + 6] = stream >>> 16;
    buffer[start + 7] = stream >>> 8;
    buffer[start + 8] = stream;
    this.#at = start + FRAME_HEADER_BYTES;
    this.#last = -1;
    return start;
  }

  #uint32(value: number): void {
    const buffer = this.#buffer as Buffer;
    buffer[this.#at] = value >>> 24;
    buffer[this.#at + 1] = value >>> 16;
    buffer[this.#at + 2] = value >>> 8;
    buffer[this.#at + 3] = value;
    this.#at += 4;
  }

  #reserve(bytes: number): void {
    if (this.#buffer !== null && this.#at + bytes > BUFFER_BYTES) this.#write();
    this.#buffer ??= free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
    if (this.#scheduled) return;
    this.#scheduled = true;
    dirty.push(this);
    if (dirty.length === 1) setImmediate(flushAll);
  }
}
