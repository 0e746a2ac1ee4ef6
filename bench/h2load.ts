/** h2load, of nghttp2: the load for HTTP/2. It presents no client certificate: for mutual TLS a front stands before the peer. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './children.ts';
import type { LoadResult } from './load.ts';
import { cpuMicros, memory } from './measure.ts';
import { onPath } from './peers/peer.ts';
import { percentile } from './statistics.ts';
import { warmUp } from './warm-up.ts';
import { H2_CONNECTIONS, H2_STREAMS, SERVICE_HOST } from './workload.ts';

const GRACE_MS = 20_000;
const PER_SECOND = { us: 1e6, ms: 1e3, s: 1, m: 1 / 60 } as const;

/** The program, null where it is not installed. */
export interface H2load {
  readonly command: string;
  readonly version: string;
}

export interface H2loadJob {
  /** On 127.0.0.1, cleartext. */
  readonly port: number;
  readonly path: string;
  /** Body of a POST; null = GET. */
  readonly body: Buffer | null;
  /** Header fields, `name: value`. */
  readonly fields: readonly string[];
  readonly warmupSeconds: number;
  readonly seconds: number;
}

export interface H2loadReport {
  /** Answered with 2xx. */
  readonly requests: number;
  readonly seconds: number;
  /** '' = all went well. */
  readonly faults: string;
}

/** Finds h2load; null when it is not installed. */
export function findH2load(): H2load | null {
  const command = onPath('h2load');
  if (!command) return null;
  const text = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout;
  return { command, version: /nghttp2\/(\S+)/.exec(text)?.[1] ?? '?' };
}

/**
 * Warms up with a run or a few, measures with another, of which connecting is a part (8 connections in seconds). Rejects when
 * one request was not answered with 2xx.
 */
export async function runH2load(
  { command }: H2load,
  job: H2loadJob,
  { folder, pids }: { folder: string; pids: readonly number[] },
): Promise<LoadResult> {
  const own = mkdtempSync(join(folder, 'h2load-'));
  const log = join(own, 'log');
  const load = (seconds: number, more: readonly string[]) =>
    run(command, [...argsOf(job, own, seconds), ...more, urlOf(job)], seconds * 1000 + GRACE_MS);
  if (job.body) writeFileSync(bodyFile(own), job.body);
  if (job.warmupSeconds > 0) await warmUp(async () => readH2load(await load(job.warmupSeconds, [])).requests);
  const before = cpuMicros(pids);
  const text = await load(job.seconds, [`--log-file=${log}`]);
  const used = cpuMicros(pids) - before;
  const report = readH2load(text);
  if (report.faults !== '') throw new Error(`h2load: ${report.faults}`);
  return {
    count: report.requests,
    seconds: report.seconds,
    cpuMicros: used,
    ...readLatencies(readFileSync(log, 'latin1')),
    memory: memory(pids),
    rssSeries: [],
  };
}

function argsOf({ body, fields }: H2loadJob, folder: string, seconds: number): string[] {
  return [
    `--clients=${H2_CONNECTIONS}`,
    `--max-concurrent-streams=${H2_STREAMS}`,
    '--threads=1',
    `--duration=${Math.ceil(seconds)}`,
    ...(body ? [`--data=${bodyFile(folder)}`] : []),
    ...[`:authority: ${SERVICE_HOST}`, ...fields].map(field => `--header=${field}`),
  ];
}

function bodyFile(folder: string): string {
  return join(folder, 'body');
}

function urlOf({ port, path }: H2loadJob): string {
  return `http://127.0.0.1:${port}${path}`;
}

/** Reads what h2load prints. Throws when a number is missing or nothing was answered. */
export function readH2load(text: string): H2loadReport {
  const finished = /^finished in ([\d.]+)(us|ms|s|m)?/m.exec(text);
  const requests = /^requests: .*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/m.exec(text);
  const statuses = /^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/m.exec(text);
  if (!finished || !requests || !statuses) throw new Error(`h2load printed no total:\n${text}`);
  const answered = Number(statuses[1]);
  if (answered === 0) throw new Error(`h2load was not answered: ${requests[0]}; ${statuses[0]}`);
  const well = [...requests.slice(2), ...statuses.slice(2)].every(number => Number(number) === 0);
  return {
    requests: answered,
    seconds: Number(finished[1]) / PER_SECOND[(finished[2] ?? 's') as keyof typeof PER_SECOND],
    faults: well ? '' : `${requests[0]}; ${statuses[0]}`,
  };
}

/** Reads h2load's log, a line a request: when it began, its status, its microseconds. */
export function readLatencies(log: string): { p50Ms: number; p99Ms: number } {
  const lines = log.split('\n').filter(line => line !== '');
  const times = Float64Array.from(lines, line => Number(line.slice(line.lastIndexOf('\t') + 1)) / 1000);
  return { p50Ms: percentile(times, 0.5), p99Ms: percentile(times, 0.99) };
}
