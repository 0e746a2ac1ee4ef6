import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isAllowedHost, isCrossSite, isFromLoopback } from './guard.ts';
import type { Answer, Routes } from './routes.ts';

const MAX_BODY_BYTES = 1 << 20; // some thousand described requests for /explain
const MAX_CONNECTIONS = 64; // people, probes and scrapers; more is a leak or an attack
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 60_000; // longer than a usual scrape interval
const CLOSE_TIMEOUT_MS = 1_000;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface ListenerOptions {
  readonly address: Address;
  readonly routes: Routes;
  /** Only this machine and these hosts may ask; null = anyone. */
  readonly hosts: readonly string[] | null;
  /** A handler threw: the client got a bare 500. */
  readonly onError: (error: unknown, path: string) => void;
}

/** One small HTTP server over a table of routes. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => {
        void this.#serve(request, response);
      },
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Binds; the real port is in the answer. @throws the system's error (EADDRINUSE, EACCES …) */
  listen(): Promise<Address> {
    const { host, port } = this.#options.address;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', error => this.#options.onError(error, ''));
        const bound = this.#server.address() as AddressInfo;
        resolve({ host: bound.address, port: bound.port });
      });
    });
  }

  /** Accepts no more, ends idle connections, gives answers that are under way one second. */
  close(): Promise<void> {
    if (!this.#server.listening) return Promise.resolve();
    return new Promise(resolve => {
      const timer = setTimeout(() => this.#server.closeAllConnections(), CLOSE_TIMEOUT_MS);
      this.#server.close(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = '', query = ''] = split(request.url ?? '');
    const answer = await this.#answer(request, path, query);
    response.on('error', () => {}); // the client went away
    if (answer.afterwards !== undefined) response.once('close', answer.afterwards);
    response.writeHead(answer.status, {
      'content-type': answer.type,
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...answer.headers,
      ...(this.#server.listening ? {} : { connection: 'close' }),
    });
    response.end(answer.body);
  }

  async #answer(request: IncomingMessage, path: string, query: string): Promise<FullAnswer> {
    const { hosts, routes, onError } = this.#options;
    if (hosts !== null && !isAllowedHost(request.headers.host, hosts)) {
      return plain(403, 'host not allowed; see --admin-host\n');
    }
    const route = routes.get(path);
    if (route === undefined) return plain(404, 'not found\n');
    if (request.method !== route.method) {
      return { ...plain(405, 'method not allowed\n'), headers: { allow: route.method } };
    }
    if (route.method === 'POST' && !isFromLoopback(request)) return plain(403, 'from loopback only\n');
    if (route.method === 'POST' && isCrossSite(request)) return plain(403, 'not from another site\n');
    const read = route.method === 'POST' ? await bodyOf(request) : { body: '' };
    if (read === 'too large') return { ...plain(413, 'body too large\n'), headers: { connection: 'close' } };
    if (read === 'cut off') return plain(400, 'body cut off\n');
    try {
      return await route.handle({
        query: new URLSearchParams(query),
        body: read.body,
        headers: request.headers,
      });
    } catch (error) {
      onError(error, path);
      return plain(500, 'internal error\n');
    }
  }
}

interface FullAnswer extends Answer {
  readonly headers?: Readonly<Record<string, string>>;
}

function plain(status: number, body: string): FullAnswer {
  return { status, type: 'text/plain; charset=utf-8', body };
}

function split(target: string): [string, string] {
  const at = target.indexOf('?');
  return at === -1 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)];
}

/** The whole body as UTF-8; what is too large is left unread. */
async function bodyOf(request: IncomingMessage): Promise<{ body: string } | 'too large' | 'cut off'> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) return 'too large';
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      size += (chunk as Buffer).length;
      if (size > MAX_BODY_BYTES) return 'too large';
      chunks.push(chunk as Buffer);
    }
  } catch {
    return 'cut off'; // the client went away
  }
  return { body: Buffer.concat(chunks).toString('utf8') };
}
