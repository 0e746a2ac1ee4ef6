/** The HTTP/2 apps of the bench in cleartext, each on a port of its own: a small reply, a gRPC call, a gRPC stream. */
// Hot path: no promise or closure per frame.
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import { createServer, type Server } from 'node:net';
import { grpcMessage, SMALL_BYTES } from '../workload.ts';
import { type Fields, Link, type LinkEvents } from './h2-link.ts';

const SMALL = Buffer.alloc(SMALL_BYTES, 'o');
const SMALL_HEAD: Fields = [
  [':status', '200'],
  ['content-type', 'text/plain'],
  ['content-length', String(SMALL_BYTES)],
];
const GRPC_HEAD: Fields = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
];
const GRPC_TRAILERS: Fields = [['grpc-status', '0']];
const MESSAGE = grpcMessage();

/** Answers each request with 57 bytes when it is whole. */
export function smallApp(): Server {
  return app(answerSmall, (link, stream, _payload, end) => {
    if (end) answerSmall(link, stream, true);
  });
}

function answerSmall(link: Link, stream: number, end: boolean): void {
  if (!end) return;
  link.headers(stream, SMALL_HEAD, false);
  link.data(stream, SMALL, true);
}

/** Answers each call with one message and its status in trailers when the call is whole. */
export function unaryApp(): Server {
  return app(answerCall, (link, stream, _payload, end) => answerCall(link, stream, end));
}

function answerCall(link: Link, stream: number, end: boolean): void {
  if (!end) return;
  link.headers(stream, GRPC_HEAD, false);
  link.data(stream, MESSAGE, false);
  link.headers(stream, GRPC_TRAILERS, true);
}

/** Begins each call's answer at once and sends back every DATA frame as it came. */
export function streamApp(): Server {
  return app(
    (link, stream, end) => {
      link.headers(stream, GRPC_HEAD, false);
      if (end) link.headers(stream, GRPC_TRAILERS, true);
    },
    (link, stream, payload, end) => {
      if (payload.length > 0) link.data(stream, payload, false);
      if (end) link.headers(stream, GRPC_TRAILERS, true);
    },
  );
}

/** Shows what it was asked: the header fields as JSON, with trailers; for the check before measuring, by Node's HTTP/2. */
export function headApp(): Http2Server {
  const server = createHttp2Server();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => stream.destroy());
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.respond({ ':status': 200, 'content-type': 'application/json' }, { waitForTrailers: true });
    stream.end(JSON.stringify(headers));
  });
  server.on('sessionError', () => {});
  return server;
}

/** A connection that ends, also in mid-request, is its client's business: the load program counts it. */
function app(onHeaders: LinkEvents['onHeaders'], onData: LinkEvents['onData']): Server {
  const events: LinkEvents = { onHeaders, onData, onFault: () => {} };
  return createServer({ noDelay: true }, socket => {
    new Link(socket, 'server', events);
  });
}
