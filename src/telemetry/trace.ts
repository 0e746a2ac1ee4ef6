// Nothing of OpenTelemetry is loaded by importing this file: only types here, values by import() in startTracing.
import type { Attributes, Tracer as OtelTracer, Span } from '@opentelemetry/api';
import type { NodeSDKConfiguration } from '@opentelemetry/sdk-node';
import type { Tracing } from '../config/resources.ts';
import { log } from './log.ts';
import type { AccessRecord, OpenSpan } from './record.ts';
import { type SpanFacts, spanFacts } from './span-facts.ts';
import { formatTraceParent, newSpanId, newTraceId, parseTraceParent } from './traceparent.ts';

/** What begin gives: the header to send on, and the span, which the Recorder ends with the record. */
export interface TracedRequest extends OpenSpan {
  readonly traceparent: string;
  /** The request brought no valid traceparent: drop its tracestate, which belonged to it. */
  readonly newTrace: boolean;
}

export interface Tracer {
  /**
   * Opens the span of a request and sets `record.span` and `record.traceId`.
   * @param traceparent the request's header, null when it has none or more than one
   * @returns null once shut down: forward what came
   */
  begin(record: AccessRecord, traceparent: string | null): TracedRequest | null;
  /** Sends what is queued, for three seconds at most, and begins no more. */
  shutdown(): Promise<void>;
}

type SpanExporter = NodeSDKConfiguration['traceExporter'];

const EXPORT_TIMEOUT_MS = 5_000;
const SHUTDOWN_TIMEOUT_MS = 3_000; // within the default drain of 5 s
const COMPLAIN_EVERY_MS = 60_000;

/**
 * Loads OpenTelemetry (about 200 ms and 40 MB, so only when tracing is on) and exports to an OTLP/HTTP endpoint.
 * Sampling is parent-based: a caller's decision stands, and a new trace is sampled by its id.
 */
export async function startTracing(tracing: Tracing, serviceName: string): Promise<Tracer> {
  const [api, { NodeSDK }, { OTLPTraceExporter }] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
  ]);
  const exporter = new OTLPTraceExporter({ url: tracing.url, timeoutMillis: EXPORT_TIMEOUT_MS });
  const sdk = new NodeSDK({
    serviceName,
    autoDetectResources: false,
    textMapPropagator: null,
    metricReaders: [],
    logRecordProcessors: [],
    traceExporter: complaining(exporter, tracing.url),
    // begin() decides before a span exists, so that a request that is not sampled costs two ids and no span
    sampler: { shouldSample: () => ({ decision: RECORD_AND_SAMPLED }), toString: () => 'Outrider' },
    idGenerator: { generateTraceId: newTraceId, generateSpanId: newSpanId },
  });
  api.trace.disable(); // a second start (a reload) would otherwise keep the first provider
  sdk.start();
  const tracer = api.trace.getTracer('outrider');
  return new RequestTracer({ api, tracer, sdk, samplingPercent: tracing.samplingPercent });
}

const RECORD_AND_SAMPLED = 2; // SamplingDecision, an enum of a package that is not loaded here

interface TracerParts {
  readonly api: typeof import('@opentelemetry/api');
  readonly tracer: OtelTracer;
  readonly sdk: { shutdown(): Promise<void> };
  readonly samplingPercent: number;
}

class RequestTracer implements Tracer {
  readonly #parts: TracerParts;
  readonly #threshold: number;
  #closed = false;

  constructor(parts: TracerParts) {
    this.#parts = parts;
    this.#threshold = (parts.samplingPercent / 100) * 2 ** 32;
  }

  begin(record: AccessRecord, traceparent: string | null): TracedRequest | null {
    if (this.#closed) return null;
    const parent = traceparent === null ? null : parseTraceParent(traceparent);
    const traceId = parent?.traceId ?? newTraceId();
    const sampled = parent?.sampled ?? Number.parseInt(traceId.slice(24), 16) < this.#threshold;
    record.traceId = traceId;
    if (!sampled) {
      const header = formatTraceParent(traceId, newSpanId(), false);
      return { traceparent: header, newTrace: parent === null, end: doNothing };
    }
    const { api, tracer } = this.#parts;
    const context =
      parent === null
        ? api.ROOT_CONTEXT
        : api.trace.setSpanContext(api.ROOT_CONTEXT, { ...parent, traceFlags: 1, isRemote: true });
    const kind = record.conn.direction === 'inbound' ? api.SpanKind.SERVER : api.SpanKind.CLIENT;
    const startTime = Date.now() - (performance.now() - record.startMs);
    const span = tracer.startSpan(record.method ?? 'HTTP', { kind, startTime }, context);
    const own = span.spanContext();
    record.traceId = own.traceId;
    const traced: TracedRequest = {
      traceparent: formatTraceParent(own.traceId, own.spanId, true),
      newTrace: parent === null,
      end: finished => endSpan(span, spanFacts(finished)),
    };
    record.span = traced;
    return traced;
  }

  async shutdown(): Promise<void> {
    this.#closed = true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, SHUTDOWN_TIMEOUT_MS);
    });
    await Promise.race([this.#parts.sdk.shutdown().catch(complain), late]);
    clearTimeout(timer);
  }
}

function doNothing(): void {}

function endSpan(span: Span, facts: SpanFacts): void {
  span.updateName(facts.name);
  span.setAttributes(facts.attributes as Attributes);
  if (facts.failed) span.setStatus({ code: STATUS_ERROR });
  span.end();
}

const STATUS_ERROR = 2; // SpanStatusCode.ERROR

/** The exporter, with its failures in Outrider's log: OpenTelemetry keeps them to itself. */
function complaining(exporter: SpanExporter, url: string): SpanExporter {
  let complainedAt = Number.NEGATIVE_INFINITY;
  return {
    export(spans, done) {
      exporter.export(spans, result => {
        const now = performance.now();
        if (result.code !== 0 && now - complainedAt > COMPLAIN_EVERY_MS) {
          complainedAt = now;
          log.warn('spans not exported', { url, spans: spans.length, reason: result.error });
        }
        done(result);
      });
    },
    forceFlush: async () => exporter.forceFlush?.(),
    shutdown: () => exporter.shutdown(),
  };
}

function complain(error: unknown): void {
  log.debug('tracing did not shut down cleanly', { reason: error }); // a failed export said so already
}
