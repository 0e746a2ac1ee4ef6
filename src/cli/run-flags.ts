import { type Environment, flagVariable, variableName } from '../config/environment.ts';
import {
  CERTS_DIRS,
  findCertsDir,
  findWorkloadSocket,
  readPodLabels,
  WORKLOAD_SOCKET,
} from '../config/pod-files.ts';
import {
  type CompliancePolicy,
  DEFAULT_LIMITS,
  DEFAULT_LISTENERS,
  type Limits,
  type RunSettings,
} from '../config/settings.ts';
import {
  readChoice,
  readHostPort,
  readLabels,
  readName,
  readNonEmpty,
  readProtocol,
  readSpiffeId,
  readSwitch,
  readWhole,
  readWorkloadEndpoint,
} from './flag-values.ts';
import { type Line, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

const EXPIRED_CRL = ['keep', 'refuse'] as const;
const CAPTURES = ['redirect', 'tproxy', 'off'] as const;
const POLICIES = ['fips-140-2', 'fips-140-3', 'pqc'] as const satisfies readonly CompliancePolicy[];

type Listener = keyof typeof DEFAULT_LISTENERS;

const MAX_DRAIN_SECONDS = 86_400; // a day
const GRACE_SECONDS = 5; // longer than most requests take
const MAX_TIMEOUT_MS = 86_400_000;
const MAX_WORKERS = 256;
const MAX_CONNECTIONS = 1_000_000;

/** The limits that have a flag: setting, flag, least value, what it says. */
const LIMIT_FLAGS = [
  ['connectionLimit', 'max-connections', 1, 'open connections of a worker; more are closed at once'],
  ['headerTimeoutMs', 'header-timeout-ms', 1, 'how long a header section may take'],
  ['handshakeTimeoutMs', 'handshake-timeout-ms', 1, 'how long a TLS handshake may take'],
  ['idleTimeoutMs', 'idle-timeout-ms', 0, 'how long a connection may be idle; 0 = for ever'],
  ['responseTimeoutMs', 'response-timeout-ms', 0, 'how long a response may let wait; 0 = for ever'],
] as const satisfies readonly (readonly [keyof Limits, string, number, string])[];

export const RUN_USAGE: Usage = {
  command: 'run',
  synopsis: 'run [flags] [-- CMD ARG…]',
  about:
    'Runs the sidecar. With -- CMD, starts the app once the sidecar is ready, forwards signals to it and exits with its\n' +
    'code. Each flag has an environment variable (--drain-seconds: OUTRIDER_DRAIN_SECONDS; commas between several values);\n' +
    'a flag wins over the environment, the environment over the mesh config.',
  positionals: null,
  takesCommand: true,
  flags: [
    {
      name: 'config',
      value: 'PATH',
      many: true,
      help: 'a YAML file or a folder of them: Istio resources and one mesh config; watched (repeatable)',
    },
    {
      name: 'certs',
      value: 'DIR',
      help: `cert-chain.pem, key.pem, root-cert.pem (and crl.pem); watched; default the first of\n${CERTS_DIRS.join(', ')} that holds them`,
    },
    {
      name: 'workload-api',
      value: 'ADDRESS',
      help: `identity from a SPIFFE Workload API instead: unix:///PATH or tcp://IP:PORT; without --certs, default\nSPIFFE_ENDPOINT_SOCKET, else ${WORKLOAD_SOCKET} where there is one`,
    },
    {
      name: 'spiffe-id',
      value: 'ID',
      help: 'which SVID of the Workload API, when there are several; default its first',
    },
    {
      name: 'app',
      value: '[HOST:]PORT',
      help: 'where inbound traffic goes, whatever its port; default the port it was redirected from',
    },
    {
      name: 'capture',
      value: 'redirect|tproxy|off',
      help: 'how connections come that were addressed to somebody else (outrider capture): by REDIRECT, by TPROXY, or\nnone do; default redirect without --app, off with it',
    },
    listener('inbound', 'inbound listener'),
    {
      name: 'hbone',
      value: '[HOST:]PORT',
      help: 'HBONE listener, HTTP/2 CONNECT over mutual TLS; Istio has it at 15008; default none',
    },
    listener('outbound', 'outbound listener'),
    listener('admin', 'admin and console'),
    listener('health', '/healthz/ready and /healthz/live'),
    listener('telemetry', '/stats/prometheus'),
    { name: 'workers', value: 'N', help: 'data-plane threads; default the CPU limit rounded up, at most 4' },
    { name: 'namespace', value: 'NAME', help: "for policy selection; default from the workload's SPIFFE ID" },
    { name: 'service-account', value: 'NAME', help: "default from the workload's SPIFFE ID" },
    {
      name: 'labels',
      value: 'K=V,…',
      help: 'for selectors; default /etc/istio/pod/labels or /etc/podinfo/labels',
    },
    {
      name: 'protocol',
      value: 'PORT=http|http2|tcp|auto',
      many: true,
      help: "the app's protocol on a workload port; default auto (repeatable)",
    },
    {
      name: 'access-log',
      value: 'off|text|json',
      help: "default the mesh config's, else json on standard output",
    },
    {
      name: 'access-log-tls',
      value: null,
      help: 'the access log says what TLS negotiated (JSON: tls_cipher, tls_group)',
    },
    {
      name: 'explain-denials',
      value: null,
      help: 'the JSON access log says of each denied request which rules were considered: policy_trace',
    },
    {
      name: 'dev',
      value: null,
      help: 'a development run: --explain-denials, and 401 and 403 answers carry x-outrider-decision.\nNot for production: callers learn the names of policies',
    },
    {
      name: 'compliance-policy',
      value: POLICIES.join('|'),
      help: "Istio's COMPLIANCE_POLICY: restricts every TLS connection, whatever the mesh config says",
    },
    {
      name: 'expired-crl',
      value: EXPIRED_CRL.join('|'),
      help: 'a revocation list that is out of date, and no newer one came: keep goes by it (default), refuse\nlets no peer of its CA in',
    },
    { name: 'drain-seconds', value: 'N', help: 'how long SIGTERM waits for requests in flight; default 5' },
    {
      name: 'revalidation-grace-seconds',
      value: 'N',
      help: `how long an open connection may go on whose peer or policy speaks against it now (expired, revoked,\nno longer trusted, denied); 0 = it is closed at once; default ${GRACE_SECONDS}`,
    },
    {
      name: 'admin-host',
      value: 'NAME',
      many: true,
      help: 'a Host that admin answers besides loopback (repeatable)',
    },
    { name: 'log-level', value: 'debug|info|warn|error', help: 'default info' },
    {
      name: 'detect-timeout-ms',
      value: 'N',
      help: "how long to wait for the first bytes that tell the protocol; 0 = for ever; default the mesh config's\nprotocolDetectionTimeout, else 5000",
    },
    ...LIMIT_FLAGS.map(([setting, name, , help]) => ({
      name,
      value: 'N',
      help: `${help}; default ${DEFAULT_LIMITS[setting]}`,
    })),
  ],
};

/** Parses the line of `run` with the environment behind it; looks for certificates and labels where none are named. */
export function parseRun(args: readonly string[], environment: Environment): Parsed<RunSettings> {
  return parse(RUN_USAGE, args, line => build(new Source(line, environment)));
}

function listener(name: Listener, help: string): Usage['flags'][number] {
  const { host, port } = DEFAULT_LISTENERS[name];
  return { name, value: '[HOST:]PORT', help: `${help}; default ${host}:${port}` };
}

/** Flags first, then the environment: each value with the name that a message must give. */
class Source {
  readonly line: Line;
  readonly environment: Environment;

  constructor(line: Line, environment: Environment) {
    this.line = line;
    this.environment = environment;
  }

  /** What `read` makes of the value; null when neither says anything. */
  read<T>(flag: string, read: (name: string, text: string) => T): T | null {
    const [given] = this.line.values.get(flag) ?? [];
    if (given !== undefined) return read(`--${flag}`, given);
    const text = flagVariable(this.environment, flag);
    return text === null ? null : read(variableName(flag), text);
  }

  /** Whether the line itself has the flag. */
  isGiven(flag: string): boolean {
    return this.line.values.has(flag);
  }

  /** Whether a switch is on; its variable says true or false. */
  isSet(flag: string): boolean {
    if (this.line.values.has(flag)) return true;
    const text = flagVariable(this.environment, flag);
    return text !== null && readSwitch(variableName(flag), text);
  }

  /** Every value of a repeatable flag; commas stand between those of the environment. */
  readAll<T>(flag: string, read: (name: string, text: string) => T): readonly T[] {
    const given = this.line.values.get(flag);
    if (given) return given.map(text => read(`--${flag}`, text));
    const text = flagVariable(this.environment, flag);
    return text === null ? [] : text.split(',').map(part => read(variableName(flag), part));
  }
}

/** An app that is Outrider's own inbound port would be asked by itself, without end. */
function refuseLoop(app: RunSettings['app'], inbound: RunSettings['inbound']): void {
  if (app === null || app.port !== inbound.port) return;
  const own = ['localhost', '127.0.0.1', '::1', inbound.host];
  if (own.includes(app.host))
    throw new WrongLine(`--app ${app.port} is Outrider's own inbound port; give the app's`);
}

function build(source: Source): RunSettings {
  const at = (name: Listener): RunSettings['inbound'] =>
    source.read(name, (flag, text) => readHostPort(flag, text, DEFAULT_LISTENERS[name].host)) ??
    DEFAULT_LISTENERS[name];
  const app = source.read('app', (name, text) => readHostPort(name, text, '127.0.0.1', false));
  const inbound = at('inbound');
  const dev = source.isSet('dev');
  refuseLoop(app, inbound);
  return {
    configPaths: source.readAll('config', (name, text) => readNonEmpty(name, text, 'a file or a folder')),
    ...readIdentity(source),
    app,
    capture: readCapture(source, app),
    inbound,
    hbone: source.read('hbone', (flag, text) => readHostPort(flag, text, DEFAULT_LISTENERS.inbound.host)),
    outbound: at('outbound'),
    admin: at('admin'),
    health: at('health'),
    telemetry: at('telemetry'),
    workers: source.read('workers', (name, text) => readWhole(name, text, 1, MAX_WORKERS)),
    namespace: source.read('namespace', readName),
    serviceAccount: source.read('service-account', readName),
    labels: source.read('labels', readLabels) ?? readPodLabels(),
    protocols: source.readAll('protocol', readProtocol),
    accessLog: source.read('access-log', (name, text) => readChoice(name, text, ['off', 'text', 'json'])),
    dev,
    explainDenials: dev || source.isSet('explain-denials'),
    accessLogTls: source.isSet('access-log-tls'),
    compliancePolicy: source.read('compliance-policy', (name, text) => readChoice(name, text, POLICIES)),
    expiredCrl: source.read('expired-crl', (name, text) => readChoice(name, text, EXPIRED_CRL)) ?? 'keep',
    drainSeconds: source.read('drain-seconds', (name, text) => readWhole(name, text, 0, MAX_DRAIN_SECONDS)),
    revalidationGraceSeconds:
      source.read('revalidation-grace-seconds', (name, text) =>
        readWhole(name, text, 0, MAX_DRAIN_SECONDS),
      ) ?? GRACE_SECONDS,
    adminHosts: source.readAll('admin-host', (name, text) => readNonEmpty(name, text, 'a host name')),
    logLevel:
      source.read('log-level', (name, text) => readChoice(name, text, ['debug', 'info', 'warn', 'error'])) ??
      'info',
    detectTimeoutMs: source.read('detect-timeout-ms', (name, text) =>
      readWhole(name, text, 0, MAX_TIMEOUT_MS),
    ),
    command: source.line.command,
    ...readLimits(source),
  };
}

/** What is redirected is for the port that it was going to; who names the app's port does not count on it. */
function readCapture(source: Source, app: RunSettings['app']): RunSettings['capture'] {
  const said = source.read('capture', (name, text) => readChoice(name, text, CAPTURES));
  if (said === 'off') return null;
  if (said !== null) return said;
  return app === null ? 'redirect' : null;
}

function readLimits(source: Source): Limits {
  const limits: { -readonly [K in keyof Limits]: number } = { ...DEFAULT_LIMITS };
  for (const [setting, flag, min] of LIMIT_FLAGS) {
    const max = setting === 'connectionLimit' ? MAX_CONNECTIONS : MAX_TIMEOUT_MS;
    limits[setting] = source.read(flag, (name, text) => readWhole(name, text, min, max)) ?? limits[setting];
  }
  return limits;
}

/** Where the identity comes from: what is named by a flag, else by a variable, else what the pod has. */
function readIdentity(source: Source): Pick<RunSettings, 'certsDir' | 'workloadApi' | 'spiffeId'> {
  const spiffeId = source.read('spiffe-id', readSpiffeId);
  const certs = source.read('certs', (name, text) => readNonEmpty(name, text, 'a folder'));
  const named = source.read('workload-api', readWorkloadEndpoint);
  if (certs !== null && named !== null && source.isGiven('certs') === source.isGiven('workload-api')) {
    throw new WrongLine('--certs and --workload-api both say where the identity comes from; give one');
  }
  const api = certs === null || source.isGiven('workload-api') ? (named ?? foundApi(source)) : null;
  if (api !== null) return { certsDir: null, workloadApi: api, spiffeId };
  if (spiffeId !== null)
    throw new WrongLine('--spiffe-id names an SVID of a Workload API; give --workload-api');
  return { certsDir: certs ?? findCertsDir(), workloadApi: null, spiffeId };
}

/** SPIFFE's own variable, else Istio's socket. */
function foundApi(source: Source): RunSettings['workloadApi'] {
  const said = source.environment.SPIFFE_ENDPOINT_SOCKET;
  if (said) return readWorkloadEndpoint('SPIFFE_ENDPOINT_SOCKET', said);
  const socket = findWorkloadSocket();
  return socket === null ? null : readWorkloadEndpoint(WORKLOAD_SOCKET, socket);
}
