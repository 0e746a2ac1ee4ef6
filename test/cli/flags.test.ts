import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseCheck, parseDemo, parseExplain } from '../../src/cli/command-flags.ts';
import { helpOf, type Parsed } from '../../src/cli/flags.ts';
import { parseInject } from '../../src/cli/inject-flags.ts';
import { parseRun, RUN_USAGE } from '../../src/cli/run-flags.ts';
import type { Environment } from '../../src/config/environment.ts';
import { parseDownwardLabels } from '../../src/config/pod-files.ts';
import type { RunSettings } from '../../src/config/settings.ts';

function run(line: string, environment: Environment = {}): Parsed<RunSettings> {
  return parseRun(line === '' ? [] : line.split(' '), environment);
}

/** The settings of a line that must be right. */
function settings(line: string, environment: Environment = {}): RunSettings {
  const parsed = run(line, environment);
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.value;
}

t.test('without flags, run listens on the ports of Istio and decides nothing else', async t => {
  const said = settings('', { OUTRIDER_CERTS: '/c' });
  t.same(said, {
    configPaths: [],
    certsDir: '/c',
    workloadApi: null,
    spiffeId: null,
    app: null,
    capture: 'redirect',
    inbound: { host: '0.0.0.0', port: 15006 },
    hbone: null,
    outbound: { host: '127.0.0.1', port: 15001 },
    admin: { host: '127.0.0.1', port: 15000 },
    health: { host: '0.0.0.0', port: 15021 },
    telemetry: { host: '0.0.0.0', port: 15020 },
    workers: null,
    namespace: null,
    serviceAccount: null,
    labels: said.labels,
    protocols: [],
    accessLog: null,
    dev: false,
    explainDenials: false,
    accessLogTls: false,
    compliancePolicy: null,
    expiredCrl: 'keep',
    drainSeconds: null,
    revalidationGraceSeconds: 5,
    adminHosts: [],
    logLevel: 'info',
    command: null,
    connectionLimit: 10_000,
    headerTimeoutMs: 10_000,
    handshakeTimeoutMs: 5_000,
    idleTimeoutMs: 3_600_000,
    responseTimeoutMs: 0,
    detectTimeoutMs: null,
  });
  t.same(structuredClone(said), said, 'settings cross threads');
});

t.test('every flag of run is taken, in both forms', async t => {
  const line =
    '--config a.yaml --config=b --certs /c --app 8080 --inbound [::1]:0 --outbound 15999 --admin localhost:1 ' +
    '--health 0.0.0.0:2 --telemetry=3 --workers 2 --namespace foo --service-account web --labels a=b,c=d= ' +
    '--protocol 80=http --protocol=81=tcp --access-log off --drain-seconds 0 --revalidation-grace-seconds 0 --admin-host x.example --log-level debug ' +
    '--max-connections 5 --header-timeout-ms 1 --handshake-timeout-ms 2 --idle-timeout-ms 0 --response-timeout-ms 4 ' +
    '--detect-timeout-ms 6 -- node --inspect app.js -- x';
  t.match(settings(line), {
    configPaths: ['a.yaml', 'b'],
    certsDir: '/c',
    app: { host: '127.0.0.1', port: 8080 },
    capture: null,
    inbound: { host: '::1', port: 0 },
    hbone: null,
    outbound: { host: '127.0.0.1', port: 15999 },
    admin: { host: 'localhost', port: 1 },
    health: { host: '0.0.0.0', port: 2 },
    telemetry: { host: '0.0.0.0', port: 3 },
    workers: 2,
    namespace: 'foo',
    serviceAccount: 'web',
    labels: { a: 'b', c: 'd=' },
    protocols: [
      { port: 80, protocol: 'http' },
      { port: 81, protocol: 'tcp' },
    ],
    accessLog: 'off',
    drainSeconds: 0,
    revalidationGraceSeconds: 0,
    adminHosts: ['x.example'],
    logLevel: 'debug',
    connectionLimit: 5,
    headerTimeoutMs: 1,
    handshakeTimeoutMs: 2,
    idleTimeoutMs: 0,
    responseTimeoutMs: 4,
    detectTimeoutMs: 6,
    command: ['node', '--inspect', 'app.js', '--', 'x'],
  });
});

t.test('the environment stands in for a flag, and a flag wins over it', async t => {
  const environment = {
    OUTRIDER_CONFIG: 'a,b',
    OUTRIDER_CERTS: '/c',
    OUTRIDER_DRAIN_SECONDS: '9',
    OUTRIDER_PROTOCOL: '80=http,81=tcp',
    OUTRIDER_WORKERS: '',
    OUTRIDER_INBOUND: '1',
  };
  t.match(settings('--inbound 2', environment), {
    configPaths: ['a', 'b'],
    drainSeconds: 9,
    protocols: [{ port: 80 }, { port: 81 }],
    workers: null,
    inbound: { port: 2 },
  });
});

t.test('a development run explains denials too; a switch may come from the environment', async t => {
  t.match(settings('--dev'), { dev: true, explainDenials: true });
  t.match(settings('--explain-denials'), { dev: false, explainDenials: true });
  t.match(settings('', { OUTRIDER_EXPLAIN_DENIALS: 'true' }), { dev: false, explainDenials: true });
  t.match(settings('', { OUTRIDER_DEV: '1' }), { dev: true, explainDenials: true });
  t.match(settings('', { OUTRIDER_DEV: 'off', OUTRIDER_EXPLAIN_DENIALS: '' }), {
    dev: false,
    explainDenials: false,
  });
});

const WRONG: readonly (readonly [line: string, environment: Environment, message: RegExp])[] = [
  ['--frob', {}, /^run: unknown flag --frob; outrider run --help lists them$/],
  ['--confg x', {}, /^run: unknown flag --confg; did you mean --config\? outrider run --help lists them$/],
  ['-x', {}, /^run: unknown flag -x/],
  ['frob', {}, /^run: unexpected "frob"; the app to start goes after --$/],
  ['--dev=yes', {}, /^run: --dev takes no value$/],
  ['', { OUTRIDER_DEV: 'maybe' }, /^run: OUTRIDER_DEV must be true or false, not "maybe"$/],
  ['--app', {}, /^run: --app needs a value; write --app=\[HOST:\]PORT$/],
  ['--app --certs=/c', {}, /^run: --app needs a value/],
  ['--app 0', {}, /^run: --app must be \[HOST:\]PORT/],
  ['--inbound 65536', {}, /^run: --inbound must be .*not "65536"$/],
  ['--inbound ::1:80', {}, /^run: --inbound must be .*IPv6 as \[::1\]:80/],
  ['--inbound a b', {}, /^run: unexpected "b"/],
  ['--inbound=', {}, /^run: --inbound must be/],
  ['--inbound 1 --inbound 2', {}, /^run: --inbound is given twice; keep one$/],
  ['--workers 0', {}, /^run: --workers must be a whole number from 1 to 256, not "0"$/],
  ['--workers 1.5', {}, /^run: --workers must be a whole number/],
  ['--workers 1e1', {}, /^run: --workers must be a whole number/],
  ['--workers -1', {}, /^run: --workers needs a value/],
  ['--workers=-1', {}, /^run: --workers must be a whole number/],
  ['--labels a', {}, /^run: --labels must be key=value,key=value, not "a"$/],
  ['--labels a=1,a=2', {}, /^run: --labels has "a" twice; keep one$/],
  ['--protocol 80', {}, /^run: --protocol must be PORT=http/],
  ['--protocol 0=http', {}, /^run: --protocol must be PORT=http/],
  ['--protocol 80=HTTP', {}, /^run: --protocol must be PORT=http/],
  ['--access-log on', {}, /^run: --access-log must be one of off, text, json, not "on"$/],
  ['--drain-seconds 5s', {}, /^run: --drain-seconds must be a whole number/],
  ['--namespace a/b', {}, /^run: --namespace must be a Kubernetes name/],
  ['--config=', {}, /^run: --config must be a file or a folder; it is empty$/],
  ['--log-level trace', {}, /^run: --log-level must be one of/],
  ['--header-timeout-ms 0', {}, /^run: --header-timeout-ms must be a whole number from 1/],
  ['--', {}, /^run: -- must be followed by the command to start$/],
  ['', { OUTRIDER_INBOUND: 'x' }, /^run: OUTRIDER_INBOUND must be \[HOST:\]PORT/],
  ['', { OUTRIDER_CONFIG: 'a,,b' }, /^run: OUTRIDER_CONFIG must be a file or a folder; it is empty$/],
  [
    '--workload-api /run/api.sock',
    {},
    /^run: --workload-api must be unix:\/\/\/PATH or tcp:\/\/IP:PORT, not "\/run/,
  ],
  ['', { SPIFFE_ENDPOINT_SOCKET: 'unix://host/x' }, /^run: SPIFFE_ENDPOINT_SOCKET must be unix:/],
  ['', { OUTRIDER_WORKLOAD_API: 'tcp://localhost:1' }, /^run: OUTRIDER_WORKLOAD_API must be unix:/],
  ['--certs /c --workload-api unix:///x', {}, /^run: --certs and --workload-api both say .*; give one$/],
  [
    '',
    { OUTRIDER_CERTS: '/c', OUTRIDER_WORKLOAD_API: 'unix:///x' },
    /^run: --certs and --workload-api both say/,
  ],
  ['--workload-api unix:///x --spiffe-id web', {}, /^run: --spiffe-id must be a SPIFFE ID such as/],
  [
    '--certs /c --spiffe-id spiffe://a/b',
    {},
    /^run: --spiffe-id names an SVID of a Workload API; give --workload-api$/,
  ],
];

for (const [line, environment, message] of WRONG) {
  t.test(`run ${line} ${JSON.stringify(environment)} is exit code 2 and one line that names it`, async t => {
    const parsed = run(line, environment);
    t.match(parsed, { ok: false, exitCode: 2, message });
    t.notOk(!parsed.ok && parsed.message.includes('\n'), 'one line');
  });
}

const API = { address: 'unix:///x', target: 'unix:/x' };

/** Line and environment → where the identity comes from. */
const IDENTITY_FROM: readonly (readonly [string, Environment, Partial<RunSettings>])[] = [
  ['--workload-api unix:///x', {}, { workloadApi: API, certsDir: null, spiffeId: null }],
  ['', { SPIFFE_ENDPOINT_SOCKET: 'unix:///x' }, { workloadApi: API, certsDir: null }],
  ['', { OUTRIDER_WORKLOAD_API: 'unix:///x', SPIFFE_ENDPOINT_SOCKET: 'unix:///y' }, { workloadApi: API }],
  ['--workload-api unix:///x', { OUTRIDER_CERTS: '/c' }, { workloadApi: API, certsDir: null }],
  ['--certs /c', { OUTRIDER_WORKLOAD_API: 'unix:///x' }, { workloadApi: null, certsDir: '/c' }],
  ['--certs /c', { SPIFFE_ENDPOINT_SOCKET: 'unix:///x' }, { workloadApi: null, certsDir: '/c' }],
  ['', { OUTRIDER_CERTS: '/c', SPIFFE_ENDPOINT_SOCKET: 'unix:///x' }, { workloadApi: null, certsDir: '/c' }],
  ['--spiffe-id spiffe://a/b', { SPIFFE_ENDPOINT_SOCKET: 'unix:///x' }, { spiffeId: 'spiffe://a/b' }],
];

for (const [line, environment, expected] of IDENTITY_FROM) {
  t.test(`run ${line} ${JSON.stringify(environment)} takes the identity from there`, async t => {
    t.match(settings(line, environment), expected);
  });
}

t.test('the help of run names every flag and its default', async t => {
  const help = run('--help');
  t.match(help, { ok: false, exitCode: 0 });
  for (const { name } of RUN_USAGE.flags) t.match(!help.ok && help.message, `--${name}`);
  t.match(!help.ok && help.message, /--inbound \[HOST:\]PORT\s+inbound listener; default 0\.0\.0\.0:15006/);
  t.match(run('--nonsense -h'), { ok: false, exitCode: 0 }, 'help wins over a fault');
  t.match(settings('-- app --help'), { command: ['app', '--help'] }, "the app's flags are its own");
});

t.test('check takes paths and --json', async t => {
  t.same(parseCheck(['--json', 'a', 'b']), {
    ok: true,
    value: { paths: ['a', 'b'], json: true, workload: null },
  });
  t.match(parseCheck([]), { ok: false, exitCode: 2, message: /^check: name at least one PATH/ });
  t.match(parseCheck(['a', '--json=x']), { ok: false, message: 'check: --json takes no value' });
  t.match(parseCheck(['a', '--', 'b']), { ok: false, message: /^check: -- is not understood here/ });
});

t.test('check takes the labels of a workload, and its namespace beside them', async t => {
  t.match(parseCheck(['a', '--labels', 'app=web,v=1']), {
    ok: true,
    value: { workload: { namespace: 'default', labels: { app: 'web', v: '1' } } },
  });
  t.match(parseCheck(['a', '--labels=app=web', '--namespace=foo']), {
    ok: true,
    value: { workload: { namespace: 'foo', labels: { app: 'web' } } },
  });
  t.match(parseCheck(['a', '--namespace=foo']), {
    ok: false,
    message: /^check: --namespace is where the workload/,
  });
  t.match(parseCheck(['a', '--labels=app']), { ok: false, message: /^check: --labels must be key=value/ });
});

t.test('demo takes --once', async t => {
  t.same(parseDemo(['--once']), { ok: true, value: { once: true } });
  t.match(parseDemo(['x']), { ok: false, exitCode: 2, message: 'demo: unexpected "x"' });
});

t.test('explain takes a file of requests, or flags that describe one', async t => {
  t.match(parseExplain(['--config', 'a', '--requests', '-', '--json']), {
    ok: true,
    value: { configPaths: ['a'], requests: '-', json: true, expect: null, labels: {}, namespace: null },
  });
  const line = [
    '--port',
    '80',
    '--method',
    'GET',
    '--header',
    'X-A: b: c ',
    '--plaintext',
    '--expect',
    'deny',
  ];
  t.match(parseExplain(line), {
    ok: true,
    value: {
      expect: 'deny',
      request: {
        port: 80,
        method: 'GET',
        headers: [{ name: 'X-A', value: 'b: c' }],
        plaintext: true,
        path: null,
      },
    },
  });
  t.match(parseExplain([]), { ok: false, message: /^explain: --port is needed, or --requests/ });
  t.match(parseExplain(['--requests', 'f', '--port', '80']), {
    ok: false,
    message: /--port describes a request/,
  });
  t.match(parseExplain(['--port', '80', '--header', 'x']), {
    ok: false,
    message: /--header must be 'NAME: VALUE'/,
  });
  t.match(parseExplain(['--port', '80', '--expect', 'maybe']), {
    ok: false,
    message: /--expect must be one of/,
  });
});

t.test('a revocation list that is out of date is gone by, unless it is said otherwise', async t => {
  t.equal(settings('').expiredCrl, 'keep');
  t.equal(settings('--expired-crl refuse').expiredCrl, 'refuse');
  t.equal(settings('', { OUTRIDER_EXPIRED_CRL: 'refuse' }).expiredCrl, 'refuse');
  t.match(run('--certs=/c --expired-crl drop'), {
    message: /--expired-crl must be one of keep, refuse, not "drop"/,
  });
});

t.test('a compliance policy has a name of Istio, by flag or variable', async t => {
  t.equal(settings('--compliance-policy pqc').compliancePolicy, 'pqc');
  const variable = { OUTRIDER_COMPLIANCE_POLICY: 'fips-140-2', OUTRIDER_ACCESS_LOG_TLS: 'true' };
  t.match(settings('', variable), { compliancePolicy: 'fips-140-2', accessLogTls: true });
  t.equal(settings('--compliance-policy fips-140-3', variable).compliancePolicy, 'fips-140-3');
  t.match(run('--certs=/c --compliance-policy fips'), {
    ok: false,
    exitCode: 2,
    message: /--compliance-policy must be one of fips-140-2, fips-140-3, pqc, not "fips"/,
  });
});

t.test('the app is never the own inbound port', async t => {
  for (const word of [
    '--app 15006',
    '--app localhost:15006',
    '--app 9000 --inbound 9000',
    '--app [::1]:15006',
  ]) {
    t.match(run(`--certs=/c ${word}`), { ok: false, exitCode: 2, message: /own inbound port/ }, word);
  }
  t.match(run('--certs=/c --app 10.0.0.9:15006'), { ok: true }, 'on another host it is another port');
});

t.test('inject reads files and what the sidecar is made of', async t => {
  t.match(parseInject(['-f', '-']), {
    ok: true,
    value: {
      files: ['-'],
      identity: 'csi',
      imagePullPolicy: null,
      configMap: null,
      classic: false,
      template: null,
    },
  });
  const line =
    '-f a.yaml -f b.yaml --identity spire --spire-socket agent.sock --config-map policies --image x/y:1';
  t.match(parseInject(line.split(' ')), {
    ok: true,
    value: { files: ['a.yaml', 'b.yaml'], spireSocket: 'agent.sock', configMap: 'policies', image: 'x/y:1' },
  });
  for (const [wrong, message] of [
    ['', /-f FILE is needed/],
    ['-f - -f -', /given twice/],
    ['-f a --identity vault', /--identity must be one of csi, spire, secret/],
    ['-f a --spire-socket s', /goes with --identity spire/],
    ['-f a --identity spire --spire-socket ../s', /must be the name of a file/],
    ['-f a --config-map a/b', /must be a Kubernetes name/],
    ['-f a --image-pull-policy sometimes', /must be one of Always/],
  ] as const) {
    t.match(parseInject(wrong.split(' ').filter(Boolean)), { ok: false, exitCode: 2, message }, wrong);
  }
});

t.test('no word of a line makes the parser throw or trip over a prototype', async t => {
  for (const word of [
    '--__proto__',
    '--toString',
    '--constructor=x',
    '-',
    '---',
    '--=',
    '-=x',
    '',
    '--no-config',
  ]) {
    t.match(run(`--certs=/c ${word}`), { ok: false, exitCode: 2 }, word);
  }
  t.same(Object.keys(settings('--certs=/c --labels __proto__=x').labels), ['__proto__']);
});

t.test("a pod's labels are read in the downward API's form", async t => {
  t.same(
    parseDownwardLabels('app="web"\nversion="v1"\nnote="a \\"b\\" \\u00e9"\nempty=""\n\nbroken\nbad="x\n'),
    {
      app: 'web',
      version: 'v1',
      note: 'a "b" é',
      empty: '',
    },
  );
});

t.test('certificates are looked for where they are not named', async t => {
  const { findCertsDir } = await import('../../src/config/pod-files.ts');
  const root = mkdtempSync(join(tmpdir(), 'outrider-certs-'));
  for (const [dir, files] of [
    ['half', ['key.pem', 'cert-chain.pem']],
    ['whole', ['key.pem', 'cert-chain.pem', 'root-cert.pem']],
  ] as const) {
    mkdirSync(join(root, dir));
    for (const file of files) writeFileSync(join(root, dir, file), '');
  }
  t.equal(findCertsDir([join(root, 'none'), join(root, 'half'), join(root, 'whole')]), join(root, 'whole'));
  t.equal(findCertsDir([join(root, 'half')]), null);
});

t.test('a help text keeps long flags readable', async t => {
  t.matchOnly(helpOf(RUN_USAGE).split('\n').length, Number);
  for (const line of helpOf(RUN_USAGE).split('\n')) t.ok(line.length <= 150, line);
});
