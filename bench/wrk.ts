/** wrk, where it is installed: the cheaper load for plaintext (it presents no client certificate). */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './children.ts';
import type { LoadResult } from './load.ts';
import { cpuMicros, memory } from './measure.ts';
import type { ClosedLoopJob } from './programs/closed-loop.ts';
import { warmUp } from './warm-up.ts';
import { SERVICE_HOST } from './workload.ts';

const GRACE_MS = 30_000;
const MS = { us: 0.001, ms: 1, s: 1000, m: 60_000 } as const;

export interface WrkReport {
  readonly requests: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly faults: string;
}

export interface WrkOptions {
  readonly command: string;
  /** For the script that makes wrk send a body. */
  readonly folder: string;
  readonly job: ClosedLoopJob;
  readonly pids: readonly number[];
}

/** Warms up with a run or a few, measures with another. Memory is read right after it: the pool behind the peer is still open. */
export async function runWrk({ command, folder, job, pids }: WrkOptions): Promise<LoadResult> {
  const warm = async () => readReport(await wrk(command, folder, job, job.warmupSeconds)).requests;
  if (job.warmupSeconds > 0) await warmUp(warm);
  const before = cpuMicros(pids);
  const report = readReport(await wrk(command, folder, job, job.seconds));
  const used = cpuMicros(pids) - before;
  if (report.requests === 0) throw new Error('wrk: not one answer');
  if (report.faults !== '') throw new Error(`wrk: ${report.faults}`);
  return {
    count: report.requests,
    seconds: report.seconds,
    cpuMicros: used,
    p50Ms: report.p50Ms,
    p99Ms: report.p99Ms,
    memory: memory(pids),
    rssSeries: [],
  };
}

function wrk(command: string, folder: string, job: ClosedLoopJob, seconds: number): Promise<string> {
  const args = [
    '-t1',
    `-c${job.connections}`,
    `-d${Math.ceil(seconds)}s`,
    '--latency',
    '--timeout', // an answer that takes longer is a fault: a thousand handshakes come first in one of the cases
    '10s',
    '-H',
    `Host: ${SERVICE_HOST}`,
  ];
  if (job.bodyBytes > 0) {
    const script = join(mkdtempSync(join(folder, 'wrk-')), 'post.lua');
    writeFileSync(script, `wrk.method = "POST"\nwrk.body = string.rep("r", ${job.bodyBytes})\n`);
    args.push('-s', script);
  }
  return run(command, [...args, `http://127.0.0.1:${job.port}${job.path}`], seconds * 1000 + GRACE_MS);
}

/** Reads what `wrk --latency` prints. Throws when a number is missing. */
export function readReport(text: string): WrkReport {
  const total = /([\d]+) requests in ([\d.]+)(us|ms|s|m)/.exec(text);
  if (!total) throw new Error(`wrk printed no total:\n${text}`);
  const faults = [/Non-2xx or 3xx responses: \d+/, /Socket errors: .*/].flatMap(
    line => line.exec(text) ?? [],
  );
  return {
    requests: Number(total[1]),
    seconds: milliseconds(total[2], total[3]) / 1000,
    p50Ms: latency(text, 50),
    p99Ms: latency(text, 99),
    faults: faults.join('; '),
  };
}

function latency(text: string, percent: number): number {
  const found = new RegExp(`^\\s*${percent}%\\s+([\\d.]+)(us|ms|s|m)`, 'm').exec(text);
  if (!found) throw new Error(`wrk printed no ${percent}% latency:\n${text}`);
  return milliseconds(found[1], found[2]);
}

function milliseconds(number: string | undefined, unit: string | undefined): number {
  return Number(number) * MS[(unit ?? 's') as keyof typeof MS];
}
