/** Both ends of a sidecar in tests: apps behind it, and clients that speak to it byte by byte. */
import { randomInt } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import {
  type AddressInfo,
  connect,
  createServer,
  type Server,
  type Socket,
  type TcpNetConnectOpts,
} from 'node:net';
import { text } from 'node:stream/consumers';
import {
  type ConnectionOptions,
  connect as connectSecure,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import type { IdentityPems } from './certificates.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** One request as the app behind the sidecar received it. */
export interface Received {
  readonly method: string;
  readonly url: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
  /** Counts from 1. */
  readonly connection: number;
}

export interface HttpApp {
  readonly port: number;
  /** Connections so far. */
  readonly connections: () => number;
}

type Answer = (received: Received, response: ServerResponse, request: IncomingMessage) => void;

/** An HTTP app that answers every request with what it received, as JSON; `answer` may answer instead. */
export async function startApp(t: Teardown, answer: Answer = answerWithRequest): Promise<HttpApp> {
  let connections = 0;
  const numbers = new WeakMap<Socket, number>();
  const server = createHttpServer({ keepAliveTimeout: 60_000, noDelay: true }, async (request, response) => {
    const received = {
      method: request.method ?? '',
      url: request.url ?? '',
      rawHeaders: request.rawHeaders,
      body: await text(request).catch(() => ''),
      connection: numbers.get(request.socket) ?? 0,
    };
    answer(received, response, request);
  });
  server.on('connection', socket => numbers.set(socket, ++connections));
  return { port: await listenUntilEnd(t, server), connections: () => connections };
}

export function answerWithRequest(received: Received, response: ServerResponse): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(received));
}

/** The values that a received request has of one header, in order. */
export function valuesOf({ rawHeaders }: Pick<Received, 'rawHeaders'>, name: string): string[] {
  return rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name);
}

export interface TcpApp {
  readonly port: number;
  readonly connections: () => number;
}

/** A TCP app; half-close is its own affair. */
export async function startTcpApp(t: Teardown, onConnection: (socket: Socket) => void): Promise<TcpApp> {
  let connections = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => {
    connections++;
    socket.on('error', () => {});
    onConnection(socket);
  });
  return { port: await listenUntilEnd(t, server), connections: () => connections };
}

export interface TlsPeer {
  readonly port: number;
  /** Finished handshakes, and every application byte that came over any of them. */
  readonly handshakes: () => number;
  readonly received: () => string;
  /** TCP connections that are open now. */
  readonly open: () => number;
  /** New handshakes present this identity. */
  present(pems: IdentityPems): void;
  /** Resolves when all connections so far are closed on both sides. */
  quiet(): Promise<void>;
}

/** A peer that speaks TLS and is no sidecar: it takes any client and says who it is told to be. */
export async function startTlsPeer(
  t: Teardown,
  pems: IdentityPems,
  onConnection: (socket: TLSSocket) => void = () => {},
  options: TlsOptions = {},
): Promise<TlsPeer> {
  let handshakes = 0;
  let received = '';
  const open = new Set<Socket>();
  const material = ({ certChainPem: cert, keyPem: key, rootPem: ca }: IdentityPems) => ({ cert, key, ca });
  const server = createTlsServer(
    { ...material(pems), requestCert: true, rejectUnauthorized: false, ...options },
    socket => {
      handshakes++;
      socket.on('error', () => {});
      socket.on('data', chunk => {
        received += chunk.toString('latin1');
      });
      onConnection(socket);
    },
  );
  server.on('tlsClientError', () => {});
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return {
    port: await listenUntilEnd(t, server),
    handshakes: () => handshakes,
    received: () => received,
    open: () => open.size,
    present: next => server.setSecureContext({ ...material(next), ...options }),
    quiet: async () => {
      await Promise.all([...open].map(socket => new Promise(resolve => socket.once('close', resolve))));
    },
  };
}

/** Listens on a free port of 127.0.0.1; everything is closed when the test ends. */
export async function listenUntilEnd(t: Teardown, server: Server): Promise<number> {
  const open = new Set<Socket>();
  server.on('connection', socket => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A port that was free a moment ago and has no listener. */
export async function deadPort(): Promise<number> {
  for (;;) {
    // Below those that the system gives to clients and to port 0 (from 32768 on): nobody else gets it meanwhile.
    const port = 20_000 + randomInt(12_000);
    const server = createServer();
    const free = await new Promise<boolean>(resolve => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise(resolve => server.close(resolve));
    return port;
  }
}

export interface Reply {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** null when absent; repeated lines joined with a comma. */
  header(name: string): string | null;
  /** The body that `answerWithRequest` sent. */
  received(): Received;
}

/** One connection and what came on it. */
export class Wire<S extends Socket = Socket> {
  readonly socket: S;
  /** Its own port, known also after it closed. */
  localPort = 0;
  /** Null while it is open; 'end' = cleanly. */
  ended: string | null = null;
  #bytes: Buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  constructor(socket: S) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) =>
      this.#note(() => (this.#bytes = Buffer.concat([this.#bytes, chunk]))),
    );
    socket.on('end', () => this.#note(() => (this.ended ??= 'end')));
    socket.on('error', error => this.#note(() => (this.ended ??= error.message)));
    socket.on('close', () => this.#note(() => (this.ended ??= 'close')));
  }

  #note(change: () => void): void {
    change();
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Waits until `reached`; @throws Error when the connection ends before. */
  async until<T>(reached: (bytes: Buffer) => T | null): Promise<T> {
    for (;;) {
      const found = reached(this.#bytes);
      if (found !== null) return found;
      if (this.ended !== null)
        throw new Error(`ended (${this.ended}) after ${JSON.stringify(this.#bytes.toString('latin1'))}`);
      await new Promise<void>(resolve => this.#wake.push(resolve));
    }
  }

  /** Resolves once written: a test that needs the other side to have read a piece waits for its effect instead. */
  send(bytes: string | Uint8Array): this {
    this.socket.write(bytes);
    return this;
  }

  /** The next response, read by its framing; `bodiless` for the answer to HEAD. */
  reply({ bodiless = false } = {}): Promise<Reply> {
    return this.until(bytes => {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return null;
      const head = bytes.toString('latin1', 0, end);
      const body = bodiless
        ? { text: '', end: end + 4 }
        : readBody(head, bytes, end + 4, this.ended !== null);
      if (body === null) return null;
      this.#bytes = this.#bytes.subarray(body.end);
      return new ReadReply(head, body.text);
    });
  }

  /** Sends one request and reads its answer. */
  ask(bytes: string | Uint8Array): Promise<Reply> {
    return this.send(bytes).reply();
  }

  /** Asks a proxy for a tunnel to `authority`; on 200 the wire is the tunnel. */
  async connect(authority: string): Promise<Reply> {
    this.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
    const accepted = await this.until(bytes =>
      bytes.length < 12 ? null : bytes.toString('latin1', 9, 10) === '2',
    );
    return this.reply({ bodiless: accepted });
  }

  /** Waits for `count` bytes and takes them. */
  take(count: number): Promise<Buffer> {
    return this.until(bytes => {
      if (bytes.length < count) return null;
      this.#bytes = bytes.subarray(count);
      return bytes.subarray(0, count);
    });
  }

  /** Waits for the other side's end. @returns what came before it and was not read */
  async rest(): Promise<string> {
    while (this.ended === null) await new Promise<void>(resolve => this.#wake.push(resolve));
    return this.#bytes.toString('latin1');
  }

  /** Waits until the socket is closed in both directions. */
  async closed(): Promise<string> {
    while (!this.socket.closed) await new Promise<void>(resolve => this.#wake.push(resolve));
    return this.#bytes.toString('latin1');
  }
}

class ReadReply implements Reply {
  readonly head: string;
  readonly body: string;

  constructor(head: string, body: string) {
    this.head = head;
    this.body = body;
  }

  get status(): number {
    return Number(this.head.split(' ', 2)[1]);
  }

  header(name: string): string | null {
    const values = this.head
      .split('\r\n')
      .slice(1)
      .flatMap(line => {
        const colon = line.indexOf(':');
        return line.slice(0, colon).toLowerCase() === name ? [line.slice(colon + 1).trim()] : [];
      });
    return values.length === 0 ? null : values.join(', ');
  }

  received(): Received {
    return JSON.parse(this.body) as Received;
  }
}

/** A body whole, or null while it is not. */
function readBody(
  head: string,
  bytes: Buffer,
  start: number,
  ended: boolean,
): { text: string; end: number } | null {
  const status = Number(head.split(' ', 2)[1]);
  const length = /^content-length:\s*(\d+)/im.exec(head)?.[1];
  if (status < 200 || status === 204 || status === 304) return { text: '', end: start };
  if (length !== undefined) {
    const end = start + Number(length);
    return bytes.length < end ? null : { text: bytes.toString('utf8', start, end), end };
  }
  if (!/^transfer-encoding:\s*chunked/im.test(head))
    return ended ? { text: bytes.toString('utf8', start), end: bytes.length } : null;
  let text = '';
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    const next = lineEnd + 2 + size + 2;
    if (bytes.length < next) return null;
    if (size === 0) return { text, end: next };
    text += bytes.toString('utf8', lineEnd + 2, lineEnd + 2 + size);
    at = next;
  }
}

/** A plain connection, to 127.0.0.1 unless `options` say otherwise. */
export async function wirePlain(
  t: Teardown,
  port: number,
  options: Partial<TcpNetConnectOpts> = {},
): Promise<Wire> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true, ...options });
  t.teardown(() => socket.destroy());
  const wire = new Wire(socket);
  await opened(socket, 'connect');
  wire.localPort = socket.localPort ?? 0;
  return wire;
}

/** What sidecars offer by ALPN before a request, and before other bytes. */
export const SIDECAR_HTTP = ['istio-http/1.1', 'istio', 'http/1.1'];
export const SIDECAR_TCP = ['istio'];

/**
 * A TLS connection that has begun; `pems` null presents no certificate, as a client that is no sidecar. The server is
 * not judged.
 */
export function dialTls(
  t: Teardown,
  port: number,
  pems: IdentityPems | null,
  options: ConnectionOptions = {},
): Wire<TLSSocket> {
  const socket = connectSecure({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    allowHalfOpen: true,
    noDelay: true,
    ...(pems && {
      cert: pems.certChainPem,
      key: pems.keyPem,
      ca: pems.rootPem,
      ALPNProtocols: SIDECAR_HTTP,
    }),
    ...options,
  } as ConnectionOptions);
  t.teardown(() => socket.destroy());
  const wire = new Wire(socket);
  socket.once('connect', () => {
    wire.localPort = socket.localPort ?? 0;
  });
  return wire;
}

/** A TLS connection whose handshake is done. */
export async function wireTls(...args: Parameters<typeof dialTls>): Promise<Wire<TLSSocket>> {
  const wire = dialTls(...args);
  await opened(wire.socket, 'secureConnect');
  return wire;
}

function opened(socket: Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve).once('error', reject);
    socket.once('close', () => reject(new Error('closed before it was open')));
  });
}

/** A GET with these header lines. */
export function get(path: string, ...lines: readonly string[]): string {
  return `GET ${path} HTTP/1.1\r\n${['host: app.example', ...lines].join('\r\n')}\r\n\r\n`;
}
