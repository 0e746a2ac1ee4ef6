/** A request that never became an exchange: it is told why, and its stream reset (RFC 9113 8.1.1). */
import type { FailureCode } from '../errors.ts';
import type { H2Connection } from './h2-connection.ts';
import { NO_ERROR, PROTOCOL_ERROR } from './h2-frames.ts';
import { H2Stream } from './h2-stream.ts';
import { encodeLocalHead } from './h2-write.ts';
import { localResponse } from './reply.ts';

export class H2Refusal extends H2Stream {
  #code: number = PROTOCOL_ERROR;

  constructor(connection: H2Connection, id: number, ended: boolean) {
    super(connection, id);
    this.remoteEnded = ended;
    connection.streams.add(this);
  }

  /** @param grpc as in `localResponse` */
  answer(code: FailureCode, what: string, grpc: boolean): void {
    const { encoder, output } = this.connection;
    const { text } = localResponse({ code, detail: what, grpc, bodiless: false, close: false });
    const split = text.indexOf('\r\n\r\n') + 4;
    encoder.begin();
    encodeLocalHead(encoder, text.slice(0, split));
    output.headers(this.id, encoder.buffer, encoder.length, false);
    this.#code = code === 'bad_request' ? PROTOCOL_ERROR : NO_ERROR;
    this.sendBytes(Buffer.from(text.slice(split), 'latin1'), false);
    if (this.#code === NO_ERROR) this.sendEnd('');
    else this.connection.resetStream(this, this.#code);
  }

  onSent(): void {
    if (!this.remoteEnded) this.connection.resetStream(this, this.#code);
  }

  onStalled(): void {
    this.connection.resetStream(this, this.#code);
  }

  // Nothing of it is wanted any more.
  onFields(): void {}
  onData(): void {}
  onEnd(): void {}
  onReset(): void {}
  onDrained(): void {}
  sendTrailers(): void {}
}
