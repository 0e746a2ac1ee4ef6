/** Runs one load program against running instances and gives what was done and what it cost them. */
import { type Child, end, nextMessage, startProgram } from './children.ts';
import { cpuMicros, type Memory, memory } from './measure.ts';
import type { BulkJob } from './programs/bulk.ts';
import type { ClosedLoopJob } from './programs/closed-loop.ts';
import type { HandshakesJob } from './programs/handshakes.ts';
import type { IdleJob } from './programs/idle.ts';
import type { MessagesJob } from './programs/messages.ts';
import type { OpenLoopJob } from './programs/open-loop.ts';
import { type Ended, isEnded } from './programs/protocol.ts';

const GRACE_MS = 30_000; // connecting and warming up on a busy machine
const RSS_EVERY_MS = 1_000;

/** The programs of bench/programs/ and their jobs. */
export type Load =
  | { readonly program: 'closed-loop.ts'; readonly job: ClosedLoopJob }
  | { readonly program: 'open-loop.ts'; readonly job: OpenLoopJob }
  | { readonly program: 'handshakes.ts'; readonly job: HandshakesJob }
  | { readonly program: 'messages.ts'; readonly job: MessagesJob }
  | { readonly program: 'bulk.ts'; readonly job: BulkJob }
  | { readonly program: 'idle.ts'; readonly job: IdleJob };

export interface LoadResult {
  /** Requests, handshakes or bytes. */
  readonly count: number;
  readonly seconds: number;
  /** CPU of the measured processes in that time, microseconds. */
  readonly cpuMicros: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** At the end, with the connections still open. */
  readonly memory: Memory;
  /** Resident MB once a second. */
  readonly rssSeries: readonly number[];
}

export interface LoadOptions {
  /** Processes to measure; their descendants count too. */
  readonly pids: readonly number[];
  /** The longest that the work itself may take. */
  readonly limitSeconds: number;
  /** Called with the connections still open. */
  readonly whileOpen?: () => Promise<void>;
}

/** Rejects when the program ends early, takes too long, or saw a single fault: a faulty run is no measurement. */
export async function runLoad({ program, job }: Load, options: LoadOptions): Promise<LoadResult> {
  const child = startProgram(program);
  try {
    child.process.send(job);
    const warmupMs = 'warmupSeconds' in job ? job.warmupSeconds * 1000 : 0;
    await expectBegin(child, warmupMs + GRACE_MS);
    const before = cpuMicros(options.pids);
    const { ended, rssSeries } = await watch(child, options);
    const used = cpuMicros(options.pids) - before;
    const end = memory(options.pids);
    if (ended.faults > 0) throw new Error(`${ended.faults} faults, the first: ${ended.reason}`);
    await options.whileOpen?.();
    return {
      count: ended.count,
      seconds: ended.seconds,
      cpuMicros: used,
      p50Ms: ended.p50Ms ?? Number.NaN,
      p99Ms: ended.p99Ms ?? Number.NaN,
      memory: end,
      rssSeries,
    };
  } finally {
    await end(child);
  }
}

async function expectBegin(child: Child, timeoutMs: number): Promise<void> {
  const message = await nextMessage(child, timeoutMs);
  if (isEnded(message)) throw new Error(`the load did not begin: ${message.reason}`);
}

async function watch(
  child: Child,
  { pids, limitSeconds }: LoadOptions,
): Promise<{ ended: Ended; rssSeries: number[] }> {
  const rssSeries: number[] = [];
  const timer = setInterval(() => rssSeries.push(memory(pids).rssMb), RSS_EVERY_MS);
  try {
    const message = await nextMessage(child, limitSeconds * 1000 + GRACE_MS);
    if (!isEnded(message)) throw new Error('the load program said something else than its end');
    return { ended: message, rssSeries };
  } finally {
    clearInterval(timer);
  }
}
