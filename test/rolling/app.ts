/**
 * An app for rolling replacements, as a process: HTTP/1.1 and HTTP/2 on one port (0 = any), which it writes to standard
 * output once it listens. It answers with the body that it got, after as many milliseconds as `?ms=` says. SIGTERM ends it at once, as it does any
 * program that knows nothing of it; with `graceful` it first answers what it has begun, as a good server does.
 */
import { createServer as createHttp1, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';

const GRPC = 'application/grpc';
const IDLE_MS = 60_000;

const http1 = createHttp1({ keepAliveTimeout: IDLE_MS, noDelay: true }, async (request, response) => {
  try {
    await answer(request, response);
  } catch {
    response.destroy(); // the request broke off
  }
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await buffer(request);
  await pause(waitOf(request.url));
  response.end(body);
}

const http2 = createHttp2();
http2.on('sessionError', () => {});
http2.on('stream', (stream, { ':path': path, 'content-type': type }) => {
  stream.on('error', () => {});
  void answerStream(stream as ServerHttp2Stream, String(path), type === GRPC).catch(() => stream.close());
});

async function answerStream(stream: ServerHttp2Stream, path: string, grpc: boolean): Promise<void> {
  const body = await buffer(stream);
  await pause(waitOf(path));
  if (stream.destroyed) return;
  if (grpc) {
    stream.respond({ ':status': 200, 'content-type': GRPC }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  } else stream.respond({ ':status': 200 });
  stream.end(body);
}

function waitOf(target = '/'): number {
  return Number(new URL(target, 'http://app').searchParams.get('ms') ?? 0);
}

/** What a connection speaks is told from its first bytes. */
const server = createServer({ noDelay: true }, (socket: Socket) => {
  socket.on('error', () => {});
  socket.once('data', chunk => {
    socket.pause();
    socket.unshift(chunk);
    (chunk.toString('latin1').startsWith('PRI') ? http2 : http1).emit('connection', socket);
    process.nextTick(() => socket.resume());
  });
});

if (process.argv[3] === 'graceful') {
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0));
    http1.closeIdleConnections();
  });
}
server.listen(Number(process.argv[2]), '127.0.0.1', () =>
  console.log((server.address() as AddressInfo).port),
);
