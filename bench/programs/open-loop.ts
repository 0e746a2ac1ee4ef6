/**
 * Load at a fixed rate, however slow the answers are: a request is due every 1/rate seconds, is sent on a connection
 * that is free, and waits for one when none is; the wait counts. Node's timers fire once a millisecond, so what is due
 * in one millisecond leaves together: the same towards every peer and towards the app itself. A child of the bench.
 */
import { createSecureContext } from 'node:tls';
import { Connection } from './connection.ts';
import { begin, clientTls, type Destination, end, Faults, job, Latencies } from './protocol.ts';

export interface OpenLoopJob extends Destination {
  /** Requests a second over all connections. */
  readonly rate: number;
  readonly connections: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

const task = await job<OpenLoopJob>();
const faults = new Faults();
const latencies = new Latencies();
const idle: Connection[] = [];
const waiting: number[] = [];
const dueAt = new Map<Connection, number>();
let measuring = false;
let count = 0;
let opened = 0;

const context = task.identity ? createSecureContext(clientTls(task.identity)) : null;
for (let i = 0; i < task.connections; i++) {
  new Connection(task.port, context, {
    onReady: connection => {
      idle.push(connection);
      if (++opened === task.connections) run();
    },
    onAnswer: (connection, status) => {
      const now = performance.now();
      if (status !== 200) faults.add(`answered ${status}`);
      if (measuring) {
        count += 1;
        latencies.add(now - (dueAt.get(connection) ?? now));
      }
      const due = waiting.shift();
      if (due === undefined) idle.push(connection);
      else send(connection, due);
    },
    onFault: reason => {
      faults.add(reason);
      if (opened < task.connections) finish(0);
    },
  });
}

function send(connection: Connection, due: number): void {
  dueAt.set(connection, due);
  connection.ask();
}

function run(): void {
  const startedAt = performance.now();
  let sent = 0;
  const ticker = setInterval(() => {
    const now = performance.now();
    for (const due = ((now - startedAt) * task.rate) / 1000; sent < due; sent++) {
      const connection = idle.shift();
      if (connection) send(connection, now);
      else waiting.push(now);
    }
  }, 1);
  setTimeout(() => {
    begin();
    measuring = true;
    const from = performance.now();
    setTimeout(() => {
      clearInterval(ticker);
      finish((performance.now() - from) / 1000);
    }, task.seconds * 1000);
  }, task.warmupSeconds * 1000);
}

function finish(seconds: number): void {
  measuring = false;
  end({ count, seconds, faults: faults.count, reason: faults.reason, ...latencies.summary() });
}
