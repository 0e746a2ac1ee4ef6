/** One end of an HTTP/2 connection that speaks no more than header blocks: our encoder and decoder against node:http2. */
import type { Socket } from 'node:net';
import { FieldList } from '../../src/http/field-list.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http/hpack-encoder.ts';
import { NO_LIMITS } from './hpack-blocks.ts';
import type { Sent } from './hpack-lists.ts';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const HEADERS = 1;
const SETTINGS = 4;
const GOAWAY = 7;
const CONTINUATION = 9;
const ACK = 1;
const END_STREAM = 1;
const END_HEADERS = 4;
const PADDED = 8;
const PRIORITY = 32;
const MAX_FRAME = 16_384;

export class HpackPeer {
  /** Header lists that have come and that nobody has taken yet. */
  readonly #lists: { stream: number; list: FieldList }[] = [];
  readonly #encoder = new HpackEncoder();
  readonly #decoder: HpackDecoder;
  readonly #socket: Socket;
  #waiting: PromiseWithResolvers<{ stream: number; list: FieldList }> | null = null;
  #settings: PromiseWithResolvers<void> = Promise.withResolvers();
  #read = Buffer.alloc(0);
  #block: Buffer[] = [];
  #preface: number;
  /** Bytes of header blocks, sent and received. */
  sent = 0;
  received = 0;

  /** @param tableBytes our SETTINGS_HEADER_TABLE_SIZE */
  constructor(socket: Socket, side: 'client' | 'server', tableBytes: number) {
    this.#socket = socket;
    this.#decoder = new HpackDecoder(tableBytes);
    this.#preface = side === 'server' ? PREFACE.length : 0;
    if (side === 'client') socket.write(PREFACE);
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(1, 0);
    settings.writeUInt32BE(tableBytes, 2);
    // SETTINGS_MAX_FRAME_SIZE is the default: long blocks come with CONTINUATION.
    settings.writeUInt16BE(5, 6);
    settings.writeUInt32BE(MAX_FRAME, 8);
    this.#frame(SETTINGS, 0, 0, settings);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', error => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('closed')));
  }

  /** The peer's next SETTINGS. */
  settings(): Promise<void> {
    return this.#settings.promise;
  }

  /** Sends one header list, which ends its stream. */
  send(stream: number, fields: readonly Sent[]): void {
    const encoder = this.#encoder;
    encoder.begin();
    for (const [name, value, how] of fields) encoder.field(name, value, how);
    const block = Buffer.from(encoder.buffer.subarray(0, encoder.length));
    this.sent += block.length;
    for (let at = 0; at === 0 || at < block.length; at += MAX_FRAME) {
      const last = at + MAX_FRAME >= block.length ? END_HEADERS : 0;
      const flags = at === 0 ? last | END_STREAM : last;
      this.#frame(at === 0 ? HEADERS : CONTINUATION, flags, stream, block.subarray(at, at + MAX_FRAME));
    }
  }

  /** The next header list. */
  next(): Promise<{ stream: number; list: FieldList }> {
    const first = this.#lists.shift();
    if (first !== undefined) return Promise.resolve(first);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  #frame(type: number, flags: number, stream: number, payload: Buffer): void {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    this.#socket.write(Buffer.concat([head, payload]));
  }

  #take(chunk: Buffer): void {
    this.#read = Buffer.concat([this.#read, chunk]);
    if (this.#read.length < this.#preface) return;
    this.#read = this.#read.subarray(this.#preface);
    this.#preface = 0;
    while (this.#read.length >= 9) {
      const end = 9 + this.#read.readUIntBE(0, 3);
      if (this.#read.length < end) return;
      const frame = this.#read.subarray(0, end);
      this.#read = this.#read.subarray(end);
      this.#on(frame[3] as number, frame[4] as number, frame.readUInt32BE(5), frame.subarray(9));
    }
  }

  #on(type: number, flags: number, stream: number, payload: Buffer): void {
    if (type === SETTINGS && (flags & ACK) === 0) this.#onSettings(payload);
    else if (type === GOAWAY) this.#fail(new Error(`GOAWAY ${payload.readUInt32BE(4)}`));
    else if (type === HEADERS || type === CONTINUATION) {
      const padding = flags & PADDED && type === HEADERS ? (payload[0] as number) : 0;
      const from = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0);
      this.#block.push(type === HEADERS ? payload.subarray(from, payload.length - padding) : payload);
      if ((flags & END_HEADERS) !== 0) this.#onBlock(stream, Buffer.concat(this.#block));
    }
  }

  #onSettings(payload: Buffer): void {
    for (let at = 0; at < payload.length; at += 6) {
      if (payload.readUInt16BE(at) === 1) this.#encoder.setPeerTableSize(payload.readUInt32BE(at + 2));
    }
    this.#frame(SETTINGS, ACK, 0, Buffer.alloc(0));
    this.#settings.resolve();
    this.#settings = Promise.withResolvers();
  }

  #onBlock(stream: number, block: Buffer): void {
    this.#block = [];
    this.received += block.length;
    const list = new FieldList();
    const fault = this.#decoder.decode(block, 0, block.length, list, NO_LIMITS);
    if (fault !== null) return this.#fail(new Error(fault));
    if (this.#waiting === null) this.#lists.push({ stream, list });
    else this.#waiting.resolve({ stream, list });
    this.#waiting = null;
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error);
    this.#waiting = null;
    this.#socket.destroy();
  }
}
