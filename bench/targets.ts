/** The targets that Outrider has set itself, each on one worker, and whether a run met them. */
import type { Metric } from './cases/case.ts';
import type { PeerName } from './peers/peer.ts';
import { medianOf, type Results } from './results.ts';

interface Target {
  readonly cases: readonly string[];
  readonly metric: Metric;
  readonly what: string;
  /** At most `factor` times the least of these peers, or at most `most`. */
  readonly limit:
    | { readonly factor: number; readonly of: readonly PeerName[] }
    | { readonly most: number; readonly unit: string };
}

export interface Verdict {
  readonly name: string;
  readonly what: string;
  /** Outrider's median. */
  readonly value: number;
  readonly limit: number;
  /** How the limit came about: `0.6 × envoy 58.1`. */
  readonly reason: string;
  readonly met: boolean;
}

const HOP = [
  'h1-in',
  'h1-in-16k-reply',
  'h1-in-16k-request',
  'h1-out',
  'h1-out-16k-reply',
  'h1-out-16k-request',
];
const BULK = ['tcp-in-to-app', 'tcp-in-from-app', 'tcp-out-to-app', 'tcp-out-from-app'];

export const TARGETS: readonly Target[] = [
  { cases: HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 0.6, of: ['envoy'] } },
  { cases: HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 1.4, of: ['nginx', 'haproxy'] } },
  { cases: ['h1-rate'], metric: 'addedP50', what: 'ms added p50', limit: { factor: 1, of: ['envoy'] } },
  { cases: ['h1-rate'], metric: 'addedP99', what: 'ms added p99', limit: { factor: 1, of: ['envoy'] } },
  { cases: BULK, metric: 'cpu', what: 's CPU a GB', limit: { factor: 0.9, of: ['haproxy'] } },
  { cases: BULK, metric: 'cpu', what: 's CPU a GB', limit: { factor: 1.3, of: ['envoy'] } },
  {
    cases: ['handshakes'],
    metric: 'cpu',
    what: 'µs CPU a handshake',
    limit: { factor: 1, of: ['nginx', 'haproxy'] },
  },
  { cases: ['idle'], metric: 'value', what: 'KB a connection', limit: { most: 60, unit: 'KB' } },
  { cases: ['start'], metric: 'value', what: 'ms to the first answer', limit: { most: 150, unit: 'ms' } },
  {
    cases: ['h1-in', 'h1-out'],
    metric: 'rss',
    what: 'MB resident under load',
    limit: { most: 100, unit: 'MB' },
  },
  {
    cases: ['rss-flat'],
    metric: 'value',
    what: '% growth of resident memory',
    limit: { most: 5, unit: '%' },
  },
];

/** One verdict for each target and case of which Outrider and the peers that it is held against were measured. */
export function judge(results: Pick<Results, 'cases'>): Verdict[] {
  return TARGETS.flatMap(target => target.cases.flatMap(name => judgeOne(results, target, name) ?? []));
}

function judgeOne(results: Pick<Results, 'cases'>, target: Target, name: string): Verdict | null {
  const value = medianOf(results, name, 'outrider', target.metric);
  const bound = boundOf(results, target, name);
  if (value === undefined || !bound) return null;
  return { name, what: target.what, value, ...bound, met: value <= bound.limit };
}

function boundOf(
  results: Pick<Results, 'cases'>,
  { limit, metric }: Target,
  name: string,
): Pick<Verdict, 'limit' | 'reason'> | null {
  if ('most' in limit) return { limit: limit.most, reason: `${limit.most} ${limit.unit}` };
  const measured = limit.of.flatMap(peer => {
    const value = medianOf(results, name, peer, metric);
    return value === undefined ? [] : [{ peer, value }];
  });
  const [least] = measured.sort((a, b) => a.value - b.value);
  if (!least) return null;
  const peer = `${least.peer} ${Number(least.value.toPrecision(4))}`;
  return { limit: limit.factor * least.value, reason: `${limit.factor} × ${peer}` };
}
