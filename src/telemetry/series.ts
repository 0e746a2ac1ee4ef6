// Hot path: after the first record of its kind, no string, closure or allocation per record.
import type { ResponseFlag } from '../errors.ts';
import { BUCKETS, HISTOGRAM_CELLS, REQUEST_CELLS, type SeriesCounts, TCP_CELLS } from './counts.ts';
import {
  connectionLabels,
  overflowLabels,
  REQUEST_LABELS,
  requestLabels,
  TCP_LABELS,
  tcpLabels,
} from './labels.ts';
import type { AccessRecord, ConnectionFacts, RequestProtocol } from './record.ts';
import type { WorkloadFacts } from './workload.ts';

const BOUNDS = Float64Array.from(BUCKETS);
const SUM = HISTOGRAM_CELLS - 1;
export const DURATION = 1;
export const REQUEST_BYTES = DURATION + HISTOGRAM_CELLS;
export const RESPONSE_BYTES = REQUEST_BYTES + HISTOGRAM_CELLS;
export const REQUEST_MESSAGES = RESPONSE_BYTES + HISTOGRAM_CELLS;
export const RESPONSE_MESSAGES = REQUEST_MESSAGES + 1;
export const OPENED = 0;
export const CLOSED = 1;
export const SENT = 2;
export const RECEIVED = 3;

const FLAGS: Readonly<Record<ResponseFlag, number>> = {
  '-': 0,
  NR: 1,
  DPE: 2,
  UF: 3,
  UC: 4,
  UO: 5,
  UH: 6,
  UT: 7,
  DC: 8,
  UPE: 9,
  DT: 10,
  UAEX: 11,
};
const PROTOCOLS: Readonly<Record<RequestProtocol, number>> = { http: 0, grpc: 1, tcp: 2 };
const MAX_KINDS = 64; // series cached for one connection; an app that answers with every status there is starts over
const SEPARATOR = '\u0000';

/** The series of one connection's records, found by a number instead of by their labels. */
interface ConnectionSeries {
  readonly shared: readonly string[];
  readonly kinds: Map<number, Float64Array>;
  lastKind: number;
  last: Float64Array;
}

/** Adds one value to the histogram that starts at `at`. */
export function observe(cells: Float64Array, at: number, value: number): void {
  let bucket = 0;
  while (bucket < BOUNDS.length && value > (BOUNDS[bucket] as number)) bucket++;
  cells[at + bucket] = (cells[at + bucket] as number) + 1;
  cells[at + SUM] = (cells[at + SUM] as number) + value;
}

/**
 * All request and TCP series of one worker. At most `max` label sets are kept; what comes beyond them counts in one
 * overflow series with every label `unknown`, since peers can send hosts without end.
 */
export class SeriesTable {
  readonly #workload: WorkloadFacts;
  readonly #max: number;
  readonly #connections = new WeakMap<ConnectionFacts, ConnectionSeries>();
  readonly #requests = new Map<string, SeriesCounts>();
  readonly #tcp = new Map<string, SeriesCounts>();
  #requestOverflow: Float64Array | null = null;
  #tcpOverflow: Float64Array | null = null;
  #lastFacts: ConnectionFacts | null = null;
  #lastConnection: ConnectionSeries | null = null;
  /** Records counted in an overflow series. */
  folded = 0;

  constructor(workload: WorkloadFacts, max: number) {
    this.#workload = workload;
    this.#max = max;
  }

  /** The cells that this finished request counts in. */
  request(record: AccessRecord): Float64Array {
    const connection = this.#connection(record.conn);
    const grpc = grpcKind(record.grpcStatus);
    const kind =
      (((record.status & 1023) * 16 + FLAGS[record.flag]) * 4 + PROTOCOLS[record.requestProtocol]) * 32 +
      grpc;
    const cells =
      kind === connection.lastKind ? connection.last : this.#requestKind(connection, kind, record);
    if (cells === this.#requestOverflow) this.folded++;
    return cells;
  }

  /** The cells that a TCP connection of these facts counts in, by its response flag. */
  tcp(facts: ConnectionFacts, flag: ResponseFlag): Float64Array {
    const connection = this.#connection(facts);
    const kind = -1 - FLAGS[flag];
    let cells = connection.kinds.get(kind) ?? null;
    if (cells === null) {
      cells = this.#intern(this.#tcp, tcpLabels(connection.shared, facts, flag), TCP_CELLS);
      if (cells === null) {
        this.#tcpOverflow ??= this.#add(this.#tcp, overflowLabels(TCP_LABELS), TCP_CELLS);
        cells = this.#tcpOverflow;
      }
      remember(connection, kind, cells);
    }
    if (cells === this.#tcpOverflow) this.folded++;
    return cells;
  }

  snapshot(): { requests: SeriesCounts[]; tcp: SeriesCounts[] } {
    return { requests: copies(this.#requests), tcp: copies(this.#tcp) };
  }

  #connection(facts: ConnectionFacts): ConnectionSeries {
    if (facts === this.#lastFacts && this.#lastConnection !== null) return this.#lastConnection;
    let connection = this.#connections.get(facts);
    if (connection === undefined) {
      connection = {
        shared: connectionLabels(facts, this.#workload),
        kinds: new Map(),
        lastKind: Number.NaN,
        last: NO_CELLS,
      };
      this.#connections.set(facts, connection);
    }
    this.#lastFacts = facts;
    this.#lastConnection = connection;
    return connection;
  }

  #requestKind(connection: ConnectionSeries, kind: number, record: AccessRecord): Float64Array {
    let cells = connection.kinds.get(kind) ?? null;
    if (cells === null) {
      cells = this.#intern(this.#requests, requestLabels(connection.shared, record), REQUEST_CELLS);
      if (cells === null) {
        this.#requestOverflow ??= this.#add(this.#requests, overflowLabels(REQUEST_LABELS), REQUEST_CELLS);
        cells = this.#requestOverflow;
      }
      remember(connection, kind, cells);
    }
    connection.lastKind = kind;
    connection.last = cells;
    return cells;
  }

  /** The cells of these labels; null = the table is full. */
  #intern(table: Map<string, SeriesCounts>, labels: string[], size: number): Float64Array | null {
    const held = table.get(labels.join(SEPARATOR));
    if (held !== undefined) return held.cells;
    if (this.#requests.size + this.#tcp.size >= this.#max) return null;
    return this.#add(table, labels, size);
  }

  #add(table: Map<string, SeriesCounts>, labels: string[], size: number): Float64Array {
    const cells = new Float64Array(size);
    table.set(labels.join(SEPARATOR), { labels, cells });
    return cells;
  }
}

/** 0 to 16 as they are, none 17, what no specification knows 18. */
function grpcKind(status: number | null): number {
  if (status === null) return 17;
  return status >= 0 && status <= 16 ? status | 0 : 18;
}

const NO_CELLS = new Float64Array(0);

function remember(connection: ConnectionSeries, kind: number, cells: Float64Array): void {
  if (connection.kinds.size >= MAX_KINDS) connection.kinds.clear();
  connection.kinds.set(kind, cells);
}

function copies(table: Map<string, SeriesCounts>): SeriesCounts[] {
  return [...table.values()].map(series => ({
    labels: series.labels,
    cells: Float64Array.from(series.cells),
  }));
}
