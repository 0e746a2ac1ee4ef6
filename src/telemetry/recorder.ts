// Hot path: finishRequest builds no string and allocates nothing while the access log, tracing and taps are off.
import type { ELDHistogram } from 'node:perf_hooks';
import { type AccessLogFields, accessLogFields, accessLogLine } from './access-log.ts';
import type { CounterCounts, Counts } from './counts.ts';
import { readLoopDelay, watchLoopDelay } from './loop-delay.ts';
import type { AccessRecord, ConnectionFacts, PolicyFindings } from './record.ts';
import {
  CLOSED,
  DURATION,
  OPENED,
  observe,
  RECEIVED,
  REQUEST_BYTES,
  REQUEST_MESSAGES,
  RESPONSE_BYTES,
  RESPONSE_MESSAGES,
  SENT,
  SeriesTable,
} from './series.ts';
import type { WorkloadFacts } from './workload.ts';

type Direction = ConnectionFacts['direction'];

// 64 time series each (three histograms of Istio's buckets): a full table is a scrape of some 60 MB, a usual one has tens.
const MAX_SERIES = 1_000;
const MAX_COUNTERS = 1_000; // reasons and policy names come from code and files; this bounds a mistake, not a peer
const SEPARATOR = '\u0000';

interface Counter {
  readonly family: string;
  readonly labels: readonly string[];
  value: number;
}

export interface RecorderOptions {
  readonly workload: WorkloadFacts;
  readonly accessLog: 'off' | 'text' | 'json';
  /** Takes one line without its end and never blocks: LineSink.write. */
  readonly writeLine: (line: string) => void;
  /** How many lines were lost on the way: LineSink.dropped. */
  readonly droppedLines?: () => number;
  /** The worker's number, for the event-loop metric; absent = this thread does not measure it. */
  readonly worker?: number;
  /** Label sets of Istio's metrics that are kept; beyond it everything counts as `unknown`. */
  readonly maxSeries?: number;
}

/**
 * One worker's counters, access log and ends of spans. Every record passes through finishRequest or
 * finishConnection exactly once; a second time does nothing and returns false.
 */
export class Recorder {
  /** Called with the access log's fields of every finished record while it is set (the admin's tap). */
  onFinished: ((fields: AccessLogFields) => void) | null = null;
  readonly #series: SeriesTable;
  readonly #counters = new Map<string, Counter>();
  /** By family, once the counters are full. */
  readonly #unknown = new Map<string, Counter>();
  readonly #open = { inbound: 0, outbound: 0 };
  readonly #writeLine: (line: string) => void;
  readonly #droppedLines: () => number;
  readonly #worker: number | null;
  readonly #delay: ELDHistogram | null;
  #accessLog: 'off' | 'text' | 'json';
  /** By policy ('' = none matched): how often it allowed, then denied. */
  readonly #decisions = new Map<string, Float64Array>();
  /** The same by dry-run policy. */
  readonly #dryRuns = new Map<string, Float64Array>();
  /** By AUDIT policy: how often it matched. */
  readonly #audits = new Map<string, Float64Array>();
  #poolHits = 0;

  constructor(options: RecorderOptions) {
    this.#series = new SeriesTable(options.workload, options.maxSeries ?? MAX_SERIES);
    this.#accessLog = options.accessLog;
    this.#writeLine = options.writeLine;
    this.#droppedLines = options.droppedLines ?? (() => 0);
    this.#worker = options.worker ?? null;
    this.#delay = this.#worker === null ? null : watchLoopDelay();
  }

  /** Changes the log's form while running (a reload of the mesh config). */
  setAccessLog(accessLog: 'off' | 'text' | 'json'): void {
    this.#accessLog = accessLog;
  }

  /** Counts, logs and ends the span of one HTTP request. `now` is performance.now() in milliseconds. */
  finishRequest(record: AccessRecord, now: number = performance.now()): boolean {
    if (record.finished) return false;
    record.finished = true;
    const cells = this.#series.request(record);
    cells[0] = (cells[0] as number) + 1;
    observe(cells, DURATION, now - record.startMs);
    observe(cells, REQUEST_BYTES, record.bytesReceived);
    observe(cells, RESPONSE_BYTES, record.bytesSent);
    if (record.requestProtocol === 'grpc') {
      add(cells, REQUEST_MESSAGES, record.requestMessages);
      add(cells, RESPONSE_MESSAGES, record.responseMessages);
    }
    this.#finish(record, now);
    return true;
  }

  /** A TCP connection was opened (istio_tcp_connections_opened_total); HTTP connections are not counted here. */
  openConnection(facts: ConnectionFacts): void {
    add(this.#series.tcp(facts, '-'), OPENED, 1);
  }

  /** Counts what a long-lived TCP connection carried since the last call, so that its bytes show before it ends. */
  progressConnection(record: AccessRecord): void {
    if (!record.finished) this.#countBytes(record, this.#series.tcp(record.conn, '-'));
  }

  /** Counts, logs and ends the span of one TCP connection. */
  finishConnection(record: AccessRecord, now: number = performance.now()): boolean {
    if (record.finished) return false;
    record.finished = true;
    const cells = this.#series.tcp(record.conn, record.flag);
    add(cells, CLOSED, 1);
    this.#countBytes(record, cells);
    this.#finish(record, now);
    return true;
  }

  /** Logs a connection that was closed before it became one (a refused handshake); no TCP metric has it. */
  refuseConnection(record: AccessRecord, now: number = performance.now()): boolean {
    if (record.finished) return false;
    record.finished = true;
    this.#finish(record, now);
    return true;
  }

  /** A downstream connection of any protocol was accepted (gauge outrider_connections_open). */
  connectionAccepted(direction: Direction): void {
    this.#open[direction]++;
  }

  /** Its end; call it once for each connectionAccepted. */
  connectionClosed(direction: Direction): void {
    this.#open[direction]--;
  }

  /** An open connection is ended for what was found out about it since; `reason` is a stable code. */
  connectionEnds(direction: Direction, reason: string): void {
    this.#count('outrider_connections_closed_total', [direction, reason]);
  }

  /** An HTTP/2 connection or stream is ended for what the other side sent; `reason` is a stable code. */
  http2Ended(direction: Direction, reason: string): void {
    this.#count('outrider_http2_ended_total', [direction, reason]);
  }

  /** One TLS handshake; `reason` is a stable code, '' on success. */
  handshake(direction: Direction, result: 'success' | 'failure', reason: string): void {
    this.#count('outrider_tls_handshakes_total', [direction, result, reason]);
  }

  /** What a handshake that was believed came to; all three are of the few values that configuration allows. */
  negotiated(
    direction: Direction,
    {
      tlsVersion,
      cipher,
      group,
    }: { readonly tlsVersion: string; readonly cipher: string; readonly group: string },
  ): void {
    this.#count('outrider_tls_negotiated_total', [direction, tlsVersion, cipher, group]);
  }

  /** A decision that ends in no record; finishRequest and finishConnection count their record's own. */
  policyDecision(policy: string | null, decision: 'allow' | 'deny'): void {
    countDecision(this.#decisions, policy ?? '', decision);
  }

  /** A request refused as malformed; `reason` is a stable code of the parser, never what the peer sent. */
  badRequest(reason: string): void {
    this.#count('outrider_bad_requests_total', [reason]);
  }

  /** One attempt to connect upstream; `result` is 'success' or a stable failure code. */
  upstreamConnect(direction: Direction, result: string): void {
    this.#count('outrider_upstream_connects_total', [direction, result]);
  }

  /** One question to an external authorizer; `result` is a stable code. */
  authzAnswer(provider: string, result: string): void {
    this.#count('outrider_ext_authz_answers_total', [provider, result]);
  }

  /** A request that went out on an idle pooled connection. */
  poolHit(): void {
    this.#poolHits++;
  }

  /** Everything counted since the start, as data that postMessage can carry. */
  snapshot(): Counts {
    const named = [...this.#counters.values(), ...this.#unknown.values()];
    const counters: CounterCounts[] = named.map(counter => ({ ...counter }));
    counters.push(...decisionCounts('outrider_policy_decisions_total', this.#decisions));
    counters.push(...decisionCounts('outrider_policy_dry_run_decisions_total', this.#dryRuns));
    for (const [policy, [value = 0]] of this.#audits) {
      counters.push({ family: 'outrider_policy_audit_matches_total', labels: [policy], value });
    }
    counters.push({ family: 'outrider_upstream_pool_hits_total', labels: [], value: this.#poolHits });
    counters.push({ family: 'outrider_access_log_dropped_total', labels: [], value: this.#droppedLines() });
    counters.push({ family: 'outrider_metric_overflow_total', labels: [], value: this.#series.folded });
    return {
      ...this.#series.snapshot(),
      counters,
      open: { ...this.#open },
      loopDelay: this.#delay === null ? null : readLoopDelay(this.#delay),
      worker: this.#worker,
    };
  }

  /** Stops measuring the event loop. */
  close(): void {
    this.#delay?.disable();
  }

  #finish(record: AccessRecord, now: number): void {
    if (record.decision !== null) this.policyDecision(record.policy, record.decision);
    if (record.findings !== null) this.#countFindings(record.findings);
    if (record.span !== null) record.span.end(record);
    if (this.#accessLog !== 'off') this.#writeLine(accessLogLine(record, now, this.#accessLog));
    if (this.onFinished !== null) this.onFinished(accessLogFields(record, now));
  }

  #countBytes(record: AccessRecord, cells: Float64Array): void {
    add(cells, SENT, record.bytesSent - record.countedSent);
    add(cells, RECEIVED, record.bytesReceived - record.countedReceived);
    record.countedSent = record.bytesSent;
    record.countedReceived = record.bytesReceived;
  }

  #countFindings({ audit, dryRun }: PolicyFindings): void {
    for (const policy of audit) countDecision(this.#audits, policy, 'allow');
    for (const { policy, decision } of dryRun) countDecision(this.#dryRuns, policy, decision);
  }

  #count(family: string, labels: string[]): void {
    let key = family;
    for (const label of labels) key += SEPARATOR + label;
    let counter = this.#counters.get(key) ?? this.#unknown.get(family);
    if (counter === undefined) {
      const full = this.#counters.size >= MAX_COUNTERS;
      counter = { family, labels: full ? labels.map(() => 'unknown') : labels, value: 0 };
      if (full) this.#unknown.set(family, counter);
      else this.#counters.set(key, counter);
    }
    counter.value++;
  }
}

type DecisionCells = Map<string, Float64Array>;

function countDecision(cells: DecisionCells, policy: string, decision: 'allow' | 'deny'): void {
  add(cells.get(policy) ?? newCells(cells, policy), decision === 'allow' ? 0 : 1, 1);
}

function newCells(cells: DecisionCells, policy: string): Float64Array {
  const bounded = cells.size < MAX_COUNTERS ? policy : 'unknown';
  const counts = cells.get(bounded) ?? new Float64Array(2);
  cells.set(bounded, counts);
  return counts;
}

function* decisionCounts(family: string, cells: DecisionCells): Generator<CounterCounts> {
  for (const [policy, [allowed = 0, denied = 0]] of cells) {
    if (allowed > 0) yield { family, labels: [policy, 'allow'], value: allowed };
    if (denied > 0) yield { family, labels: [policy, 'deny'], value: denied };
  }
}

function add(cells: Float64Array, at: number, value: number): void {
  cells[at] = (cells[at] as number) + value;
}
