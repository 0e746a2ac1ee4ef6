/**
 * A peer that speaks HTTP/2 frame by frame, as client or as server, over any stream: what a test says leaves as it is,
 * right or wrong, and all that comes is kept. RFC 9113.
 */
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect as connectSecure } from 'node:tls';
import {
  ACK,
  CODES,
  type Code,
  codeBytes,
  END_HEADERS,
  END_STREAM,
  type FrameType,
  frame,
  PADDED,
  PREFACE,
  PRIORITISED,
  settings,
  TYPES,
  uint32,
} from './h2-frame.ts';
import { block, type Field, HpackReader, type ReadField } from './hpack.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** A test fails by this, and not by the runner's end. */
const PATIENCE_MS = 20_000;

export interface Frame {
  /** 'UNKNOWN' is a type that RFC 9113 has not. */
  readonly type: FrameType | 'UNKNOWN';
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
  /** Of HEADERS, CONTINUATION included. */
  readonly fields: readonly ReadField[];
}

/** What a stream brought so far. */
export interface Received {
  /** Interim ones first; then the response (or the request), then trailers. */
  readonly heads: (readonly ReadField[])[];
  body: Buffer;
  ended: boolean;
  /** The code of RST_STREAM. */
  reset: Code | number | null;
}

export interface PeerOptions {
  /** SETTINGS that it begins with; null = it says nothing by itself, no preface either. */
  readonly settings?: readonly (readonly [id: number, value: number])[] | null;
  /** SETTINGS and PING are acknowledged by itself (default). */
  readonly acks?: boolean;
  /** DATA are given back to both windows at once (default). */
  readonly windows?: boolean;
}

export class H2Peer<S extends Duplex = Duplex> {
  readonly socket: S;
  /** Every frame so far; CONTINUATION is part of its HEADERS. */
  readonly frames: Frame[] = [];
  readonly streams = new Map<number, Received>();
  /** What the other side does that RFC 9113 or 7541 forbids whoever sends. */
  readonly faults: string[] = [];
  /** The other side's SETTINGS by identifier. */
  readonly peerSettings = new Map<number, number>();
  /** Null while it is open; 'end' = cleanly. */
  ended: string | null = null;
  #role: 'client' | 'server';
  #options: PeerOptions;
  #hpack = new HpackReader();
  #bytes: Buffer = Buffer.alloc(0);
  #taken = new Set<Frame>();
  #fragments: { stream: number; flags: number; parts: Buffer[] } | null = null;
  #tableSizes: number[] = [];
  #prefaceLeft: number;
  #pings = 0;
  #cutting = false;
  #behind: Buffer[] = [];
  #wake: (() => void)[] = [];

  constructor(socket: S, role: 'client' | 'server', options: PeerOptions = {}) {
    this.socket = socket;
    this.#role = role;
    this.#options = options;
    this.#prefaceLeft = role === 'server' ? PREFACE.length : 0;
    socket.on('data', (bytes: Buffer) => this.#note(() => this.#read(bytes)));
    socket.on('end', () => this.#note(() => (this.ended ??= 'end')));
    socket.on('error', error => this.#note(() => (this.ended ??= error.message)));
    socket.on('close', () => this.#note(() => (this.ended ??= 'close')));
    if (options.settings === null) return;
    if (role === 'client') socket.write(PREFACE);
    this.send(settings(...(options.settings ?? [])));
  }

  send(...frames: readonly Buffer[]): this {
    const bytes = Buffer.concat(frames);
    this.#noteTableSizes(bytes);
    if (this.#cutting) this.#behind.push(bytes);
    else if (this.socket.writable) this.socket.write(bytes);
    return this;
  }

  frame(type: FrameType | number, flags: number, stream: number, payload: Buffer | string = ''): this {
    return this.send(frame(type, flags, stream, payload));
  }

  headers(stream: number, fields: readonly Field[], flags = END_HEADERS | END_STREAM): this {
    return this.frame('HEADERS', flags, stream, block(fields));
  }

  data(stream: number, bytes: Buffer | string, flags = 0): this {
    return this.frame('DATA', flags, stream, bytes);
  }

  reset(stream: number, code: Code = 'CANCEL'): this {
    return this.frame('RST_STREAM', 0, stream, codeBytes(code));
  }

  /** Bytes in pieces of `size`, `parts` of them at most, each its own write (over TLS: a record of its own). */
  async pieces(bytes: Buffer, size: number, parts = Number.POSITIVE_INFINITY): Promise<void> {
    this.#noteTableSizes(bytes);
    this.#cutting = true; // what it says by itself meanwhile would come between the bytes of a frame
    for (let at = 0, part = 1; at < bytes.length && this.socket.writable; at += size, part++) {
      const piece = bytes.subarray(at, part === parts ? bytes.length : at + size);
      await new Promise<void>(resolve => this.socket.write(piece, () => resolve()));
      if (part === parts) break;
    }
    this.#cutting = false;
    for (const late of this.#behind.splice(0)) if (this.socket.writable) this.socket.write(late);
  }

  /** What a stream brought so far. */
  on(stream: number): Received {
    let received = this.streams.get(stream);
    if (received === undefined) {
      received = { heads: [], body: Buffer.alloc(0), ended: false, reset: null };
      this.streams.set(stream, received);
    }
    return received;
  }

  /** The status of a stream's final response; 0 while there is none. */
  status(stream: number): number {
    const heads = this.on(stream).heads.map(fields => Number(firstOf(fields, ':status')));
    return heads.find(status => status >= 200) ?? 0;
  }

  /** The next frame of this type that was not taken yet, of this stream if one is given. */
  take(type: FrameType, stream?: number): Promise<Frame> {
    return this.until(
      () => {
        const found = this.frames.find(
          one => one.type === type && (stream ?? one.stream) === one.stream && !this.#taken.has(one),
        );
        if (found !== undefined) this.#taken.add(found);
        return found;
      },
      `a frame ${type}${stream === undefined ? '' : ` of stream ${stream}`}`,
    );
  }

  /** The stream once it has ended or was reset. */
  async done(stream: number): Promise<Received> {
    const received = this.on(stream);
    await this.until(() => received.ended || received.reset !== null, `the end of stream ${stream}`);
    return received;
  }

  /** Resolves when the other side has read all that was sent before (by a PING). */
  async settled(): Promise<void> {
    const payload = Buffer.concat([uint32(0x7e570000), uint32(this.#pings++)]);
    this.frame('PING', 0, 0, payload);
    await this.until(() => this.pinged(payload), 'the acknowledgement of PING');
  }

  /** Whether a PING with this payload was acknowledged. */
  pinged(payload: Buffer): boolean {
    return this.frames.some(one => one.type === 'PING' && one.flags & ACK && one.payload.equals(payload));
  }

  /** The last GOAWAY so far. */
  get goaway(): { lastStream: number; code: Code | number; debug: string } | null {
    const found = this.frames.findLast(one => one.type === 'GOAWAY');
    if (found === undefined) return null;
    const code = found.payload.readUInt32BE(4);
    return {
      lastStream: found.payload.readUInt32BE(0) & 0x7fffffff,
      code: CODES[code] ?? code,
      debug: found.payload.toString('latin1', 8),
    };
  }

  /** Waits for the other side's end. @returns how it ended */
  closed(): Promise<string> {
    return this.until(() => this.ended, 'the end of the connection', true);
  }

  /** Waits until `reached` gives something; @throws Error when the connection ends before, or it takes too long. */
  async until<T>(
    reached: () => T | null | undefined | false,
    what = String(reached),
    evenEnded = false,
  ): Promise<T> {
    const start = performance.now();
    for (;;) {
      const found = reached();
      if (found !== null && found !== undefined && found !== false) return found;
      if (this.ended !== null && !evenEnded)
        throw new Error(`ended (${this.ended}) before ${what}: ${this.describe()}`);
      const left = PATIENCE_MS - (performance.now() - start);
      if (left <= 0) throw new Error(`${what} did not come: ${this.describe()}`);
      await this.change(left);
    }
  }

  /** Resolves at the next thing that happens, or after `ms`. */
  change(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** The last frames, for a person. */
  describe(): string {
    const goaway = this.goaway === null ? '' : ` GOAWAY ${this.goaway.code} ${this.goaway.debug}`;
    const frames = this.frames
      .slice(-8)
      .map(one => `${one.type}(${one.stream}, ${one.flags}, ${one.payload.length})`);
    return `${frames.join(' ')}${goaway} ${this.faults.join('; ')} ${this.ended ?? 'open'}`;
  }

  #note(change: () => void): void {
    change();
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Table sizes that leave here are in force when they are acknowledged. */
  #noteTableSizes(bytes: Buffer): void {
    for (let at = bytes.indexOf('PRI *') === 0 ? PREFACE.length : 0; at + 9 <= bytes.length; ) {
      const length = bytes.readUIntBE(at, 3);
      if (bytes[at + 3] === 4 && !((bytes[at + 4] ?? 0) & ACK) && at + 9 + length <= bytes.length) {
        let size = -1;
        for (let i = at + 9; i + 6 <= at + 9 + length; i += 6)
          if (bytes.readUInt16BE(i) === 1) size = bytes.readUInt32BE(i + 2);
        this.#tableSizes.push(size);
      }
      at += 9 + length;
    }
  }

  #read(bytes: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    if (this.#prefaceLeft > 0) {
      if (this.#bytes.length < PREFACE.length) return;
      if (!this.#bytes.subarray(0, PREFACE.length).equals(PREFACE)) this.faults.push('no preface');
      this.#bytes = this.#bytes.subarray(PREFACE.length);
      this.#prefaceLeft = 0;
    }
    for (;;) {
      if (this.#bytes.length < 9) return;
      const end = 9 + this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < end) return;
      const [type, flags] = [this.#bytes[3] ?? 0, this.#bytes[4] ?? 0];
      const stream = this.#bytes.readUInt32BE(5);
      const payload = this.#bytes.subarray(9, end);
      this.#bytes = this.#bytes.subarray(end);
      this.#onFrame({ type: TYPES[type] ?? 'UNKNOWN', flags, stream, payload, fields: [] });
    }
  }

  #onFrame(next: Frame): void {
    const { type, flags, stream, payload } = next;
    if (payload.length > 16_384) this.faults.push(`a frame of ${payload.length} bytes`);
    if (this.frames.length === 0 && (type !== 'SETTINGS' || flags & ACK))
      this.faults.push(`${type} before SETTINGS`);
    if (this.#fragments !== null || type === 'HEADERS') return this.#onFragment(next);
    this.frames.push(next);
    if (type === 'DATA') this.#onData(next);
    else if (type === 'RST_STREAM') {
      const code = payload.readUInt32BE(0);
      this.on(stream).reset = CODES[code] ?? code;
    } else if (type === 'SETTINGS') this.#onSettings(next);
    else if (type === 'PING' && !(flags & ACK) && this.#options.acks !== false)
      this.frame('PING', ACK, 0, payload);
    else if (type === 'CONTINUATION') this.faults.push('CONTINUATION without HEADERS');
  }

  #onSettings({ flags, payload }: Frame): void {
    if (flags & ACK) {
      const size = this.#tableSizes.shift();
      if (size === undefined) this.faults.push('an acknowledgement of no SETTINGS');
      else if (size >= 0) this.#hpack.allow(size);
      return;
    }
    for (let i = 0; i + 6 <= payload.length; i += 6)
      this.peerSettings.set(payload.readUInt16BE(i), payload.readUInt32BE(i + 2));
    if (this.#options.acks !== false) this.frame('SETTINGS', ACK, 0);
  }

  #onData({ flags, stream, payload }: Frame): void {
    const padding = flags & PADDED ? (payload[0] ?? 0) + 1 : 0;
    const received = this.on(stream);
    if (received.heads.length === 0 || received.ended)
      this.faults.push(`DATA on stream ${stream} out of place`);
    received.body = Buffer.concat([
      received.body,
      payload.subarray(flags & PADDED ? 1 : 0, payload.length - Math.max(0, padding - 1)),
    ]);
    if (flags & END_STREAM) received.ended = true;
    if (payload.length === 0 || this.#options.windows === false) return;
    this.frame('WINDOW_UPDATE', 0, 0, uint32(payload.length));
    if (!received.ended) this.frame('WINDOW_UPDATE', 0, stream, uint32(payload.length));
  }

  #onFragment({ type, flags, stream, payload }: Frame): void {
    if (this.#fragments === null) {
      const padded = flags & PADDED ? 1 : 0;
      const start = padded + (flags & PRIORITISED ? 5 : 0);
      const end = payload.length - (padded ? (payload[0] ?? 0) : 0);
      this.#fragments = { stream, flags, parts: [payload.subarray(start, end)] };
    } else if (type !== 'CONTINUATION' || stream !== this.#fragments.stream) {
      this.faults.push(`${type} in a field block`);
      return;
    } else this.#fragments.parts.push(payload);
    if (!(flags & END_HEADERS)) return;
    const { parts, flags: first } = this.#fragments;
    this.#fragments = null;
    this.#onHead(stream, first, Buffer.concat(parts));
  }

  #onHead(stream: number, flags: number, payload: Buffer): void {
    let fields: readonly ReadField[] = [];
    try {
      fields = this.#hpack.read(payload);
    } catch (error) {
      this.faults.push(`HPACK: ${(error as Error).message}`);
    }
    this.frames.push({ type: 'HEADERS', flags, stream, payload, fields });
    const received = this.on(stream);
    if (received.ended) this.faults.push(`HEADERS on stream ${stream} that has ended`);
    this.faults.push(...fieldFaults(fields, received, this.#role).map(fault => `stream ${stream}: ${fault}`));
    received.heads.push(fields);
    if (flags & END_STREAM) received.ended = true;
  }
}

/** The first value of a name; '' when there is none. */
export function firstOf(fields: readonly ReadField[], name: string): string {
  return fields.find(one => one.name === name)?.value ?? '';
}

const CONNECTION_FIELDS = ['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'];
const PSEUDO = {
  client: [':status'],
  server: [':method', ':scheme', ':authority', ':path', ':protocol'],
};

/** What RFC 9113 8.2 and 8.3 forbid whoever sends a header list. */
function fieldFaults(fields: readonly ReadField[], before: Received, role: 'client' | 'server'): string[] {
  const faults: string[] = [];
  const isTrailers = before.heads.some(
    head => role === 'server' || !firstOf(head, ':status').startsWith('1'),
  );
  let regular = false;
  const seen = new Set<string>();
  for (const { name, value } of fields) {
    if (!/^:?[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) faults.push(`the name ${JSON.stringify(name)}`);
    if (/^[ \t]|[ \t]$|[\0\r\n]/.test(value)) faults.push(`the value ${JSON.stringify(value)} of ${name}`);
    if (CONNECTION_FIELDS.includes(name) || (name === 'te' && value !== 'trailers'))
      faults.push(`${name}: ${value}`);
    if (!name.startsWith(':')) {
      regular = true;
      continue;
    }
    if (isTrailers || regular || seen.has(name) || !PSEUDO[role].includes(name))
      faults.push(`${name} out of place`);
    seen.add(name);
  }
  if (!isTrailers && role === 'client' && !seen.has(':status')) faults.push('no :status');
  if (!isTrailers && role === 'server' && !seen.has(':method')) faults.push('no :method');
  return faults;
}

/** A client on a plain connection to 127.0.0.1, its preface and SETTINGS sent. */
export async function h2Plain(t: Teardown, port: number, options: PeerOptions = {}): Promise<H2Peer<Socket>> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  await opened(socket, 'connect');
  return new H2Peer(socket, 'client', options);
}

/** The same over TLS with ALPN `h2`. */
export async function h2Secure(
  t: Teardown,
  port: number,
  secure: ConnectionOptions,
  options: PeerOptions = {},
): Promise<H2Peer<Socket>> {
  const socket = connectSecure({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    ...secure,
  });
  socket.setNoDelay(true);
  t.teardown(() => socket.destroy());
  await opened(socket, 'secureConnect');
  return new H2Peer<Socket>(socket, 'client', options);
}

/** Resolves at `event`; rejects when the socket fails or closes before. */
export function opened(socket: Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve).once('error', reject);
    socket.once('close', () => reject(new Error('closed before it was open')));
  });
}
