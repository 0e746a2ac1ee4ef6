/**
 * A client that means well: at a fixed rate, every other request on one HTTP/1.1 connection and on one HTTP/2
 * connection. A child of the bench, which asks it for the latencies of a while, as often as it likes.
 */
import { connect } from 'node:net';
import { SERVICE_HOST } from '../workload.ts';
import { Connection } from './connection.ts';
import { type Fields, Link } from './h2-link.ts';
import { job } from './protocol.ts';

export interface WitnessJob {
  /** On 127.0.0.1, in plaintext. */
  readonly port: number;
}

export interface WitnessOrder {
  /** Requests a second. */
  readonly rate: number;
  readonly seconds: number;
}

export interface WitnessReport {
  /** Of each request, ms, from when it was due; none is left out, however long it took. */
  readonly latencies: readonly number[];
  /** The first; '' = none. */
  readonly fault: string;
}

const REQUEST: Fields = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', SERVICE_HOST],
  [':path', '/small'],
];

/** Fewer than a server allows: what is due when so many are open waits, and its wait counts. */
const MAX_OPEN = 100;

const task = await job<WitnessJob>();
const sentAt = new Map<number, number>();
/** Requests that found no room, by when they were due. */
const waiting: number[] = [];
const waitingOnH2: number[] = [];
let latencies: number[] = [];
let fault = '';
let ticker: NodeJS.Timeout | null = null;
let dueOnH1 = 0;
let busy = false;
let open = 0;
let stream = 1;
let ready = 0;

const h1 = new Connection(task.port, null, {
  onReady: begin,
  onAnswer: (_connection, status) => {
    if (status !== 200) fail(`answered ${status}`);
    answered(dueOnH1);
    busy = false;
    const due = waiting.shift();
    if (due !== undefined) askH1(due);
  },
  onFault: fail,
});
const socket = connect({ host: '127.0.0.1', port: task.port, noDelay: true }, begin);
const h2 = new Link(socket, 'client', {
  onHeaders: (_link, id, end) => end && onH2End(id),
  onData: (_link, id, _payload, end) => end && onH2End(id),
  onFault: fail,
});

function begin(): void {
  if (++ready === 2) process.send?.({ at: 'ready' });
}

function fail(reason: string): void {
  fault ||= reason;
  report(); // what is under way may never be answered
}

function onH2End(id: number): void {
  answered(sentAt.get(id) ?? Number.NaN);
  sentAt.delete(id);
  const due = waitingOnH2.shift();
  if (due !== undefined) askH2(due);
}

function answered(due: number): void {
  latencies.push(performance.now() - due);
  open--;
  if (open === 0 && ticker === null) report();
}

function askH1(due: number): void {
  busy = true;
  dueOnH1 = due;
  h1.ask();
}

function askH2(due: number): void {
  sentAt.set(stream, due);
  h2.headers(stream, REQUEST, true);
  h2.flush();
  stream += 2;
}

function ask(onH2: boolean): void {
  const now = performance.now();
  open++;
  if (onH2) {
    if (sentAt.size < MAX_OPEN) askH2(now);
    else waitingOnH2.push(now);
  } else if (busy) waiting.push(now);
  else askH1(now);
}

function report(): void {
  process.send?.({ latencies, fault } satisfies WitnessReport);
  latencies = [];
}

process.on('message', ({ rate, seconds }: WitnessOrder) => {
  const startedAt = performance.now();
  const total = Math.round(rate * seconds);
  let sent = 0;
  ticker = setInterval(() => {
    const due = Math.min(total, ((performance.now() - startedAt) * rate) / 1000);
    for (; sent < due; sent++) ask(sent % 2 === 1);
    if (sent < total) return;
    clearInterval(ticker ?? undefined);
    ticker = null;
    if (open === 0) report();
  }, 1);
});
