/** An app of plain sockets behind the loop: the test reads each request as it came and says every byte of the answer. */
import { createServer, type Socket } from 'node:net';
import { listenUntilEnd, Wire, wirePlain } from '../peers.ts';
import { type Message, readRequest, readResponse } from './strict-messages.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** One connection that the loop opened. */
export class AppConnection {
  readonly wire: Wire;

  constructor(socket: Socket) {
    socket.on('error', () => {});
    this.wire = new Wire(socket);
  }

  get socket(): Socket {
    return this.wire.socket;
  }

  /** The next request, whole. */
  request(): Promise<Message> {
    return this.#read(message => message.complete);
  }

  /** The next request as soon as its head is there; its body so far is dropped. */
  head(): Promise<Message> {
    return this.#read(() => true);
  }

  async #read(enough: (message: Message) => boolean): Promise<Message> {
    const read = await this.wire.until(bytes => {
      const found = readRequest(bytes.toString('latin1'));
      return found !== null && enough(found.message) ? found : null;
    });
    await this.wire.take(read.end);
    return read.message;
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** A response with this body and its Content-Length. */
  answer(body: string, ...lines: readonly string[]): this {
    return this.send(response(body, ...lines));
  }
}

/** A response of 200 with this body and its Content-Length. */
export function response(body: string, ...lines: readonly string[]): string {
  const fields = [`Content-Length: ${body.length}`, ...lines].map(line => `${line}\r\n`).join('');
  return `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
}

export class RawApp {
  port = 0;
  readonly connections: AppConnection[] = [];
  #taken = 0;
  #wake: (() => void)[] = [];

  accept(socket: Socket): void {
    this.connections.push(new AppConnection(socket));
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** The next connection that nobody took yet. */
  async next(): Promise<AppConnection> {
    for (;;) {
      const connection = this.connections[this.#taken];
      if (connection !== undefined) {
        this.#taken++;
        return connection;
      }
      await new Promise<void>(resolve => this.#wake.push(resolve));
    }
  }
}

/** Listens until the test ends. */
export async function startRawApp(t: Teardown): Promise<RawApp> {
  const app = new RawApp();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => app.accept(socket));
  app.port = await listenUntilEnd(t, server);
  return app;
}

/** A client of the loop that reads answers strictly. */
export class RawClient {
  readonly wire: Wire;

  constructor(wire: Wire) {
    this.wire = wire;
  }

  get socket(): Socket {
    return this.wire.socket;
  }

  send(text: string): this {
    this.socket.write(text, 'latin1');
    return this;
  }

  /** The next answer, 1xx too; `method` is that of its request. A body that only the close ends wants the close. */
  async answer(method = 'GET'): Promise<Message> {
    const read = await this.wire.until(bytes => {
      const found = readResponse(bytes.toString('latin1'), method, this.wire.ended !== null);
      return found?.message.complete === true || (found !== null && this.wire.ended !== null) ? found : null;
    });
    await this.wire.take(read.end);
    return read.message;
  }
}

/** Connects to the loop. */
export async function rawClient(t: Teardown, port: number): Promise<RawClient> {
  return new RawClient(await wirePlain(t, port));
}
