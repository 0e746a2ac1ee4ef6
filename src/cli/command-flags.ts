/** The lines of every command but `run`. */
import { readChoice, readLabels, readName, readNonEmpty, readWhole } from './flag-values.ts';
import { all, type Line, one, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

const JSON_FLAG = { name: 'json', value: null } as const;

export interface CheckSettings {
  readonly paths: readonly string[];
  readonly json: boolean;
  /** The workload that the policies are meant for; null = not given. */
  readonly workload: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> } | null;
}

export const CHECK_USAGE: Usage = {
  command: 'check',
  synopsis: 'check [--json] [--labels K=V,…] PATH…',
  about:
    'Validates manifests, mesh config and certificates: a PATH is a YAML file, a folder of them, or a folder with\n' +
    'cert-chain.pem, key.pem and root-cert.pem. One line a fault, file:line:col severity message. Opens no socket.\n' +
    'Exit code 1 when any fault is an error.',
  positionals: 'PATH',
  flags: [
    { ...JSON_FLAG, help: 'one JSON object a fault: file, line, column, severity, kind, name, message' },
    { name: 'labels', value: 'K=V,…', help: "a workload's: warn of selectors that do not fit it" },
    { name: 'namespace', value: 'NAME', help: 'that workload\'s; default "default"' },
  ],
};

/** Parses the line of `check`. */
export function parseCheck(args: readonly string[]): Parsed<CheckSettings> {
  return parse(CHECK_USAGE, args, line => {
    if (line.positionals.length === 0) throw new WrongLine('name at least one PATH: a file or a folder');
    return { paths: line.positionals, json: line.values.has('json'), workload: readWorkload(line) };
  });
}

function readWorkload(line: Line): CheckSettings['workload'] {
  const labels = read(line, 'labels', readLabels);
  const namespace = read(line, 'namespace', readName);
  if (labels) return { labels, namespace: namespace ?? 'default' };
  if (namespace) throw new WrongLine('--namespace is where the workload of --labels is; give --labels too');
  return null;
}

export interface DemoSettings {
  /** End after the tour instead of running until Ctrl-C. */
  readonly once: boolean;
}

export const DEMO_USAGE: Usage = {
  command: 'demo',
  synopsis: 'demo [--once]',
  about:
    'A whole small mesh on this machine: a development CA, two workloads behind their own sidecars, policies, live\n' +
    'certificate rotation. Sends requests that are allowed and denied, says why, and runs until Ctrl-C.',
  positionals: null,
  flags: [{ name: 'once', value: null, help: 'end after the tour' }],
};

/** Parses the line of `demo`. */
export function parseDemo(args: readonly string[]): Parsed<DemoSettings> {
  return parse(DEMO_USAGE, args, line => ({ once: line.values.has('once') }));
}

/** One request described by flags; null = not given. */
export interface ExplainedRequest {
  readonly method: string | null;
  readonly path: string | null;
  readonly host: string | null;
  /** Name as written → values in order. */
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly principal: string | null;
  readonly sourceIp: string | null;
  readonly port: number | null;
  readonly protocol: 'http' | 'http2' | 'grpc' | 'tcp' | null;
  readonly plaintext: boolean;
  /** What external authorizers are assumed to answer. */
  readonly custom: 'allow' | 'deny' | null;
}

export interface ExplainSettings {
  readonly configPaths: readonly string[];
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** A file of JSON requests, `-` for standard input; null = the flags describe one. */
  readonly requests: string | null;
  readonly json: boolean;
  readonly expect: 'allow' | 'deny' | null;
  readonly request: ExplainedRequest;
}

export const EXPLAIN_USAGE: Usage = {
  command: 'explain',
  synopsis: 'explain --config PATH… (--requests FILE | --port N …) [--json]',
  about:
    'Evaluates requests with the code that enforces, and says which policy, rule and clause decided. --requests reads one\n' +
    'JSON request a line and prints one JSON decision a line; without it, flags describe one request.',
  positionals: null,
  flags: [
    { name: 'config', value: 'PATH', many: true, help: 'a YAML file or a folder of them (repeatable)' },
    { name: 'namespace', value: 'NAME', help: 'the workload\'s; default "default"' },
    { name: 'labels', value: 'K=V,…', help: "the workload's" },
    { name: 'requests', value: 'FILE', help: 'one JSON request a line; - for standard input' },
    { ...JSON_FLAG, help: 'decisions as JSON' },
    { name: 'expect', value: 'allow|deny', help: 'exit code 1 when the decision is another' },
    { name: 'method', value: 'NAME', help: 'default GET' },
    { name: 'path', value: 'PATH', help: 'with the query; default /' },
    { name: 'host', value: 'NAME', help: 'the Host header' },
    { name: 'header', value: "'NAME: VALUE'", many: true, help: 'a header (repeatable)' },
    { name: 'principal', value: 'SPIFFE-ID', help: "the client's, which makes it mutual TLS" },
    { name: 'source-ip', value: 'ADDRESS', help: "the client's" },
    { name: 'port', value: 'N', help: 'the destination port, which is needed' },
    { name: 'protocol', value: 'http|http2|grpc|tcp', help: 'default http' },
    { name: 'plaintext', value: null, help: 'no TLS, whatever the principal' },
    {
      name: 'custom',
      value: 'allow|deny',
      help: 'what external authorizers are assumed to answer, since none is asked; default allow',
    },
  ],
};

const DESCRIBING = [
  'method',
  'path',
  'host',
  'header',
  'principal',
  'source-ip',
  'port',
  'protocol',
  'plaintext',
  'custom',
];

/** Parses the line of `explain`. */
export function parseExplain(args: readonly string[]): Parsed<ExplainSettings> {
  return parse(EXPLAIN_USAGE, args, line => {
    const requests = read(line, 'requests', (name, text) =>
      readNonEmpty(name, text, 'a file, or - for standard input'),
    );
    const extra = DESCRIBING.find(name => line.values.has(name));
    if (requests !== null && extra)
      throw new WrongLine(`--${extra} describes a request; --requests reads them; keep one`);
    const port = read(line, 'port', (name, text) => readWhole(name, text, 1, 65_535));
    if (requests === null && port === null) throw new WrongLine('--port is needed, or --requests FILE');
    return {
      configPaths: all(line, 'config').map(text => readNonEmpty('--config', text, 'a file or a folder')),
      namespace: read(line, 'namespace', readName),
      labels: read(line, 'labels', readLabels) ?? {},
      requests,
      json: line.values.has('json'),
      expect: read(line, 'expect', (name, text) => readChoice(name, text, ['allow', 'deny'])),
      request: readRequest(line, port),
    };
  });
}

function readRequest(line: Line, port: number | null): ExplainedRequest {
  return {
    method: one(line, 'method'),
    path: one(line, 'path'),
    host: one(line, 'host'),
    headers: all(line, 'header').map(readHeader),
    principal: one(line, 'principal'),
    sourceIp: one(line, 'source-ip'),
    port,
    protocol: read(line, 'protocol', (name, text) =>
      readChoice(name, text, ['http', 'http2', 'grpc', 'tcp']),
    ),
    plaintext: line.values.has('plaintext'),
    custom: read(line, 'custom', (name, text) => readChoice(name, text, ['allow', 'deny'])),
  };
}

function readHeader(text: string): { name: string; value: string } {
  const [, name, value] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) return { name, value };
  throw new WrongLine(`--header must be 'NAME: VALUE', not ${JSON.stringify(text)}`);
}

function read<T>(line: Line, flag: string, as: (name: string, text: string) => T): T | null {
  const text = one(line, flag);
  return text === null ? null : as(`--${flag}`, text);
}
