/** The mutating admission webhook over HTTPS: POST /inject, and its health. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { log } from '../telemetry/log.ts';
import { answerReview, type ReviewOutcome } from './admission.ts';
import type { InjectSettings } from './pod.ts';
import {
  readWebhookCertificate,
  type WebhookCertificate,
  WebhookCertificates,
} from './webhook-certificate.ts';

export interface WebhookOptions {
  readonly listen: { readonly host: string; readonly port: number };
  /** The folder of the certificate. */
  readonly certs: string;
  readonly settings: InjectSettings;
}

export interface Webhook {
  readonly address: { readonly host: string; readonly port: number };
  /** Unix ms, of the certificate in force. */
  readonly notAfter: number;
  /** Reviews go on being answered for `graceMs`, on connections that end with the answer; then it is closed. */
  close(graceMs: number): Promise<void>;
}

const MAX_BODY_BYTES = 8 * 1024 * 1024; // the API server takes objects of 3 MiB, and a review may hold two
const MAX_CONNECTIONS = 256;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000; // the API server's own for a webhook
const KEEP_ALIVE_MS = 90_000; // the API server closes idle connections after as long
const HANDSHAKE_TIMEOUT_MS = 5_000;
const LAST_ANSWERS_MS = 1_000;
const TLS = { minVersion: 'TLSv1.2' } as const;

/** Starts it. @throws Error when the certificate cannot be used or the port cannot be bound */
export async function startWebhook(options: WebhookOptions): Promise<Webhook> {
  const first = readWebhookCertificate(options.certs);
  const server = new WebhookServer(options, first);
  await server.listen();
  return server;
}

class WebhookServer implements Webhook {
  readonly #options: WebhookOptions;
  readonly #server: Server;
  readonly #certificates: WebhookCertificates;
  #closing = false;

  constructor(options: WebhookOptions, first: WebhookCertificate) {
    this.#options = options;
    this.#server = createServer(
      {
        ...secure(first),
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        connectionsCheckingInterval: 1_000,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('tlsClientError', (error, socket) => {
      log.debug('no TLS', { peer: socket.remoteAddress, reason: error.message });
    });
    this.#certificates = new WebhookCertificates(options.certs, first, {
      onChange: certificate => {
        this.#server.setSecureContext(secure(certificate));
        log.info('certificate replaced', { notAfter: new Date(certificate.notAfter).toISOString() });
      },
      onFault: reason => log.warn('certificate refused, the last good one stays in force', { reason }),
    });
  }

  listen(): Promise<void> {
    const { host, port } = this.#options.listen;
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => {
        this.#certificates.close();
        reject(new Error(`cannot listen on ${host}:${port}: ${error.code ?? error.message}`));
      };
      this.#server.once('error', failed);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', failed);
        this.#server.on('error', error => log.error('listener fault', { reason: error.message }));
        resolve();
      });
    });
  }

  get address(): { host: string; port: number } {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  get notAfter(): number {
    return this.#certificates.current.notAfter;
  }

  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    // The API server learns with some delay that this endpoint is gone.
    await new Promise(resolve => setTimeout(resolve, graceMs));
    this.#certificates.close();
    await new Promise<void>(resolve => {
      const late = setTimeout(() => this.#server.closeAllConnections(), LAST_ANSWERS_MS);
      this.#server.close(() => {
        clearTimeout(late);
        resolve();
      });
      this.#server.closeIdleConnections();
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}); // the API server went away
    const answer = await this.#answer(request);
    response.writeHead(answer.status, {
      'content-type': answer.type ?? 'text/plain; charset=utf-8',
      'content-length': Buffer.byteLength(answer.body),
      'cache-control': 'no-store',
      ...(answer.allow && { allow: answer.allow }),
      ...((this.#closing || answer.status >= 400) && { connection: 'close' }),
    });
    response.end(answer.body);
  }

  async #answer(request: IncomingMessage): Promise<HttpAnswer> {
    const [path = ''] = (request.url ?? '').split('?', 1); // the API server adds ?timeout=10s
    if (path === '/healthz/live' || path === '/healthz/ready') return this.#health(request, path);
    if (path !== '/inject') return { status: 404, body: 'not found\n' };
    if (request.method !== 'POST') return { status: 405, body: 'method not allowed\n', allow: 'POST' };
    if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) {
      return { status: 415, body: 'content-type must be application/json\n' };
    }
    const body = await bodyOf(request);
    if (body === null) {
      await drain(request);
      return { status: 413, body: `more than ${MAX_BODY_BYTES} bytes\n` };
    }
    return this.#review(body);
  }

  #health({ method }: IncomingMessage, path: string): HttpAnswer {
    if (method !== 'GET') return { status: 405, body: 'method not allowed\n', allow: 'GET' };
    if (path === '/healthz/live') return { status: 200, body: 'LIVE\n' };
    if (this.#closing) return { status: 503, body: 'draining\n' };
    if (this.notAfter > Date.now()) return { status: 200, body: 'LIVE\n' };
    return { status: 503, body: `certificate expired ${new Date(this.notAfter).toISOString()}\n` };
  }

  #review(body: string): HttpAnswer {
    try {
      const reviewed = answerReview(body, this.#options.settings);
      if (!reviewed.ok) return { status: 400, body: `${reviewed.why}\n` };
      tell(reviewed.outcome);
      return { status: 200, type: 'application/json', body: `${JSON.stringify(reviewed.review)}\n` };
    } catch (error) {
      log.error('a review failed', { reason: String(error) });
      return { status: 500, body: 'internal error\n' };
    }
  }
}

interface HttpAnswer {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
  readonly allow?: string;
}

function secure({ certPem, keyPem }: WebhookCertificate): {
  cert: string;
  key: string;
  minVersion: 'TLSv1.2';
} {
  return { ...TLS, cert: certPem, key: keyPem };
}

function tell({ what, owner, why, warnings, dryRun }: ReviewOutcome): void {
  if (owner === null) return;
  const fields = {
    kind: owner.kind,
    namespace: owner.namespace,
    name: owner.name,
    ...(why !== null && { why }),
    ...(warnings.length > 0 && { warnings }),
    ...(dryRun && { dryRun }),
  };
  if (what === 'refused') log.warn('pod refused', fields);
  else log.info(what === 'injected' ? 'pod injected' : 'pod left as it is', fields);
}

/** Reads on for a while: an answer before the end of what is sent is lost with the connection. */
async function drain(request: IncomingMessage): Promise<void> {
  let left = 2 * MAX_BODY_BYTES;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      left -= (chunk as Buffer).length;
      if (left < 0) return;
    }
  } catch {
    // the API server went away
  }
}

/** Null when it is too long; what is cut off is as long as it came, and no review. */
async function bodyOf(request: IncomingMessage): Promise<string | null> {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) return null;
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      bytes += (chunk as Buffer).length;
      if (bytes > MAX_BODY_BYTES) return null;
      chunks.push(chunk as Buffer);
    }
  } catch {
    // the API server went away
  }
  return Buffer.concat(chunks).toString('utf8');
}
