/**
 * What a load program and the bench tell each other. The program gets one job, warms up, says `begin`, works, says
 * `end` and waits to be ended. The bench reads the measured process's CPU when it hears `begin` and when it hears `end`,
 * so that connecting, warming up and handshakes of kept connections are not counted.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SecureContextOptions } from 'node:tls';
import { percentile } from '../statistics.ts';
import { CLIENT_TLS } from '../workload.ts';

/** Where the load goes. */
export interface Destination {
  /** On 127.0.0.1. */
  readonly port: number;
  /** Folder of the client's identity; null = plaintext. */
  readonly identity: string | null;
}

export interface Ended {
  readonly at: 'end';
  /** Work done between `begin` and `end`: requests, handshakes, or bytes. */
  readonly count: number;
  readonly seconds: number;
  /** Anything that did not go as it should, since the program started. */
  readonly faults: number;
  /** The first fault's reason. */
  readonly reason: string;
  /** Milliseconds; NaN crosses as null where there is nothing to time. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

/** Takes the job from the parent; ends the program when the parent goes away. */
export function job<T>(): Promise<T> {
  process.on('disconnect', () => process.exit(0));
  return new Promise(resolve => process.once('message', message => resolve(message as T)));
}

export function begin(): void {
  process.send?.({ at: 'begin' });
}

export function end(result: Omit<Ended, 'at'>): void {
  process.send?.({ at: 'end', ...result });
}

/** Whether a message is the `end` of a run. */
export function isEnded(message: unknown): message is Ended {
  return typeof message === 'object' && message !== null && 'at' in message && message.at === 'end';
}

/** The client's side of mutual TLS, offering one version, cipher and group, so that every peer does the same work. */
export function clientTls(identity: string): SecureContextOptions {
  return {
    cert: readFileSync(join(identity, 'cert-chain.pem')),
    key: readFileSync(join(identity, 'key.pem')),
    ca: readFileSync(join(identity, 'root-cert.pem')),
    ...CLIENT_TLS,
  };
}

/** Times of one run: the last million are kept. */
export class Latencies {
  static readonly #KEPT = 1_000_000;
  readonly #values = new Float64Array(Latencies.#KEPT);
  #count = 0;

  add(milliseconds: number): void {
    this.#values[this.#count++ % Latencies.#KEPT] = milliseconds;
  }

  summary(): { p50Ms: number; p99Ms: number } {
    const kept = this.#values.subarray(0, Math.min(this.#count, Latencies.#KEPT));
    return { p50Ms: percentile(kept, 0.5), p99Ms: percentile(kept, 0.99) };
  }
}

/** Counts what went wrong and keeps the first reason. */
export class Faults {
  count = 0;
  reason = '';

  add(reason: string): void {
    if (this.count++ === 0) this.reason = reason;
  }
}
