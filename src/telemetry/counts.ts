/**
 * What one worker has counted, as plain structured-cloneable data that crosses threads, and the ledger that keeps
 * the sums from going backwards when a worker dies.
 */

/** Upper bounds of Istio's histogram buckets (milliseconds or bytes); +Inf follows the last. */
export const BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000,
  3600000,
];

/** One histogram in a Float64Array: each bucket's own count (not cumulative), +Inf's, then the sum of values. */
export const HISTOGRAM_CELLS = BUCKETS.length + 2;

/** Cells of a request series: the count, the histograms of duration, request and response bytes, and gRPC messages each way. */
export const REQUEST_CELLS = 1 + 3 * HISTOGRAM_CELLS + 2;
/** Cells of a TCP series: opened, closed, sent bytes, received bytes. */
export const TCP_CELLS = 4;

export interface SeriesCounts {
  /** Label values in the order of REQUEST_LABELS or TCP_LABELS. */
  readonly labels: readonly string[];
  readonly cells: Float64Array;
}

/** An `outrider_` counter: the family is a key of COUNTERS in metrics.ts, the labels in that family's order. */
export interface CounterCounts {
  readonly family: string;
  readonly labels: readonly string[];
  readonly value: number;
}

/** Event-loop delay since the last snapshot, in seconds. */
export interface LoopDelayReading {
  readonly mean: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface Counts {
  readonly requests: readonly SeriesCounts[];
  readonly tcp: readonly SeriesCounts[];
  readonly counters: readonly CounterCounts[];
  /** Connections open now, by direction. */
  readonly open: { readonly inbound: number; readonly outbound: number };
  /** null = this thread does not measure it. */
  readonly loopDelay: LoopDelayReading | null;
  /** The worker's number; null for what dead workers left. */
  readonly worker: number | null;
}

const SEPARATOR = '\u0000';

/** Sums series and counters by their labels. Gauges add up too; loop delay and worker are of no single worker any more. */
export function sumCounts(all: readonly Counts[]): Counts {
  const counters = new Map<string, CounterCounts>();
  for (const counts of all) {
    for (const counter of counts.counters) {
      const key = counter.family + SEPARATOR + counter.labels.join(SEPARATOR);
      const held = counters.get(key);
      counters.set(key, held === undefined ? counter : { ...held, value: held.value + counter.value });
    }
  }
  return {
    requests: sumSeries(all.map(counts => counts.requests)),
    tcp: sumSeries(all.map(counts => counts.tcp)),
    counters: [...counters.values()],
    open: {
      inbound: all.reduce((sum, counts) => sum + counts.open.inbound, 0),
      outbound: all.reduce((sum, counts) => sum + counts.open.outbound, 0),
    },
    loopDelay: null,
    worker: null,
  };
}

function sumSeries(lists: readonly (readonly SeriesCounts[])[]): SeriesCounts[] {
  const sums = new Map<string, SeriesCounts>();
  for (const list of lists) {
    for (const series of list) {
      const key = series.labels.join(SEPARATOR);
      const held = sums.get(key);
      if (held === undefined) {
        sums.set(key, { labels: series.labels, cells: Float64Array.from(series.cells) });
      } else {
        for (let i = 0; i < held.cells.length; i++) {
          held.cells[i] = (held.cells[i] ?? 0) + (series.cells[i] ?? 0);
        }
      }
    }
  }
  return [...sums.values()];
}

/**
 * The main thread's book of its workers' counts. A worker that dies leaves its last counts as a base, and one that
 * does not answer a scrape is counted as last heard, so that no counter ever goes backwards.
 */
export class CountsLedger {
  readonly #live = new Map<number, Counts>();
  #base: Counts | null = null;

  /** The newest counts of the worker with this id; ids are never used again (use the thread's own id). */
  update(id: number, counts: Counts): void {
    this.#live.set(id, counts);
  }

  /** The worker is gone: what it counted stays, what it held open does not. */
  retire(id: number): void {
    const last = this.#live.get(id);
    if (last === undefined) return;
    this.#live.delete(id);
    const sum = sumCounts(this.#base === null ? [last] : [this.#base, last]);
    this.#base = { ...sum, open: { inbound: 0, outbound: 0 } };
  }

  /** Everything to render: the base of the dead, then one for each worker heard of. */
  all(): Counts[] {
    return this.#base === null ? [...this.#live.values()] : [this.#base, ...this.#live.values()];
  }
}
