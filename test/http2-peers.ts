/** Both ends of a sidecar that speak HTTP/2: Node's own implementation, another one than Outrider's. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import { connect as connectPlain } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { IdentityPems } from './certificates.ts';
import { listenUntilEnd } from './peers.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

/** More than one session may have under way at a time in these tests. */
const MEMORY_MB = 1_000;

export interface Http2Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Interim responses, in order. */
  readonly interim: readonly IncomingHttpHeaders[];
}

export interface Http2Ask {
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: Buffer | string;
  readonly trailers?: Readonly<Record<string, string>>;
}

/** One HTTP/2 connection to a sidecar. */
export class Http2Client {
  readonly session: ClientHttp2Session;
  readonly authority: string;

  constructor(session: ClientHttp2Session, authority: string) {
    this.session = session;
    this.authority = authority;
    session.on('error', () => {});
  }

  /** One request; rejects when its stream is reset. */
  ask(path: string, { headers = {}, body, trailers }: Http2Ask = {}): Promise<Http2Reply> {
    return new Promise((resolve, reject) => {
      const method = body === undefined && trailers === undefined ? 'GET' : 'POST';
      const stream = this.session.request(
        { ':method': method, ':path': path, ':authority': this.authority, ...headers },
        { waitForTrailers: trailers !== undefined, endStream: method === 'GET' },
      );
      const interim: IncomingHttpHeaders[] = [];
      const chunks: Buffer[] = [];
      let head: IncomingHttpHeaders = {};
      let last: IncomingHttpHeaders = {};
      stream.on('headers', found => interim.push(found));
      stream.on('response', found => {
        head = found;
      });
      stream.on('trailers', found => {
        last = found;
      });
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', reject);
      stream.on('close', () => {
        if (stream.rstCode !== 0) reject(new Error(`reset with ${stream.rstCode}`));
        resolve({
          status: Number(head[':status'] ?? 0),
          headers: head,
          trailers: last,
          body: Buffer.concat(chunks),
          interim,
        });
      });
      stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers }));
      if (method === 'POST') stream.end(body);
    });
  }
}

/** By prior knowledge. */
export async function http2Plain(t: Teardown, port: number, authority = 'app.example'): Promise<Http2Client> {
  const session = connect(`http://${authority}`, {
    maxSessionMemory: MEMORY_MB,
    createConnection: () => plainTo(port),
  });
  t.teardown(() => session.destroy());
  return new Http2Client(session, authority);
}

/** Over mutual TLS; `ALPNProtocols` is h2 when `options` do not say otherwise. */
export async function http2Tls(
  t: Teardown,
  port: number,
  { certChainPem: cert, keyPem: key, rootPem: ca }: IdentityPems,
  options: ConnectionOptions = {},
): Promise<Http2Client> {
  const socket = connectTls({
    host: '127.0.0.1',
    port,
    cert,
    key,
    ca,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
    ...options,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve).once('error', reject);
  });
  const session = connect('https://app.example', {
    maxSessionMemory: MEMORY_MB,
    createConnection: () => socket,
  });
  t.teardown(() => session.destroy());
  return new Http2Client(session, 'app.example');
}

export interface Http2Received {
  readonly headers: readonly string[];
  readonly trailers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

export interface Http2App {
  readonly port: number;
  readonly connections: () => number;
  readonly received: readonly Http2Received[];
}

/** An HTTP/2 app by prior knowledge. `answer` gets the whole request. */
export async function startHttp2App(
  t: Teardown,
  answer: (stream: ServerHttp2Stream, received: Http2Received) => void = answerWithLength,
): Promise<Http2App> {
  let connections = 0;
  const all: Http2Received[] = [];
  const server = createServer({ maxSessionMemory: MEMORY_MB });
  server.on('session', session => {
    connections++;
    session.on('error', () => {});
  });
  server.on('stream', (stream, _headers, _flags, rawHeaders) => {
    const chunks: Buffer[] = [];
    let trailers: Record<string, unknown> = {};
    stream.on('error', () => {});
    stream.on('trailers', found => {
      trailers = found;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      const received = { headers: rawHeaders, trailers, body: Buffer.concat(chunks) };
      all.push(received);
      if (!stream.destroyed) answer(stream as ServerHttp2Stream, received);
    });
  });
  return { port: await listenUntilEnd(t, server), connections: () => connections, received: all };
}

function answerWithLength(stream: ServerHttp2Stream, { body }: Http2Received): void {
  stream.respond({ ':status': 200, 'x-length': String(body.length) });
  stream.end('ok');
}

function plainTo(port: number) {
  return connectPlain({ host: '127.0.0.1', port, noDelay: true });
}

/** A tunnel in one stream: CONNECT, or with `protocol` the one of RFC 8441. Rejects with the status when it is refused. */
export function http2Tunnel(
  client: Http2Client,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly stream: ClientHttp2Stream; readonly head: IncomingHttpHeaders }> {
  return new Promise((resolve, reject) => {
    const stream = client.session.request({ ':method': 'CONNECT', ...headers }, { endStream: false });
    stream.on('error', reject);
    stream.on('response', head => {
      if (head[':status'] === 200) resolve({ stream, head });
      else reject(new Error(String(head[':status'])));
    });
  });
}

/** The next bytes on a stream that are at least this many. */
export async function takeFrom(stream: ClientHttp2Stream, bytes: number): Promise<string> {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.length >= bytes) break;
  }
  return text;
}
