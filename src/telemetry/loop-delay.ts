import { type ELDHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import type { LoopDelayReading } from './counts.ts';

const RESOLUTION_MS = 20; // 50 wake-ups a second; a stall that hurts is longer

/** Starts measuring how late this thread's event loop runs. It does not keep the thread alive. */
export function watchLoopDelay(): ELDHistogram {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return histogram;
}

/** Seconds of delay since the last reading, which this one clears. */
export function readLoopDelay(histogram: ELDHistogram): LoopDelayReading {
  const empty = histogram.count === 0; // then Node gives NaN for the mean and 511 for any percentile
  const reading = {
    mean: empty ? 0 : seconds(histogram.mean),
    p50: empty ? 0 : seconds(histogram.percentile(50)),
    p99: empty ? 0 : seconds(histogram.percentile(99)),
    max: empty ? 0 : seconds(histogram.max),
  };
  histogram.reset();
  return reading;
}

/** Node records the whole time between two samples, so an idle loop reads as the resolution. */
function seconds(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3);
}
