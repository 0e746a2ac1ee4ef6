/**
 * The bytes of one HTTP/2 stream as a socket: what CONNECT, WebSocket (RFC 8441) and HBONE carry goes on as a connection's.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Duct } from './exchange.ts';
import { CANCEL } from './h2-frames.ts';
import type { H2Stream } from './h2-stream.ts';

export class H2Tunnel extends Duplex {
  /** Where the connection that carries it comes from and goes to. */
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  readonly #stream: H2Stream;
  /** Waits until what was written has left. */
  #written: ((error?: Error | null) => void) | null = null;
  #ended: ((error?: Error | null) => void) | null = null;

  constructor(stream: H2Stream, carrier: Socket) {
    super({ allowHalfOpen: true, highWaterMark: 64 * 1024 });
    this.#stream = stream;
    this.remoteAddress = carrier.remoteAddress;
    this.remotePort = carrier.remotePort;
    this.localAddress = carrier.localAddress;
    this.localPort = carrier.localPort;
    // Whoever takes it over listens for what matters to them.
    this.on('error', () => {});
  }

  get duct(): Duct {
    return { socket: this as unknown as Socket, inlet: null };
  }

  /** Content came on the stream. */
  receive(bytes: Buffer): void {
    if (this.destroyed) return;
    if (!this.push(bytes)) this.#stream.holdBack();
  }

  receiveEnd(): void {
    if (!this.destroyed) this.push(null);
  }

  override _read(): void {
    this.#stream.release();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#stream.sendBytes(chunk, false);
    if (this.#stream.backedUp) this.#written = done;
    else done();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#ended = done;
    this.#stream.sendEnd('');
  }

  /** What waited on the stream has left. */
  onDrained(): void {
    const done = this.#written;
    this.#written = null;
    done?.();
  }

  /** The end has left. */
  onSent(): void {
    const done = this.#ended;
    this.#ended = null;
    done?.();
  }

  /** The stream was reset, or its connection is gone. */
  onReset(): void {
    this.destroy(new ConnectionReset());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const stream = this.#stream;
    stream.connection.resetStream(stream, CANCEL);
    this.#written?.(error);
    this.#written = null;
    this.#ended?.(error);
    this.#ended = null;
    done(error);
  }

  /** As of a socket. */
  resetAndDestroy(): this {
    return this.destroy(new ConnectionReset());
  }

  destroySoon(): void {
    this.end();
    this.once('finish', () => this.destroy());
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }
}

class ConnectionReset extends Error {
  readonly code = 'ECONNRESET';

  constructor() {
    super('stream reset');
  }
}
