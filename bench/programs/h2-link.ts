/**
 * One HTTP/2 connection of the bench's own, either side: just enough of RFC 9113 to be cheap beside what is measured.
 * It reads no header block (the app tells its jobs apart by port) and writes blocks of a few fixed fields.
 */
// Hot path: no promise or closure per frame; one write per chunk that was read.
import type { Duplex } from 'node:stream';

export type Fields = readonly (readonly [name: string, value: string])[];

export interface LinkEvents {
  /** A header block of the other side: the head, or trailers when it comes second. */
  onHeaders(link: Link, stream: number, end: boolean): void;
  /** `payload` is valid during the call. */
  onData(link: Link, stream: number, payload: Buffer, end: boolean): void;
  onFault(reason: string): void;
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const FRAME_HEAD = 9;
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8 } as const;
const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const SETTING = { tableSize: 1, maxStreams: 3, initialWindow: 4 } as const;
const DEFAULT_WINDOW = 65_535;
const DEFAULT_TABLE = 4_096; // more than the few fields here fill
const STREAM_WINDOW = 0x7fff_ffff; // a stream of the bench ends long before
const CONNECTION_WINDOW = 1 << 30;
const MAX_STREAMS = 1_000;
const FIRST_DYNAMIC = 62; // RFC 7541 2.3.3
const OUT_BYTES = 256 * 1024;

/** A frame that waits for window, or behind one that does: DATA, or a header block. */
type Blocked =
  | { readonly stream: number; readonly payload: Buffer; readonly end: boolean }
  | { readonly stream: number; readonly fields: Fields; readonly end: boolean };

/** Owns its socket. Frames are collected until `flush`, which every chunk that was read ends with. */
export class Link {
  readonly #socket: Duplex;
  readonly #events: LinkEvents;
  readonly #windows = new Map<number, number>();
  /** What the other side's decoder has in its dynamic table, newest first: `name\0value`. */
  readonly #table: string[] = [];
  #out = Buffer.allocUnsafe(OUT_BYTES);
  #used = 0;
  #pending: Buffer | null = null;
  #preface: number;
  #window = DEFAULT_WINDOW;
  #initialWindow = DEFAULT_WINDOW;
  #unacknowledged = 0;
  #blocked: Blocked[] = [];
  #closing = false;

  /** `socket` is connected; a client sends its preface at once. */
  constructor(socket: Duplex, side: 'client' | 'server', events: LinkEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#preface = side === 'server' ? PREFACE.length : 0;
    if (side === 'client') this.#used = PREFACE.copy(this.#out);
    this.#frame(TYPE.settings, 0, 0, 12);
    this.#setting(SETTING.maxStreams, MAX_STREAMS);
    this.#setting(SETTING.initialWindow, STREAM_WINDOW);
    this.#grant(CONNECTION_WINDOW);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', error => this.#fail(error.message));
    socket.on('close', () => this.#fail('the connection closed early'));
    this.flush();
  }

  /** A header block without a literal that was sent before: the first of a connection fills the table. */
  headers(stream: number, fields: Fields, end: boolean): void {
    if (this.#blocked.length > 0) {
      this.#blocked.push({ stream, fields, end });
      return;
    }
    this.#reserve(FRAME_HEAD + 1024);
    const head = this.#used;
    this.#frame(TYPE.headers, END_HEADERS | (end ? END_STREAM : 0), stream, 0);
    for (const [name, value] of fields) this.#field(name, value);
    this.#out.writeUIntBE(this.#used - head - FRAME_HEAD, head, 3);
    if (end) this.#windows.delete(stream);
  }

  /** At most 16 KiB, in one frame, at once or when the windows allow it; copied unless it has to wait. */
  data(stream: number, payload: Buffer, end: boolean): void {
    if (this.#blocked.length > 0 || !this.#fits(stream, payload.length)) {
      this.#blocked.push({ stream, payload: Buffer.from(payload), end });
      return;
    }
    this.#send(stream, payload, end);
  }

  flush(): void {
    if (this.#used === 0 || this.#closing) return;
    this.#socket.write(Buffer.from(this.#out.subarray(0, this.#used)));
    this.#used = 0;
  }

  close(): void {
    this.#closing = true;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    const bytes = this.#pending ? Buffer.concat([this.#pending, chunk]) : chunk;
    this.#pending = null;
    let at = 0;
    if (this.#preface > 0) {
      if (bytes.length < this.#preface) {
        this.#pending = bytes;
        return;
      }
      if (bytes.compare(PREFACE, 0, PREFACE.length, 0, PREFACE.length) !== 0) return this.#fail('no preface');
      at = PREFACE.length;
      this.#preface = 0;
    }
    while (!this.#closing && bytes.length - at >= FRAME_HEAD) {
      const length = bytes.readUIntBE(at, 3);
      const next = at + FRAME_HEAD + length;
      if (next > bytes.length) break;
      this.#onFrame(bytes, at, length);
      at = next;
    }
    if (at < bytes.length) this.#pending = bytes.subarray(at);
    if (this.#unacknowledged > CONNECTION_WINDOW / 2) {
      this.#grant(this.#unacknowledged);
      this.#unacknowledged = 0;
    }
    this.flush();
  }

  #onFrame(bytes: Buffer, at: number, length: number): void {
    const type = bytes[at + 3];
    const flags = bytes[at + 4] ?? 0;
    const stream = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
    const from = at + FRAME_HEAD;
    if (type === TYPE.data) this.#onData(bytes.subarray(from, from + length), flags, stream);
    else if (type === TYPE.headers) this.#events.onHeaders(this, stream, (flags & END_STREAM) !== 0);
    else if (type === TYPE.settings) this.#onSettings(bytes, from, length, flags);
    else if (type === TYPE.windowUpdate) this.#onWindow(stream, bytes.readUInt32BE(from));
    else if (type === TYPE.ping && (flags & ACK) === 0) this.#pong(bytes.subarray(from, from + length));
    else if (type === TYPE.reset) this.#fail(`RST_STREAM ${bytes.readUInt32BE(from)}`);
    else if (type === TYPE.goaway) this.#fail(`GOAWAY ${bytes.readUInt32BE(from + 4)}`);
  }

  #onData(payload: Buffer, flags: number, stream: number): void {
    this.#unacknowledged += payload.length;
    const padding = (flags & PADDED) !== 0;
    const content = padding ? payload.subarray(1, payload.length - (payload[0] ?? 0)) : payload;
    this.#events.onData(this, stream, content, (flags & END_STREAM) !== 0);
  }

  #onSettings(bytes: Buffer, from: number, length: number, flags: number): void {
    if ((flags & ACK) !== 0) return;
    for (let at = from; at < from + length; at += 6) {
      const value = bytes.readUInt32BE(at + 2);
      const setting = bytes.readUInt16BE(at);
      if (setting === SETTING.tableSize && value < DEFAULT_TABLE) this.#fail(`a header table of ${value}`);
      if (setting !== SETTING.initialWindow) continue;
      for (const [stream, window] of this.#windows) {
        this.#windows.set(stream, window + value - this.#initialWindow);
      }
      this.#initialWindow = value;
    }
    this.#reserve(FRAME_HEAD);
    this.#frame(TYPE.settings, ACK, 0, 0);
    this.#unblock();
  }

  #onWindow(stream: number, more: number): void {
    if (stream === 0) this.#window += more;
    else if (this.#windows.has(stream)) this.#windows.set(stream, this.#windowOf(stream) + more);
    this.#unblock();
  }

  #unblock(): void {
    if (this.#blocked.length === 0) return;
    const waiting = this.#blocked;
    this.#blocked = [];
    for (const frame of waiting) {
      if ('payload' in frame) this.data(frame.stream, frame.payload, frame.end);
      else this.headers(frame.stream, frame.fields, frame.end);
    }
  }

  #fits(stream: number, length: number): boolean {
    return this.#window >= length && this.#windowOf(stream) >= length;
  }

  #windowOf(stream: number): number {
    return this.#windows.get(stream) ?? this.#initialWindow;
  }

  #send(stream: number, payload: Buffer, end: boolean): void {
    this.#window -= payload.length;
    if (end) this.#windows.delete(stream);
    else this.#windows.set(stream, this.#windowOf(stream) - payload.length);
    this.#reserve(FRAME_HEAD + payload.length);
    this.#frame(TYPE.data, end ? END_STREAM : 0, stream, payload.length);
    this.#used += payload.copy(this.#out, this.#used);
  }

  #pong(payload: Buffer): void {
    this.#reserve(FRAME_HEAD + payload.length);
    this.#frame(TYPE.ping, ACK, 0, payload.length);
    this.#used += payload.copy(this.#out, this.#used);
  }

  #grant(bytes: number): void {
    this.#reserve(FRAME_HEAD + 4);
    this.#frame(TYPE.windowUpdate, 0, 0, 4);
    this.#used = this.#out.writeUInt32BE(bytes, this.#used);
  }

  #frame(type: number, flags: number, stream: number, length: number): void {
    const at = this.#out.writeUIntBE(length, this.#used, 3);
    this.#out[at] = type;
    this.#out[at + 1] = flags;
    this.#used = this.#out.writeUInt32BE(stream, at + 2);
  }

  #setting(id: number, value: number): void {
    this.#used = this.#out.writeUInt32BE(value, this.#out.writeUInt16BE(id, this.#used));
  }

  /** RFC 7541 6.1 when it was sent before, else 6.2.1 with a new name; the few names and values are short. */
  #field(name: string, value: string): void {
    const entry = `${name}\0${value}`;
    const index = this.#table.indexOf(entry);
    if (index >= 0) {
      this.#out[this.#used++] = 0x80 | (FIRST_DYNAMIC + index);
      return;
    }
    this.#table.unshift(entry);
    this.#out[this.#used++] = 0x40;
    for (const text of [name, value]) {
      this.#out[this.#used++] = text.length;
      this.#used += this.#out.write(text, this.#used, 'latin1');
    }
  }

  #reserve(bytes: number): void {
    if (this.#out.length - this.#used < bytes) this.flush();
  }

  #fail(reason: string): void {
    if (this.#closing) return;
    this.close();
    this.#events.onFault(reason);
  }
}
