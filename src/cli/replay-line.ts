/** One line of an access log as replay reads it: the request that was made, or why there is none in it. */

/** A request, or a TCP connection, as the log has it. Text from the wire is a byte string, as in the log. */
export interface LoggedRequest {
  readonly protocol: 'http' | 'http2' | 'tcp';
  /** False = plaintext. */
  readonly secure: boolean;
  /** `spiffe://…`; null on plaintext. */
  readonly principal: string | null;
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly sni: string | null;
  /** The workload's namespace; null where the line does not say it. */
  readonly namespace: string | null;
  /** '' on TCP, as are the next two. */
  readonly method: string;
  readonly target: string;
  readonly host: string;
  /** The headers that a log holds: its value, null when there was none, absent when it is not known. */
  readonly headers: ReadonlyMap<string, string | null>;
  /** `issuer/subject` of the token that was verified. */
  readonly requestPrincipal: string | null;
  /** A token was refused. */
  readonly tokenRefused: boolean;
  /** What the external authorizer said, where it can be told: the request went on, or the flag says that it denied. */
  readonly authorizer: 'allow' | 'deny' | null;
  /** What DENY and ALLOW policies said at the time; null where they were not asked. */
  readonly decision: LoggedDecision | null;
}

export interface LoggedDecision {
  readonly allow: boolean;
  /** The policy that decided, or the ALLOW policies that did not match, with commas. */
  readonly policy: string | null;
  readonly rule: number | null;
}

export type ReadLine =
  | { readonly is: 'request'; readonly request: LoggedRequest }
  /** Nothing that policy was ever asked about: `why` is counted. */
  | { readonly is: 'passed over'; readonly why: PassedOver }
  /** The line is of a request, but lacks `what`. */
  | { readonly is: 'incomplete'; readonly what: string }
  | { readonly is: 'foreign'; readonly why: string };

export type PassedOver = 'outbound' | 'answered before policy' | 'connections refused before a request';

const CUT = '...[cut]';
/** What the log has of a header under another name. */
const LOGGED_HEADERS = [
  ['user-agent', 'user_agent'],
  ['x-forwarded-for', 'x_forwarded_for'],
] as const;

type Fields = Readonly<Record<string, unknown>>;

/** Reads one line of the JSON access log. */
export function readLogLine(line: string): ReadLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { is: 'foreign', why: 'not JSON' };
  }
  if (typeof value !== 'object' || value === null || !isOurs(value as Fields)) {
    return { is: 'foreign', why: "not a line of Outrider's access log" };
  }
  return readFields(value as Fields);
}

function isOurs(fields: Fields): boolean {
  const { direction, connection_security_policy: security, response_flags: flags } = fields;
  const known = direction === 'inbound' || direction === 'outbound';
  return known && typeof security === 'string' && typeof flags === 'string';
}

function readFields(fields: Fields): ReadLine {
  if (fields.direction === 'outbound') return { is: 'passed over', why: 'outbound' };
  const flag = text(fields.response_flags);
  const method = text(fields.method);
  if (method === null && flag === 'NR') {
    return { is: 'passed over', why: 'connections refused before a request' };
  }
  if ((flag === 'DPE' || flag === 'DT') && decisionOf(fields) === null)
    return { is: 'passed over', why: 'answered before policy' };
  const port = portOf(fields);
  if (port === null) return { is: 'incomplete', what: 'destination_port' };
  const target = text(fields.path) ?? '';
  if (target.endsWith(CUT)) return { is: 'incomplete', what: 'the whole path (the log cuts long ones)' };
  return { is: 'request', request: requestOf(fields, { method, target, port }) };
}

interface Known {
  readonly method: string | null;
  readonly target: string;
  readonly port: number;
}

function requestOf(fields: Fields, { method, target, port }: Known): LoggedRequest {
  const details = text(fields.response_code_details) ?? '';
  const tokenRefused = details.startsWith('jwt_authn_access_denied');
  const authorizerDenied = fields.response_flags === 'UAEX';
  const decision = tokenRefused || authorizerDenied ? null : decisionOf(fields);
  return {
    protocol: method === null ? 'tcp' : text(fields.protocol)?.startsWith('HTTP/2') ? 'http2' : 'http',
    secure: fields.connection_security_policy === 'mutual_tls',
    principal: text(fields.source_principal),
    sourceIp: addressOf(text(fields.downstream_remote_address)),
    destinationIp: addressOf(text(fields.downstream_local_address)),
    destinationPort: port,
    sni: text(fields.requested_server_name),
    namespace: text(fields.destination_namespace) ?? namespaceOf(text(fields.destination_principal)),
    method: method ?? '',
    target,
    host: text(fields.authority) ?? '',
    headers: headersOf(fields),
    requestPrincipal: text(fields.request_principal),
    tokenRefused,
    authorizer: authorizerDenied ? 'deny' : decision !== null || tokenRefused ? 'allow' : null,
    decision,
  };
}

function decisionOf({ policy_decision: said, policy, policy_rule: rule }: Fields): LoggedDecision | null {
  if (said !== 'allow' && said !== 'deny' && said !== 'audit') return null;
  return { allow: said !== 'deny', policy: text(policy), rule: typeof rule === 'number' ? rule : null };
}

function headersOf(fields: Fields): Map<string, string | null> {
  const headers = new Map<string, string | null>();
  for (const [name, key] of LOGGED_HEADERS) {
    const value = fields[key];
    if (value === null || (typeof value === 'string' && !value.endsWith(CUT))) headers.set(name, value);
  }
  return headers;
}

/** Logs of before the field was there name the port in the app's address, where a request got that far. */
function portOf(fields: Fields): number | null {
  const port = Number(fields.destination_port ?? /:(\d+)$/.exec(text(fields.upstream_host) ?? '')?.[1]);
  return Number.isInteger(port) && port >= 0 && port <= 65_535 ? port : null;
}

/** `10.0.0.9:40000` → 10.0.0.9; IPv6 stands without brackets in the log. */
function addressOf(pair: string | null): string {
  return pair === null ? '' : pair.slice(0, Math.max(0, pair.lastIndexOf(':')));
}

function namespaceOf(principal: string | null): string | null {
  return /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\//.exec(principal ?? '')?.[1] ?? null;
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
