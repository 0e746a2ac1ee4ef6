/**
 * The app behind every peer: small enough that it is never what is measured. Started as a child with an IPC channel.
 * Answers on ports that it sends to its parent: HTTP/1.1 and bulk TCP, each in plaintext and behind mutual TLS, and the
 * HTTP/2 apps in cleartext.
 *
 * Argument: the folder of the app's own identity (cert-chain.pem, key.pem, root-cert.pem).
 */
// Hot path: no promise, closure or string per chunk beyond the request head.
import { readFileSync } from 'node:fs';
import type { Http2Server } from 'node:http2';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { LARGE_BYTES, SMALL_BYTES, SOURCE } from '../workload.ts';
import { headApp, smallApp, streamApp, unaryApp } from './h2-app.ts';

/** Ports on 127.0.0.1. */
export interface OriginPorts {
  readonly http: number;
  readonly https: number;
  readonly bulk: number;
  readonly bulkTls: number;
  /** HTTP/2 with small replies. */
  readonly h2: number;
  /** HTTP/2 that shows the request's header fields. */
  readonly h2Head: number;
  readonly grpcUnary: number;
  readonly grpcStream: number;
}

const SMALL = reply('200 OK', Buffer.alloc(SMALL_BYTES, 'o'));
const LARGE = reply('200 OK', Buffer.alloc(LARGE_BYTES, 'o'));
const HEAD_END = Buffer.from('\r\n\r\n');
const BULK_CHUNK = Buffer.alloc(64 * 1024, 'b');

function reply(status: string, body: Buffer): Buffer {
  const head = `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}

/** Speaks just enough HTTP/1.1 for the bench's own requests: Content-Length bodies, no chunked, no pipelined bodies. */
function serveHttp(socket: Socket): void {
  let pending: Buffer | null = null;
  let bodyLeft = 0;
  let answer = SMALL;
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    let data = pending ? Buffer.concat([pending, chunk]) : chunk;
    pending = null;
    while (data.length > 0) {
      if (bodyLeft > 0) {
        const taken = Math.min(bodyLeft, data.length);
        bodyLeft -= taken;
        data = data.subarray(taken);
        if (bodyLeft === 0) socket.write(answer);
        continue;
      }
      const end = data.indexOf(HEAD_END);
      if (end < 0) {
        pending = data;
        return;
      }
      const head = data.toString('latin1', 0, end + 2);
      data = data.subarray(end + 4);
      answer = answerFor(head);
      bodyLeft = bodyLength(head);
      if (bodyLeft === 0) socket.write(answer);
    }
  });
}

function answerFor(head: string): Buffer {
  const start = head.indexOf(' ') + 1;
  const path = head.slice(start, head.indexOf(' ', start));
  if (/^transfer-encoding:/im.test(head)) return reply('501 Not Implemented', Buffer.alloc(0));
  if (path === '/large') return LARGE;
  if (path === '/head') return reply('200 OK', Buffer.from(head, 'latin1'));
  return SMALL;
}

function bodyLength(head: string): number {
  if (!head.startsWith('P')) return 0;
  return Number(/\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1] ?? 0);
}

/** The first byte says which way the bytes go: SOURCE = from here until the peer closes; anything else = to here. */
function serveBulk(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.once('data', (first: Buffer) => {
    socket.on('data', () => {});
    socket.on('end', () => socket.end());
    if (first.toString('latin1', 0, 1) !== SOURCE) return;
    const pump = () => {
      for (let room = true; room && !socket.destroyed; ) room = socket.write(BULK_CHUNK);
    };
    socket.on('drain', pump);
    pump();
  });
}

function listen(server: Server | Http2Server): Promise<number> {
  return new Promise(resolve => {
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
}

async function main(folder: string): Promise<void> {
  const tls = {
    cert: readFileSync(join(folder, 'cert-chain.pem')),
    key: readFileSync(join(folder, 'key.pem')),
    ca: readFileSync(join(folder, 'root-cert.pem')),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    ecdhCurve: 'X25519:P-256',
    noDelay: true,
  } as const;
  const https = createTlsServer(tls, serveHttp).on('tlsClientError', () => {});
  const bulkTls = createTlsServer(tls, serveBulk).on('tlsClientError', () => {});
  const ports: OriginPorts = {
    http: await listen(createServer(serveHttp)),
    https: await listen(https),
    bulk: await listen(createServer(serveBulk)),
    bulkTls: await listen(bulkTls),
    h2: await listen(smallApp()),
    h2Head: await listen(headApp()),
    grpcUnary: await listen(unaryApp()),
    grpcStream: await listen(streamApp()),
  };
  process.send?.(ports);
  process.on('disconnect', () => process.exit(0));
}

await main(process.argv[2] ?? '');
