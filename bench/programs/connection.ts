/** One keep-alive HTTP/1.1 connection of the bench's own: asks, waits for the whole answer, calls back. */
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import { SERVICE_HOST } from '../workload.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const REQUEST = Buffer.from(`GET /small HTTP/1.1\r\nHost: ${SERVICE_HOST}\r\n\r\n`);

export interface ConnectionEvents {
  /** Connected, and past the handshake. */
  onReady(connection: Connection): void;
  /** A whole answer arrived. */
  onAnswer(connection: Connection, status: number): void;
  onFault(reason: string): void;
}

/** Owns its socket: its errors and an early end are told through `onFault`. */
export class Connection {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  #left = 0;
  #status = 0;
  #closing = false;
  /** performance.now() of the last ask. */
  askedAt = 0;

  /** `context` null = plaintext; never resumes a session. */
  constructor(port: number, context: SecureContext | null, events: ConnectionEvents) {
    this.#events = events;
    const ready = () => events.onReady(this);
    this.#socket = context
      ? connectTls(
          {
            host: '127.0.0.1',
            port,
            secureContext: context,
            servername: SERVICE_HOST,
            checkServerIdentity: () => undefined,
          },
          ready,
        )
      : connectPlain({ host: '127.0.0.1', port }, ready);
    this.#socket.setNoDelay(true);
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', error => this.#fail(error.message));
    this.#socket.on('close', () => this.#fail('closed early'));
  }

  /** Sends one GET; one at a time. */
  ask(): void {
    this.askedAt = performance.now();
    this.#socket.write(REQUEST);
  }

  close(): void {
    this.#closing = true;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#left === 0) {
      const end = chunk.indexOf(HEAD_END); // the answers' heads are far smaller than a segment: never cut
      const head = chunk.toString('latin1', 0, end + 2);
      this.#status = Number(head.slice(9, 12));
      this.#left = end + HEAD_END.length + Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
    }
    this.#left -= chunk.length;
    if (this.#left === 0) this.#events.onAnswer(this, this.#status);
    else if (!(this.#left > 0)) this.#fail('an answer that cannot be read');
  }

  #fail(reason: string): void {
    if (this.#closing) return;
    this.close();
    this.#events.onFault(reason);
  }
}
