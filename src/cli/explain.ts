/** `outrider explain`: what would happen to described requests, and which policy, rule and clause decides. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { loadManifests } from '../config/manifest.ts';
import type { Fault, Resources, Workload } from '../config/resources.ts';
import { type ExplainAnswer, explainRequest } from '../policy/explain.ts';
import { type ExplainProtocol, parseExplainRequest } from '../policy/explain-request.ts';
import { frontDoor } from '../proxy/front-door.ts';

/** The one request that flags describe; null = the flag was not given. */
export interface DescribedByFlags {
  readonly method: string | null;
  readonly path: string | null;
  readonly host: string | null;
  /** `name: value`, as often as the flag was given. */
  readonly headers: readonly string[];
  readonly principal: string | null;
  readonly sourceIp: string | null;
  readonly port: number | null;
  readonly protocol: ExplainProtocol | null;
  readonly plaintext: boolean;
}

export interface ExplainOptions {
  readonly configPaths: readonly string[];
  /** The workload asked about when a request names none; null = `default`. */
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** A file of JSON lines, `-` for standard input; null = the flags describe one request. */
  readonly requests: string | null;
  readonly json: boolean;
  readonly expect: 'allow' | 'deny' | null;
  readonly request: DescribedByFlags;
}

/** Where the command reads and writes; `process` is one. */
export interface ExplainIo {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: Sink;
  readonly stderr: Sink;
}

interface Sink {
  write(text: string, done?: () => void): unknown;
}

type Explain = (value: unknown) => { ok: true; answer: ExplainAnswer } | { ok: false; reason: string };

/**
 * Runs the command.
 * @returns the exit code: 0; 1 when manifests are invalid, a line is no request, or `--expect` is not met; 2 for bad flags
 */
export async function runExplain(options: ExplainOptions, io: ExplainIo): Promise<number> {
  if (options.requests === null && options.request.port === null) {
    return say(io, '--port is missing: say which workload port is asked about, or give --requests FILE', 2);
  }
  const loaded = loadManifests(options.configPaths);
  for (const fault of loaded.ok ? loaded.warnings : loaded.faults) io.stderr.write(`${faultLine(fault)}\n`);
  if (!loaded.ok) return 1;
  const explain = explainerOf(loaded.resources, {
    namespace: options.namespace ?? 'default',
    labels: options.labels,
  });
  return options.requests === null
    ? explainFlags(options, explain, io)
    : explainLines(options.requests, { explain, expect: options.expect }, io);
}

function explainerOf(resources: Resources, workload: Pick<Workload, 'namespace' | 'labels'>): Explain {
  return value => {
    const parsed = parseExplainRequest(value);
    if (!parsed.ok) return parsed;
    return { ok: true, answer: explainRequest(resources, workload, parsed.request, frontDoor) };
  };
}

async function explainFlags(options: ExplainOptions, explain: Explain, io: ExplainIo): Promise<number> {
  const headers = headersOf(options.request);
  if (typeof headers === 'string') return say(io, headers, 2);
  const explained = explain(requestOf(options.request, headers));
  if (!explained.ok) return say(io, explained.reason, 2);
  const { answer } = explained;
  await write(io.stdout, options.json ? `${JSON.stringify(answer)}\n` : prose(answer, options.request));
  return isExpected(answer, options.expect) ? 0 : 1;
}

interface LineQuestion {
  readonly explain: Explain;
  readonly expect: ExplainOptions['expect'];
}

/** One answer a line, in order; a line that is no request is named on standard error, and the others are still answered. */
async function explainLines(file: string, question: LineQuestion, io: ExplainIo): Promise<number> {
  let code = 0;
  let number = 0;
  const input = file === '-' ? io.stdin : createReadStream(file);
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (line.trim() === '') continue;
      const explained = explainLine(line, question.explain);
      if (!explained.ok) {
        code = say(io, `${file === '-' ? 'standard input' : file}:${number}: ${explained.reason}`, 1);
        continue;
      }
      await write(io.stdout, `${JSON.stringify(explained.answer)}\n`);
      if (!isExpected(explained.answer, question.expect)) code = 1;
    }
  } catch (error) {
    return say(io, `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`, 1);
  }
  return code;
}

function explainLine(line: string, explain: Explain): ReturnType<Explain> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { ok: false, reason: `not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  return explain(value);
}

function isExpected(answer: ExplainAnswer, expect: ExplainOptions['expect']): boolean {
  return expect === null || answer.decision === expect;
}

/** `name: value` lines by name, or what is wrong with one. */
function headersOf({ headers, protocol }: DescribedByFlags): Map<string, string[]> | string {
  const lines = new Map<string, string[]>();
  for (const header of headers) {
    const colon = header.indexOf(':');
    if (colon < 1) return `--header ${JSON.stringify(header)} is not 'name: value'`;
    const name = header.slice(0, colon).trim().toLowerCase();
    lines.set(name, [...(lines.get(name) ?? []), header.slice(colon + 1).trim()]);
  }
  if (protocol === 'grpc' && !lines.has('content-type')) lines.set('content-type', ['application/grpc']);
  return lines;
}

function requestOf(flags: DescribedByFlags, headers: ReadonlyMap<string, readonly string[]>): unknown {
  return {
    protocol: flags.protocol,
    transport: flags.plaintext ? 'plaintext' : null,
    source: { ip: flags.sourceIp, principal: flags.principal },
    destination: { port: flags.port },
    request: {
      method: flags.method,
      path: flags.path,
      host: flags.host,
      headers: Object.fromEntries(headers),
    },
  };
}

/** The answer for a person: the decision, where it came from, then each policy considered. */
function prose(answer: ExplainAnswer, { port }: DescribedByFlags): string {
  const lines = [`${answer.decision.toUpperCase()}${statusText(answer)}`];
  if (answer.reason !== undefined) lines.push(`reason: ${answer.reason}`);
  if (answer.policy !== undefined) lines.push(`decided by: policy ${answer.policy}, rule ${answer.rule}`);
  lines.push(`mutual TLS on port ${port}: ${answer.mtlsMode}`);
  if (answer.path !== undefined) lines.push(`path: ${answer.path}`);
  if (answer.trace.length === 0) lines.push('no policy concerns this workload, so everything is allowed');
  else lines.push('considered, in order:', ...answer.trace.map(line => `  ${line}`));
  return `${lines.join('\n')}\n`;
}

function statusText({ decision, status, grpcStatus }: ExplainAnswer): string {
  if (decision === 'allow') return '';
  if (status === undefined) return ' (the connection is closed)';
  return grpcStatus === undefined
    ? ` (HTTP status ${status})`
    : ` (HTTP status ${status}, grpc-status ${grpcStatus})`;
}

function faultLine({ file, line, column, severity, message }: Fault): string {
  return `${file}:${line}:${column} ${severity} ${message}`;
}

function say(io: ExplainIo, line: string, code: number): number {
  io.stderr.write(`outrider explain: ${line}\n`);
  return code;
}

/** Resolves when the text is out: the process may end right after. */
function write(sink: Sink, text: string): Promise<void> {
  return new Promise(resolve => sink.write(text, resolve));
}
