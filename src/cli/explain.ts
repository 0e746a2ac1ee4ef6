/** `outrider explain`: what would happen to described requests, and which policy, rule and clause decides. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { loadManifests } from '../config/manifest.ts';
import type { Fault } from '../config/resources.ts';
import { type ExplainAnswer, Explainer } from '../policy/explain.ts';
import { type ExplainProtocol, parseExplainRequest } from '../policy/explain-request.ts';
import { frontDoor } from '../proxy/front-door.ts';
import { explainProse } from './explain-prose.ts';
import { readFault } from './read-fault.ts';

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
  /** What external authorizers are assumed to answer. */
  readonly custom: 'allow' | 'deny' | null;
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

type Explained =
  | { readonly ok: true; readonly answer: ExplainAnswer }
  | { readonly ok: false; readonly reason: string };

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
  const workload = { namespace: options.namespace ?? 'default', labels: options.labels };
  const explainer = new Explainer(loaded.resources, workload, frontDoor());
  return options.requests === null
    ? explainFlags(options, explainer, io)
    : explainLines(options.requests, { explainer, expect: options.expect }, io);
}

async function explainValue(value: unknown, explainer: Explainer): Promise<Explained> {
  const parsed = parseExplainRequest(value);
  return parsed.ok ? { ok: true, answer: await explainer.explain(parsed.request) } : parsed;
}

async function explainFlags(options: ExplainOptions, explainer: Explainer, io: ExplainIo): Promise<number> {
  const headers = headersOf(options.request);
  if (typeof headers === 'string') return say(io, headers, 2);
  const explained = await explainValue(requestOf(options.request, headers), explainer);
  if (!explained.ok) return say(io, explained.reason, 2);
  const { answer } = explained;
  const text = options.json ? JSON.stringify(answer) : explainProse(answer, options.request.port);
  await write(io.stdout, `${text}\n`);
  return isExpected(answer, options.expect) ? 0 : 1;
}

interface LineQuestion {
  readonly explainer: Explainer;
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
      const explained = await explainLine(line, question.explainer);
      if (!explained.ok) {
        code = say(io, `${file === '-' ? 'standard input' : file}:${number}: ${explained.reason}`, 1);
        continue;
      }
      await write(io.stdout, `${JSON.stringify(explained.answer)}\n`);
      if (!isExpected(explained.answer, question.expect)) code = 1;
    }
  } catch (error) {
    return say(io, `cannot read ${file}: ${readFault(error)}`, 1);
  }
  return code;
}

async function explainLine(line: string, explainer: Explainer): Promise<Explained> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return { ok: false, reason: `not JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
  return explainValue(value, explainer);
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
    custom: flags.custom,
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
