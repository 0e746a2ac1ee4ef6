/**
 * gRPC streaming: calls that stay open, on each of which a message goes out as soon as the last came back, a DATA frame
 * each. Mutual TLS by itself, so no other program stands between. A child of the bench.
 */
// Hot path: no promise or closure per message.
import { connect as connectPlain } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { grpcMessage, SERVICE_HOST } from '../workload.ts';
import { type Fields, Link, type LinkEvents } from './h2-link.ts';
import { begin, clientTls, type Destination, end, Faults, job, Latencies } from './protocol.ts';

export interface MessagesJob extends Destination {
  readonly connections: number;
  /** Open calls on each connection. */
  readonly streams: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

/** What is known of one call, by connection and stream. */
interface Call {
  left: number;
  sentAt: number;
}

const MESSAGE = grpcMessage();

const task = await job<MessagesJob>();
const faults = new Faults();
const latencies = new Latencies();
const calls = new Map<Link, Map<number, Call>>();
let measuring = false;
let count = 0;
let startedAt = 0;

const REQUEST: Fields = [
  [':method', 'POST'],
  [':scheme', task.identity ? 'https' : 'http'],
  [':authority', SERVICE_HOST],
  [':path', '/bench.Echo/Stream'],
  ['te', 'trailers'],
  ['content-type', 'application/grpc'],
];

const events: LinkEvents = {
  onHeaders(_link, _stream, end) {
    if (end) faults.add('a call ended'); // also: an answer without a body, such as a denial
  },
  onData(link, stream, payload, end) {
    if (end) faults.add('a call ended');
    const call = calls.get(link)?.get(stream);
    if (!call) return;
    call.left -= payload.length;
    if (call.left < 0) faults.add('more came back than was sent');
    if (call.left > 0) return;
    const now = performance.now();
    if (measuring) {
      count += 2; // one each way
      latencies.add(now - call.sentAt);
    }
    call.sentAt = now;
    call.left = MESSAGE.length;
    link.data(stream, MESSAGE, false);
  },
  onFault(reason) {
    faults.add(reason);
    if (!measuring) finish();
  },
};

const tls = task.identity ? { ...clientTls(task.identity), ALPNProtocols: ['h2'] } : null;
for (let i = 0; i < task.connections; i++) open();

function open(): void {
  const to = { host: '127.0.0.1', port: task.port };
  const ready = () => startCalls(new Link(socket, 'client', events));
  const socket = tls
    ? connectTls({ ...to, ...tls, servername: SERVICE_HOST, checkServerIdentity: () => undefined }, ready)
    : connectPlain(to, ready);
  socket.setNoDelay(true);
  socket.on('error', error => events.onFault(error.message));
}

function startCalls(link: Link): void {
  const own = new Map<number, Call>();
  calls.set(link, own);
  for (let i = 0; i < task.streams; i++) {
    const stream = 1 + 2 * i;
    own.set(stream, { left: MESSAGE.length, sentAt: performance.now() });
    link.headers(stream, REQUEST, false);
    link.data(stream, MESSAGE, false);
  }
  link.flush();
}

setTimeout(() => {
  begin();
  startedAt = performance.now();
  measuring = true;
  setTimeout(finish, task.seconds * 1000);
}, task.warmupSeconds * 1000);

function finish(): void {
  measuring = false;
  const seconds = (performance.now() - startedAt) / 1000;
  if (count === 0) faults.add('no message came back');
  end({ count, seconds, faults: faults.count, reason: faults.reason, ...latencies.summary() });
}
