/** Load without a pause: autocannon, each connection asking again as soon as it is answered. A child of the bench. */
import autocannon from 'autocannon';
import { SERVICE_HOST } from '../workload.ts';
import { begin, clientTls, type Destination, end, Faults, job, Latencies } from './protocol.ts';

export interface ClosedLoopJob extends Destination {
  readonly path: string;
  readonly connections: number;
  /** Bytes of a POST body; 0 = GET. */
  readonly bodyBytes: number;
  readonly warmupSeconds: number;
  /** How long to measure; 0 = until `requests` are answered. */
  readonly seconds: number;
  readonly requests: number;
}

const FOREVER_SECONDS = 86_400; // autocannon is stopped by hand

const task = await job<ClosedLoopJob>();
const faults = new Faults();
const latencies = new Latencies();
let measuring = false;
let count = 0;
let startedAt = 0;

const load = autocannon({
  url: `${task.identity ? 'https' : 'http'}://127.0.0.1:${task.port}${task.path}`,
  connections: task.connections,
  duration: FOREVER_SECONDS,
  headers: { host: SERVICE_HOST },
  servername: SERVICE_HOST,
  ...(task.identity ? { tlsOptions: clientTls(task.identity) } : {}),
  ...(task.bodyBytes > 0 ? { method: 'POST', body: 'r'.repeat(task.bodyBytes) } : {}),
});
load.on('response', (_client, status, _bytes, milliseconds) => {
  if (status !== 200) faults.add(`answered ${status}`);
  if (!measuring) return;
  count += 1;
  latencies.add(milliseconds);
  if (count === task.requests) finish();
});
load.on('reqError', error => {
  faults.add(error.message);
});

setTimeout(() => {
  begin();
  startedAt = performance.now();
  measuring = true;
  if (task.seconds > 0) setTimeout(finish, task.seconds * 1000);
}, task.warmupSeconds * 1000);

function finish(): void {
  if (!measuring) return;
  measuring = false;
  const seconds = (performance.now() - startedAt) / 1000;
  end({ count, seconds, faults: faults.count, reason: faults.reason, ...latencies.summary() });
  load.stop();
}
