/**
 * Full mutual-TLS handshakes, one after another on a few connections at once: connect, finish the handshake, close,
 * wait until the other side has closed too, which it does only after it has judged the client's certificate. No session
 * is kept. A child of the bench.
 */
import { connect, createSecureContext } from 'node:tls';
import { SERVICE_HOST } from '../workload.ts';
import { begin, clientTls, type Destination, end, Faults, job } from './protocol.ts';

export interface HandshakesJob extends Destination {
  readonly identity: string;
  readonly concurrency: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

const task = await job<HandshakesJob>();
const faults = new Faults();
const secureContext = createSecureContext(clientTls(task.identity));
let done = 0;
let running = true;

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

function handshake(): void {
  let finished = false;
  const socket = connect({
    host: '127.0.0.1',
    port: task.port,
    servername: SERVICE_HOST,
    secureContext,
    checkServerIdentity: () => undefined,
  });
  socket.once('secureConnect', () => {
    finished = true;
    if (socket.isSessionReused()) faults.add('a session was resumed');
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
