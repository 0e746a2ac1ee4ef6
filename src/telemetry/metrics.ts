import { BUCKETS, type Counts, HISTOGRAM_CELLS, type SeriesCounts, sumCounts } from './counts.ts';
import { CONNECTION_LABELS, REQUEST_LABELS, REQUEST_PROTOCOL, TCP_LABELS } from './labels.ts';
import { COUNTERS, ISTIO_HELP } from './metric-families.ts';
import {
  CLOSED,
  DURATION,
  OPENED,
  RECEIVED,
  REQUEST_BYTES,
  REQUEST_MESSAGES,
  RESPONSE_BYTES,
  RESPONSE_MESSAGES,
  SENT,
} from './series.ts';

/** What the main thread knows besides the workers' counts. */
export interface MetricsInput {
  /** CountsLedger.all(). */
  readonly counts: readonly Counts[];
  readonly process: {
    readonly version: string;
    /** Unix milliseconds. */
    readonly startedAt: number;
    readonly workers: number;
    readonly workerRestarts: number;
  };
  /** null until one is loaded. */
  readonly identity: {
    readonly id: string;
    /** Unix milliseconds. */
    readonly notBefore: number;
    readonly notAfter: number;
    readonly generation: number;
    /** The own certificate, then its intermediates. */
    readonly chain: readonly DatedCertificate[];
    readonly roots: readonly DatedCertificate[];
  } | null;
  readonly certificates: {
    readonly reloads: number;
    /** By stable reason. */
    readonly failures: Readonly<Record<string, number>>;
  };
  readonly config: {
    readonly reloads: number;
    readonly failures: number;
    readonly lastReloadSuccessful: boolean;
    readonly generation: number;
  };
}

/** Dates in Unix milliseconds. */
export interface DatedCertificate {
  readonly subject: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** One metric in prom-client's JSON form; sharedLabels are escaped once for all the values that share them. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly values: MetricValue[];
}

interface MetricValue {
  readonly value: number;
  readonly labels?: Record<string, string>;
  readonly sharedLabels?: Record<string, string>;
  readonly metricName?: string;
}

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * The page of a scrape, in Prometheus text. Counts are summed here and formatted by prom-client, which is loaded on
 * the first scrape (31 ms). Its own AggregatorRegistry.aggregate hashes the 25 labels of each of a series' 64 lines:
 * 1,000 series of two workers take 0.3 s here and took 1.5 s there, on the thread that answers probes.
 */
export async function renderMetrics(input: MetricsInput): Promise<string> {
  const { default: prometheus } = await import('prom-client');
  const registry = new prometheus.Registry();
  for (const metric of collect(input)) {
    if (metric.values.length > 0) register(registry, metric);
  }
  return registry.metrics();
}

/** A registry takes anything with get(), which its types do not say. */
function register(registry: { registerMetric(metric: never): void }, metric: Metric): void {
  registry.registerMetric({ ...metric, get: () => metric } as unknown as never);
}

function collect(input: MetricsInput): Metric[] {
  const sum = sumCounts(input.counts);
  return [
    ...requestMetrics(sum.requests),
    ...messageMetrics(sum.requests),
    ...tcpMetrics(sum.tcp),
    ...counterMetrics(sum),
    ...gauges(input, sum),
    ...loopDelays(input.counts),
  ];
}

function requestMetrics(all: readonly SeriesCounts[]): Metric[] {
  const total: MetricValue[] = [];
  const duration: MetricValue[] = [];
  const requestBytes: MetricValue[] = [];
  const responseBytes: MetricValue[] = [];
  for (const series of all) {
    const sharedLabels = named(REQUEST_LABELS, series.labels);
    total.push({ value: series.cells[0] ?? 0, sharedLabels });
    histogram(duration, series, { name: 'istio_request_duration_milliseconds', at: DURATION, sharedLabels });
    histogram(requestBytes, series, { name: 'istio_request_bytes', at: REQUEST_BYTES, sharedLabels });
    histogram(responseBytes, series, { name: 'istio_response_bytes', at: RESPONSE_BYTES, sharedLabels });
  }
  return [
    istio('istio_requests_total', 'counter', total),
    istio('istio_request_duration_milliseconds', 'histogram', duration),
    istio('istio_request_bytes', 'histogram', requestBytes),
    istio('istio_response_bytes', 'histogram', responseBytes),
  ];
}

/** Istio counts messages while calls go on: by what is known of their connection, not by how they end. */
function messageMetrics(all: readonly SeriesCounts[]): Metric[] {
  const sums = new Map<string, { readonly labels: readonly string[]; sent: number; received: number }>();
  for (const { labels, cells } of all) {
    if (labels[REQUEST_PROTOCOL] !== 'grpc') continue;
    const shared = labels.slice(0, CONNECTION_LABELS.length);
    const key = shared.join('\u0000');
    const sum = sums.get(key) ?? { labels: shared, sent: 0, received: 0 };
    sum.sent += cells[REQUEST_MESSAGES] ?? 0;
    sum.received += cells[RESPONSE_MESSAGES] ?? 0;
    sums.set(key, sum);
  }
  const values = (of: 'sent' | 'received'): MetricValue[] =>
    [...sums.values()].map(sum => ({ value: sum[of], labels: named(CONNECTION_LABELS, sum.labels) }));
  return [
    istio('istio_request_messages_total', 'counter', values('sent')),
    istio('istio_response_messages_total', 'counter', values('received')),
  ];
}

interface HistogramPlace {
  readonly name: string;
  readonly at: number;
  readonly sharedLabels: Record<string, string>;
}

function histogram(into: MetricValue[], series: SeriesCounts, place: HistogramPlace): void {
  const { name, at, sharedLabels } = place;
  let cumulative = 0;
  for (let bucket = 0; bucket <= BUCKETS.length; bucket++) {
    cumulative += series.cells[at + bucket] ?? 0;
    const le = bucket === BUCKETS.length ? '+Inf' : String(BUCKETS[bucket]);
    into.push({ value: cumulative, labels: { le }, sharedLabels, metricName: `${name}_bucket` });
  }
  into.push({ value: series.cells[at + HISTOGRAM_CELLS - 1] ?? 0, sharedLabels, metricName: `${name}_sum` });
  into.push({ value: cumulative, sharedLabels, metricName: `${name}_count` });
}

function tcpMetrics(all: readonly SeriesCounts[]): Metric[] {
  const labelled = all.map(series => ({ series, sharedLabels: named(TCP_LABELS, series.labels) }));
  const values = (at: number): MetricValue[] =>
    labelled.map(({ series, sharedLabels }) => ({ value: series.cells[at] ?? 0, sharedLabels }));
  return [
    istio('istio_tcp_connections_opened_total', 'counter', values(OPENED)),
    istio('istio_tcp_connections_closed_total', 'counter', values(CLOSED)),
    istio('istio_tcp_sent_bytes_total', 'counter', values(SENT)),
    istio('istio_tcp_received_bytes_total', 'counter', values(RECEIVED)),
  ];
}

function counterMetrics(sum: Counts): Metric[] {
  return Object.entries(COUNTERS).map(([name, family]) => ({
    name,
    help: family.help,
    type: 'counter',
    values: sum.counters
      .filter(counter => counter.family === name)
      .map(counter => ({ value: counter.value, labels: named(family.labels, counter.labels) })),
  }));
}

function gauges(input: MetricsInput, sum: Counts): Metric[] {
  const { process, identity, certificates, config } = input;
  const failures = Object.entries(certificates.failures);
  const directions = Object.entries(sum.open);
  return [
    gauge('outrider_connections_open', 'Downstream connections open now.', {
      values: directions.map(([direction, value]) => ({ value, labels: { direction } })),
    }),
    gauge(
      'outrider_certificate_expiry_seconds',
      'When the SVID in use, its intermediates and the roots of the trust bundle expire, in Unix seconds.',
      { values: certificateDates(identity, 'notAfter') },
    ),
    gauge(
      'outrider_certificate_not_before_seconds',
      'When the SVID in use, its intermediates and the roots of the trust bundle became valid, in Unix seconds.',
      { values: certificateDates(identity, 'notBefore') },
    ),
    gauge('outrider_certificate_generation', 'Generation of the SVID and trust bundle in use.', {
      values: [{ value: identity?.generation ?? 0 }],
    }),
    counter('outrider_certificate_reloads_total', 'Identities loaded and put in force.', [
      { value: certificates.reloads },
    ]),
    counter(
      'outrider_certificate_reload_failures_total',
      'Identities refused, the last good one kept, by reason.',
      failures.map(([reason, value]) => ({ value, labels: { reason } })),
    ),
    counter('outrider_config_reloads_total', 'Configurations read, by result.', [
      { value: config.reloads, labels: { result: 'success' } },
      { value: config.failures, labels: { result: 'failure' } },
    ]),
    gauge('outrider_config_last_reload_successful', '1 when the newest configuration is the one in force.', {
      values: [{ value: config.lastReloadSuccessful ? 1 : 0 }],
    }),
    gauge('outrider_config_generation', 'Generation of the configuration in force.', {
      values: [{ value: config.generation }],
    }),
    gauge('outrider_workers', 'Data-plane threads that are running.', {
      values: [{ value: process.workers }],
    }),
    counter('outrider_worker_restarts_total', 'Data-plane threads that died and were replaced.', [
      { value: process.workerRestarts },
    ]),
    gauge('outrider_start_time_seconds', 'When the process started, in Unix seconds.', {
      values: [{ value: process.startedAt / 1e3 }],
    }),
    gauge('outrider_build_info', 'Always 1; the labels say what is running.', {
      values: [{ value: 1, labels: { version: process.version, node: globalThis.process.version } }],
    }),
    gauge('outrider_resident_memory_bytes', 'Resident memory of the whole process.', {
      values: [{ value: globalThis.process.memoryUsage.rss() }],
    }),
    counter('outrider_cpu_seconds_total', 'User and system time of the whole process.', [
      { value: cpuSeconds() },
    ]),
  ];
}

/** The leaf by its SPIFFE ID, so that a rotation goes on with its series; the others by what tells them apart. */
function certificateDates(identity: MetricsInput['identity'], date: 'notBefore' | 'notAfter'): MetricValue[] {
  if (identity === null) return [];
  const values: MetricValue[] = [
    { value: identity[date] / 1e3, labels: { kind: 'leaf', id: identity.id, subject: '', serial: '' } },
  ];
  const seen = new Set<string>(); // a certificate that stands twice in a file would be a series twice
  const add = (kind: string, certificate: DatedCertificate): void => {
    const { subject, serial } = certificate;
    const key = `${kind} ${serial} ${subject}`;
    if (seen.has(key)) return;
    seen.add(key);
    values.push({ value: certificate[date] / 1e3, labels: { kind, id: '', subject, serial } });
  };
  for (const intermediate of identity.chain.slice(1)) add('intermediate', intermediate);
  for (const root of identity.roots) add('root', root);
  return values;
}

function cpuSeconds(): number {
  const { user, system } = globalThis.process.cpuUsage();
  return (user + system) / 1e6;
}

const DELAYS = ['mean', 'p50', 'p99', 'max'] as const;

function loopDelays(all: readonly Counts[]): Metric[] {
  const values: MetricValue[] = [];
  for (const { worker, loopDelay } of all) {
    if (worker === null || loopDelay === null) continue;
    for (const stat of DELAYS)
      values.push({ value: loopDelay[stat], labels: { worker: String(worker), stat } });
  }
  return [
    gauge('outrider_event_loop_delay_seconds', 'How late event loops ran since the last scrape.', { values }),
  ];
}

function istio(name: keyof typeof ISTIO_HELP, type: Metric['type'], values: MetricValue[]): Metric {
  return { name, help: ISTIO_HELP[name], type, values };
}

function gauge(name: string, help: string, { values }: { values: MetricValue[] }): Metric {
  return { name, help, type: 'gauge', values };
}

function counter(name: string, help: string, values: MetricValue[]): Metric {
  return { name, help, type: 'counter', values };
}

function named(names: readonly string[], values: readonly string[]): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let i = 0; i < names.length; i++) labels[names[i] ?? ''] = values[i] ?? '';
  return labels;
}
