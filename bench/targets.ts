/** The targets that Outrider has set itself, each on one worker, and whether a run met them. */
import { ATTACK_NAMES } from './attacks.ts';
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
  /** Outrider's median; null when it failed the case in every round, which is a target missed. */
  readonly value: number | null;
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
const H2_HOP = ['h2-in-cleartext', 'h2-in'];
const ATTACKS = ['h2-attacks', 'h2-attacks-hard'];
const BULK = ['tcp-in-to-app', 'tcp-in-from-app', 'tcp-out-to-app', 'tcp-out-from-app'];

export const TARGETS: readonly Target[] = [
  { cases: HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 0.6, of: ['envoy'] } },
  { cases: HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 1.4, of: ['nginx', 'haproxy'] } },
  { cases: H2_HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 0.35, of: ['envoy'] } },
  { cases: H2_HOP, metric: 'cpu', what: 'µs CPU a request', limit: { factor: 2, of: ['haproxy'] } },
  { cases: ['grpc-unary'], metric: 'cpu', what: 'µs CPU a call', limit: { factor: 0.4, of: ['envoy'] } },
  { cases: ['grpc-stream'], metric: 'cpu', what: 'µs CPU a message', limit: { factor: 0.4, of: ['envoy'] } },
  { cases: ['h2-pair'], metric: 'cpu', what: 'µs CPU a request', limit: { factor: 0.45, of: ['envoy'] } },
  { cases: ['h2-pair'], metric: 'cpu', what: 'µs CPU a request', limit: { factor: 1, of: ['nginx'] } },
  { cases: ['h2-pair'], metric: 'cpu', what: 'µs CPU a request', limit: { factor: 1.7, of: ['haproxy'] } },
  {
    cases: ['h2-pair-1000'],
    metric: 'value',
    what: 'mutual-TLS connections for 1,000 of apps',
    limit: { most: 8, unit: 'connections' },
  },
  ...ATTACK_NAMES.map(
    (name): Target => ({
      cases: ATTACKS,
      metric: `under ${name}`,
      what: `× p99 of another client under ${name}`,
      limit: { most: 2, unit: '× p99 without' },
    }),
  ),
  {
    cases: ATTACKS,
    metric: 'grown',
    what: 'MB more resident after every attack',
    limit: { most: 20, unit: 'MB' },
  },
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
  const value = medianOf(results, name, 'outrider', target.metric) ?? null;
  const bound = boundOf(results, target, name);
  if (!bound || (value === null && !failed(results, name))) return null;
  return { name, what: target.what, value, ...bound, met: value !== null && value <= bound.limit };
}

function failed({ cases }: Pick<Results, 'cases'>, name: string): boolean {
  const own = cases.find(one => one.name === name)?.peers.find(one => one.peer === 'outrider');
  return own !== undefined && own.failures.length > 0;
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
