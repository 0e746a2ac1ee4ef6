/** Bytes through TCP as fast as they go, towards the app or from it. A child of the bench. */
// Hot path: no promise, closure or string per chunk.
import { connect as connectPlain, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext } from 'node:tls';
import { SERVICE_HOST, SINK, SOURCE } from '../workload.ts';
import { begin, clientTls, type Destination, end, Faults, job } from './protocol.ts';

export interface BulkJob extends Destination {
  readonly direction: 'to-app' | 'from-app';
  readonly connections: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

const CHUNK = Buffer.alloc(64 * 1024, 'b');

const task = await job<BulkJob>();
const faults = new Faults();
const context = task.identity ? createSecureContext(clientTls(task.identity)) : null;
let bytes = 0;
let running = true;

for (let i = 0; i < task.connections; i++) open();
setTimeout(() => {
  begin();
  const before = bytes;
  const startedAt = performance.now();
  setTimeout(() => {
    running = false;
    const seconds = (performance.now() - startedAt) / 1000;
    end({
      count: bytes - before,
      seconds,
      faults: faults.count,
      reason: faults.reason,
      p50Ms: null,
      p99Ms: null,
    });
  }, task.seconds * 1000);
}, task.warmupSeconds * 1000);

function open(): void {
  const onread: OnReadOpts = {
    buffer: Buffer.alloc(64 * 1024),
    callback: size => {
      bytes += size;
      return true;
    },
  };
  const to = { host: '127.0.0.1', port: task.port, ...(task.direction === 'from-app' ? { onread } : {}) };
  const socket: Socket = context
    ? connectTls({
        ...to,
        servername: SERVICE_HOST,
        secureContext: context,
        checkServerIdentity: () => undefined,
      })
    : connectPlain(to);
  socket.setNoDelay(true);
  socket.on('error', error => faults.add(error.message));
  socket.on('close', () => faults.add('closed early'));
  if (task.direction === 'from-app') socket.write(SOURCE);
  else pump(socket);
}

function pump(socket: Socket): void {
  const fill = () => {
    for (let room = true; room && running && !socket.destroyed; bytes += CHUNK.length)
      room = socket.write(CHUNK);
  };
  socket.write(SINK);
  socket.on('drain', fill);
  fill();
}
