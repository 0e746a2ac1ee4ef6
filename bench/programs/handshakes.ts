/**
 * Mutual-TLS handshakes, one after another on a few connections at once: connect, finish the handshake, close, wait until
 * the other side has closed too, which it does only after it has judged the client's certificate. All of them whole, or
 * all resumed from the session of a first one. A child of the bench.
 */
import { connect, createSecureContext, type TLSSocket } from 'node:tls';
import { SERVICE_HOST } from '../workload.ts';
import { begin, clientTls, type Destination, end, Faults, job } from './protocol.ts';

export interface HandshakesJob extends Destination {
  readonly identity: string;
  readonly concurrency: number;
  /** Every one resumes; otherwise none does. */
  readonly resumed: boolean;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

const task = await job<HandshakesJob>();
const faults = new Faults();
const secureContext = createSecureContext(clientTls(task.identity));
let done = 0;
let running = true;
const session = task.resumed ? await firstSession() : null;

for (let i = 0; i < task.concurrency; i++) handshake();
setTimeout(() => {
  begin();
  const before = done;
  const startedAt = performance.now();
  setTimeout(() => {
    running = false;
    const seconds = (performance.now() - startedAt) / 1000;
    end({
      count: done - before,
      seconds,
      faults: faults.count,
      reason: faults.reason,
      p50Ms: null,
      p99Ms: null,
    });
  }, task.seconds * 1000);
}, task.warmupSeconds * 1000);

/** Of a whole handshake, which the server ends with a ticket. */
function firstSession(): Promise<Buffer> {
  const socket = open(null);
  return new Promise((resolve, reject) => {
    socket.once('session', given => {
      resolve(given);
      socket.destroy();
    });
    socket.once('error', reject);
    socket.resume();
  });
}

function open(session: Buffer | null): TLSSocket {
  return connect({
    host: '127.0.0.1',
    port: task.port,
    servername: SERVICE_HOST,
    secureContext,
    checkServerIdentity: () => undefined,
    ...(session !== null && { session }),
  });
}

function handshake(): void {
  let finished = false;
  const socket = open(session);
  socket.once('secureConnect', () => {
    finished = true;
    if (socket.isSessionReused() !== task.resumed)
      faults.add(task.resumed ? 'a session was not resumed' : 'a session was resumed');
    socket.end();
  });
  socket.on('data', () => faults.add('bytes that nobody asked for'));
  socket.on('error', error => faults.add(error.message));
  socket.once('close', () => {
    if (finished) done += 1;
    else faults.add('closed before the handshake was done');
    if (running) handshake();
  });
}
