/** One request on a connection of its own: for the check before measuring, and for the time to the first answer. */
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { createSecureContext, type SecureContext } from 'node:tls';
import { CLIENT_TLS, SERVICE_HOST } from './workload.ts';

const TIMEOUT_MS = 10_000;

export type Answer =
  | { readonly answered: true; readonly status: number; readonly body: string }
  | { readonly answered: false; readonly reason: string };

export interface Question {
  /** On 127.0.0.1. */
  readonly port: number;
  readonly path: string;
  /** null = plaintext. */
  readonly context: SecureContext | null;
}

/** Mutual TLS with this certificate; without one, TLS with none. */
export function tlsContext(root: string, own: { cert: string; key: string } | null): SecureContext {
  return createSecureContext({
    ca: readFileSync(root),
    ...(own ? { cert: readFileSync(own.cert), key: readFileSync(own.key) } : {}),
    ...CLIENT_TLS,
  });
}

/** Never rejects: a refusal is an answer too. */
export function ask({ port, path, context }: Question): Promise<Answer> {
  return new Promise(resolve => {
    const options = { host: '127.0.0.1', port, path, headers: { host: SERVICE_HOST }, agent: false };
    const tls = {
      ...options,
      secureContext: context,
      servername: SERVICE_HOST,
      checkServerIdentity: anyName,
    };
    const request = context ? tlsRequest(tls) : plainRequest(options);
    request.setTimeout(TIMEOUT_MS, () => request.destroy(new Error('no answer in 10 s')));
    request.on('error', error => resolve({ answered: false, reason: error.message }));
    request.on('response', (response: IncomingMessage) => {
      let body = '';
      response.setEncoding('latin1');
      response.on('data', chunk => {
        body += chunk;
      });
      response.on('error', error => resolve({ answered: false, reason: error.message }));
      response.on('end', () => resolve({ answered: true, status: response.statusCode ?? 0, body }));
    });
    request.end();
  });
}

/** The bench's servers are known by their SPIFFE ID, which is the measured proxies' business, not this client's. */
function anyName(): undefined {}
