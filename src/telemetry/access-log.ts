import { withoutTokens } from './query-tokens.ts';
import type { AccessRecord, PolicyFindings } from './record.ts';

/** One finished record as the access log, its JSON form and the tap give it: Istio's default keys, then Outrider's own. */
export interface AccessLogFields {
  readonly start_time: string;
  readonly route_name: string | null;
  readonly method: string | null;
  readonly path: string | null;
  readonly protocol: string | null;
  /** 0 = no response (TCP, or a client that went away first), as Envoy writes it. */
  readonly response_code: number;
  readonly response_flags: string;
  readonly response_code_details: string | null;
  readonly connection_termination_details: string | null;
  readonly bytes_received: number;
  readonly bytes_sent: number;
  /** Whole milliseconds. */
  readonly duration: number;
  /** Whole milliseconds until the response head came, as text: in Envoy it is a header. */
  readonly upstream_service_time: string | null;
  readonly x_forwarded_for: string | null;
  readonly user_agent: string | null;
  readonly request_id: string | null;
  readonly authority: string | null;
  readonly upstream_host: string | null;
  readonly upstream_cluster: string | null;
  readonly upstream_local_address: string | null;
  readonly downstream_local_address: string;
  readonly downstream_remote_address: string;
  readonly requested_server_name: string | null;
  readonly upstream_transport_failure_reason: string | null;
  readonly direction: 'inbound' | 'outbound';
  readonly source_principal: string | null;
  readonly destination_principal: string | null;
  readonly connection_security_policy: string;
  readonly tls_version: string | null;
  /** `audit`: allowed, and an AUDIT policy matched. */
  readonly policy_decision: 'allow' | 'deny' | 'audit' | null;
  readonly policy: string | null;
  readonly policy_rule: number | null;
  readonly trace_id: string | null;
  // From here on a key is there only when it says something.
  /** Of a gRPC call: as the response said, or what its HTTP status stands for. */
  readonly grpc_status: number | undefined;
  /** Inbound: the workload's port and namespace, which policies select by. */
  readonly destination_port: number | undefined;
  readonly destination_namespace: string | undefined;
  /** What TLS negotiated (`--access-log-tls`). */
  readonly tls_cipher: string | undefined;
  readonly tls_group: string | undefined;
  /** `issuer/subject` of the verified token. */
  readonly request_principal: string | undefined;
  /** AUDIT policies that matched. */
  readonly audit: readonly string[] | undefined;
  readonly dry_run: PolicyFindings['dryRun'] | undefined;
  /** Why it was denied: a line for each rule considered (`--explain-denials`). */
  readonly policy_trace: readonly string[] | undefined;
}

const MAX_FIELD = 4_096; // characters of one value that a peer chose; more is cut, and says so
const CUT = '...[cut]';
const MAX_TRACE_LINE = 1_024; // characters; a value that a peer sent may stand in it
const MAX_TRACE = 8_192; // characters of all lines of one policy_trace

/** The access log fields of a record that ended at `now` (performance.now(), ms). */
export function accessLogFields(record: AccessRecord, now: number): AccessLogFields {
  const { conn, findings } = record;
  const duration = Math.max(0, now - record.startMs);
  const serviceMs =
    record.upstreamStartMs < 0 || record.upstreamResponseMs < 0
      ? null
      : Math.max(0, Math.floor(record.upstreamResponseMs - record.upstreamStartMs));
  return {
    start_time: new Date(Date.now() - duration).toISOString(),
    route_name: record.routeName,
    method: record.method,
    path: bounded(record.path === null ? null : withoutTokens(record.path)),
    protocol: record.protocol,
    response_code: record.status,
    response_flags: record.flag,
    response_code_details: record.details,
    connection_termination_details: record.terminationDetails,
    bytes_received: record.bytesReceived,
    bytes_sent: record.bytesSent,
    duration: Math.floor(duration),
    upstream_service_time: serviceMs === null ? null : String(serviceMs),
    x_forwarded_for: header(record, 'x-forwarded-for'),
    user_agent: header(record, 'user-agent'),
    request_id: bounded(record.requestId),
    authority: bounded(record.authority),
    upstream_host: record.upstreamHost,
    upstream_cluster: record.upstreamCluster,
    upstream_local_address: record.upstreamLocalAddress,
    downstream_local_address: conn.localAddress,
    downstream_remote_address: conn.remoteAddress,
    requested_server_name: conn.sni,
    upstream_transport_failure_reason: record.transportFailure,
    direction: conn.direction,
    source_principal: conn.sourcePrincipal,
    destination_principal: conn.destinationPrincipal,
    connection_security_policy: conn.security,
    tls_version: conn.tlsVersion,
    policy_decision: verdictOf(record),
    policy: record.policy,
    policy_rule: record.policyRule,
    trace_id: record.traceId ?? traceIdOf(record),
    grpc_status: record.grpcStatus ?? undefined,
    destination_port: conn.destinationPort ?? undefined,
    destination_namespace:
      conn.direction === 'inbound' ? (conn.destinationNamespace ?? undefined) : undefined,
    tls_cipher: conn.negotiated?.cipher,
    tls_group: conn.negotiated?.group,
    request_principal: bounded(record.requestPrincipal) ?? undefined,
    audit: filled(findings?.audit),
    dry_run: filled(findings?.dryRun),
    policy_trace: record.explanation === null ? undefined : boundedTrace(record.explanation),
  };
}

function verdictOf({ decision, findings }: AccessRecord): AccessLogFields['policy_decision'] {
  return decision === 'allow' && findings !== null && findings.audit.length > 0 ? 'audit' : decision;
}

function filled<T>(list: readonly T[] | undefined): readonly T[] | undefined {
  return list === undefined || list.length === 0 ? undefined : list;
}

/** The last lines are kept when all are too many: what decided is among them. */
function boundedTrace(lines: readonly string[]): readonly string[] {
  const kept: string[] = [];
  let left = MAX_TRACE;
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i] as string;
    const short = line.length <= MAX_TRACE_LINE ? line : line.slice(0, MAX_TRACE_LINE) + CUT;
    left -= short.length;
    if (left < 0) {
      kept.push(`(${i + 1} lines left out)`);
      break;
    }
    kept.push(short);
  }
  return kept.reverse();
}

/** One line, without its end, that no peer can break or forge: see jsonLine and textLine. */
export function accessLogLine(record: AccessRecord, now: number, form: 'text' | 'json'): string {
  const fields = accessLogFields(record, now);
  return form === 'json' ? jsonLine(fields) : textLine(fields);
}

// JSON.stringify leaves DEL, the C1 controls (U+009B opens a terminal escape) and the Unicode line ends as they are.
const UNPRINTABLE = /[\u007f-\u009f\u2028\u2029]/;
const UNPRINTABLES = /[\u007f-\u009f\u2028\u2029]/g;

/** JSON in one line; bytes that a peer sent stand as the characters U+0000 to U+00FF, escaped where they control. */
export function jsonLine(value: object, replacer?: (key: string, value: unknown) => unknown): string {
  const json = JSON.stringify(value, replacer);
  return UNPRINTABLE.test(json) ? json.replace(UNPRINTABLES, unicodeEscape) : json;
}

/** Istio's default text format (pilot/pkg/model/telemetry_logging.go); `-` stands for what is absent. */
export function textLine(f: AccessLogFields): string {
  return (
    `[${f.start_time}] "${bare(f.method)} ${bare(f.path)} ${bare(f.protocol)}" ${f.response_code} ${f.response_flags}` +
    ` ${bare(f.response_code_details)} ${bare(f.connection_termination_details)}` +
    ` "${quoted(f.upstream_transport_failure_reason)}" ${f.bytes_received} ${f.bytes_sent} ${f.duration}` +
    ` ${bare(f.upstream_service_time)} "${quoted(f.x_forwarded_for)}" "${quoted(f.user_agent)}"` +
    ` "${quoted(f.request_id)}" "${quoted(f.authority)}" "${quoted(f.upstream_host)}" ${bare(f.upstream_cluster)}` +
    ` ${bare(f.upstream_local_address)} ${bare(f.downstream_local_address)} ${bare(f.downstream_remote_address)}` +
    ` ${bare(f.requested_server_name)} ${bare(f.route_name)}`
  );
}

const UNSAFE = /[^\x20-\x7e]|["\\]/;
const UNSAFES = /[^\x20-\x7e]|["\\]/g;

/** A value between quotes: what could end the quotes or the line is `\xHH` or `\uHHHH`, as nginx writes it. */
function quoted(value: string | null): string {
  if (value === null || value === '') return '-';
  return UNSAFE.test(value) ? value.replace(UNSAFES, textEscape) : value;
}

/** A value between spaces: a space in it would move every field after it. */
function bare(value: string | null): string {
  const text = quoted(value);
  return text.includes(' ') ? text.replaceAll(' ', '\\x20') : text;
}

function textEscape(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : unicodeEscape(character);
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function bounded(value: string | null): string | null {
  return value === null || value.length <= MAX_FIELD ? value : value.slice(0, MAX_FIELD) + CUT;
}

/** Repeated lines join with a comma (RFC 9110, 5.2). */
function header(record: AccessRecord, name: string): string | null {
  const values = record.headers === null ? [] : record.headers.headerValues(name);
  if (values.length === 0) return null;
  return bounded(values.length === 1 ? (values[0] ?? null) : values.join(','));
}

const TRACEPARENT_ID = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-/;

/** Without tracing of its own, Outrider still names the trace that a request carries. */
function traceIdOf(record: AccessRecord): string | null {
  const traceparent = record.headers?.headerValues('traceparent')[0];
  return traceparent === undefined ? null : (TRACEPARENT_ID.exec(traceparent)?.[1] ?? null);
}
