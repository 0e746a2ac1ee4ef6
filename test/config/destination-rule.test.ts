import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('networking.istio.io/v1beta1', 'DestinationRule');
const HERE = fileURLToPath(import.meta.url); // a file that exists
const tls = (inner: string): string => `{host: a.com, trafficPolicy: {tls: ${inner}}}`;
const pool = (inner: string): string => `{host: a.com, trafficPolicy: {connectionPool: ${inner}}}`;

const CASES: readonly Case[] = [
  { title: 'a host alone', text: '{host: a.com}' },
  { title: 'a short host and a wildcard', text: '{host: "*.a.com"}' },
  { title: 'a host is needed', text: '§{}', faults: ['error spec.host: must be set'] },
  {
    title: 'a host is a DNS name',
    text: '{host: §a_b}',
    faults: ['error spec.host: "a_b" is not a DNS name'],
  },
  {
    title: 'a policy says something',
    text: '{host: a.com, trafficPolicy: §{}}',
    faults: ['error spec.trafficPolicy: is empty; write one of tls, connectionPool'],
  },
  {
    title: 'ISTIO_MUTUAL with names',
    text: tls('{mode: ISTIO_MUTUAL, sni: x.com, subjectAltNames: [spiffe://a/b]}'),
  },
  {
    title: 'ISTIO_MUTUAL uses the workload certificate: no other files',
    text: tls(
      `{mode: ISTIO_MUTUAL, clientCertificate: §${HERE}, caCertificates: §${HERE}, insecureSkipVerify: §true}`,
    ),
    faults: [
      'error spec.trafficPolicy.tls.clientCertificate: must not be set with ISTIO_MUTUAL',
      'error spec.trafficPolicy.tls.caCertificates: must not be set with ISTIO_MUTUAL',
      'error spec.trafficPolicy.tls.insecureSkipVerify: must not be set with ISTIO_MUTUAL',
    ],
  },
  {
    title: 'MUTUAL needs a certificate and a key',
    text: tls('§§{mode: MUTUAL}'),
    faults: [
      'error spec.trafficPolicy.tls.clientCertificate: must be set with MUTUAL',
      'error spec.trafficPolicy.tls.privateKey: must be set with MUTUAL',
    ],
  },
  {
    title: 'MUTUAL with its files',
    text: tls(`{mode: MUTUAL, clientCertificate: ${HERE}, privateKey: ${HERE}}`),
  },
  {
    title: 'a file that is not there is a warning',
    text: tls('{mode: SIMPLE, caCertificates: §/no/such/file.pem}'),
    faults: ['warning spec.trafficPolicy.tls.caCertificates: the file /no/such/file.pem does not exist'],
  },
  {
    title: 'SIMPLE presents no certificate',
    text: tls(`{mode: SIMPLE, clientCertificate: §${HERE}}`),
    faults: ['warning spec.trafficPolicy.tls.clientCertificate: is not used with SIMPLE'],
  },
  {
    title: 'tls without a mode is DISABLE: a warning',
    text: tls('§{}'),
    faults: ['warning spec.trafficPolicy.tls: has no mode, which means DISABLE'],
  },
  {
    title: 'names beside DISABLE have no effect: a warning',
    text: tls('{mode: §DISABLE, subjectAltNames: [a]}'),
    faults: ['warning spec.trafficPolicy.tls.mode: is DISABLE: plaintext'],
  },
  {
    title: 'skipping verification excludes what would verify',
    text: tls('{mode: SIMPLE, insecureSkipVerify: §true, subjectAltNames: [a]}'),
    faults: [
      'error spec.trafficPolicy.tls.insecureSkipVerify: excludes caCertificates, caCrl and subjectAltNames',
    ],
  },
  {
    title: 'skipping verification excludes revocation lists',
    text: tls(`{mode: SIMPLE, insecureSkipVerify: §true, caCrl: ${HERE}}`),
    faults: ['error spec.trafficPolicy.tls.insecureSkipVerify: excludes caCertificates, caCrl'],
  },
  {
    title: 'revocation lists are a file; not with ISTIO_MUTUAL, which has its own',
    text: tls('{mode: ISTIO_MUTUAL, caCrl: §§/no/such/crl.pem}'),
    faults: [
      'error spec.trafficPolicy.tls.caCrl: must not be set with ISTIO_MUTUAL',
      'warning spec.trafficPolicy.tls.caCrl: the file /no/such/crl.pem does not exist',
    ],
  },
  {
    title: 'what would weaken TLS if it were passed over is refused',
    text: tls('{mode: SIMPLE, §credentialName: x}'),
    faults: ['error spec.trafficPolicy.tls.credentialName: not supported yet; refused'],
  },
  {
    title: 'a misspelt field of tls is refused',
    text: tls('{mode: SIMPLE, §subjectAltName: [a]}'),
    faults: ['error spec.trafficPolicy.tls.subjectAltName: unknown field; did you mean subjectAltNames?'],
  },
  {
    title: 'durations as Go writes them',
    text: pool('{tcp: {connectTimeout: 1h30m0.5s, idleTimeout: 0s}, http: {idleTimeout: 500ms}}'),
  },
  {
    title: 'durations have a unit, and a whole number of milliseconds',
    text: pool('{tcp: {connectTimeout: §"10", idleTimeout: §1us}, http: {idleTimeout: §0s}}'),
    faults: [
      'error spec.trafficPolicy.connectionPool.tcp.connectTimeout: "10" is not a duration such as 10s',
      'error spec.trafficPolicy.connectionPool.tcp.idleTimeout: "1us" must be a whole number of milliseconds',
      'error spec.trafficPolicy.connectionPool.http.idleTimeout: "0s" must be a whole number of milliseconds, at least 1ms',
    ],
  },
  {
    title: 'a pool says something',
    text: pool('§{}'),
    faults: ['error spec.trafficPolicy.connectionPool: is empty; write tcp or http'],
  },
  {
    title: 'limits are not negative',
    text: pool('{tcp: {maxConnections: §-1}}'),
    faults: ['error spec.trafficPolicy.connectionPool.tcp.maxConnections: must be from 0'],
  },
  {
    title: 'which HTTP is spoken, and how much of it at a time',
    text: pool(
      '{http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true, http2MaxRequests: 10, maxConcurrentStreams: 5, http2KeepAlive: {interval: 30s, timeout: 5s}}}',
    ),
  },
  {
    title: 'words of an enum, and types',
    text: pool('{http: {h2UpgradePolicy: §ALWAYS, useClientProtocol: §"true", maxConcurrentStreams: §-1}}'),
    faults: [
      'error spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: "ALWAYS" is not one of DEFAULT, DO_NOT_UPGRADE, UPGRADE',
      'error spec.trafficPolicy.connectionPool.http.useClientProtocol: must be true or false',
      'error spec.trafficPolicy.connectionPool.http.maxConcurrentStreams: must be from 0',
    ],
  },
  {
    title: 'PING has an interval and a timeout',
    text: pool('{http: {http2KeepAlive: §{interval: §0s}}}'),
    faults: [
      'error spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: must be set',
      'error spec.trafficPolicy.connectionPool.http.http2KeepAlive.interval: "0s" must be a whole number of milliseconds',
    ],
  },
  {
    title: 'outlier detection has a share from 0 to 100',
    text: '{host: a.com, trafficPolicy: {outlierDetection: {maxEjectionPercent: §101}}}',
    faults: ['error spec.trafficPolicy.outlierDetection.maxEjectionPercent: must be from 0 to 100, not 101'],
  },
  {
    title: 'balancers have names',
    text: '{host: a.com, trafficPolicy: {loadBalancer: {simple: §LEAST_REQUESTS}}}',
    faults: ['error spec.trafficPolicy.loadBalancer.simple: "LEAST_REQUESTS" is not one of'],
  },
  {
    title: 'ports have a number and say something',
    text: '{host: a.com, trafficPolicy: {portLevelSettings: [§{port: {number: 80}}, §{tls: {mode: SIMPLE}}]}}',
    faults: [
      'error spec.trafficPolicy.portLevelSettings[0]: is empty',
      'error spec.trafficPolicy.portLevelSettings[1]: needs port: {number: N}',
    ],
  },
  {
    title: 'what is not honoured is a warning that names the field',
    text: '{host: a.com, §subsets: [{name: v1}], §exportTo: [.], trafficPolicy: {loadBalancer: {§consistentHash: {useSourceIp: true}}, §retryBudget: {}}}',
    faults: [
      'warning spec.subsets: not honoured; it has no effect',
      'warning spec.exportTo: not honoured',
      'warning spec.trafficPolicy.loadBalancer.consistentHash: not honoured',
      'warning spec.trafficPolicy.retryBudget: not honoured',
    ],
  },
  {
    title: 'tunnels are refused: traffic would go elsewhere',
    text: '{host: a.com, trafficPolicy: {§tunnel: {targetHost: b.com, targetPort: 1}}}',
    faults: ['error spec.trafficPolicy.tunnel: not supported yet; refused'],
  },
];

runCases(CASES, wrap);

t.test('a rule comes out as data, with the defaults of Istio where a block is there', async t => {
  const result = loadText(
    wrap(
      '{host: a.com, workloadSelector: {matchLabels: {app: web}}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://a]}, outlierDetection: {}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: LEAST_CONN}, connectionPool: {tcp: {connectTimeout: 1.5s, maxConnections: 0}}}]}}',
    ),
  );
  const [rule] = result.ok ? result.resources.destinationRules : [];
  t.match(rule, { host: 'a.com', selector: { app: 'web' } });
  t.same(rule?.trafficPolicy, {
    tls: {
      mode: 'ISTIO_MUTUAL',
      sni: null,
      subjectAltNames: ['spiffe://a'],
      clientCertificate: null,
      privateKey: null,
      caCertificates: null,
      caCrl: null,
      insecureSkipVerify: false,
    },
    connectionPool: null,
    loadBalancer: null,
    outlierDetection: {
      consecutive5xxErrors: 5,
      consecutiveGatewayErrors: 0,
      intervalMs: 10_000,
      baseEjectionTimeMs: 30_000,
      maxEjectionPercent: 10,
    },
  });
  t.same(rule?.portLevelSettings, [
    {
      port: 80,
      policy: {
        tls: null,
        connectionPool: {
          maxConnections: null,
          connectTimeoutMs: 1_500,
          tcpIdleTimeoutMs: null,
          http1MaxPendingRequests: null,
          maxRequestsPerConnection: null,
          httpIdleTimeoutMs: null,
          http2MaxRequests: null,
          maxConcurrentStreams: null,
          h2UpgradePolicy: null,
          useClientProtocol: false,
          http2KeepAlive: null,
        },
        loadBalancer: 'LEAST_REQUEST',
        outlierDetection: null,
      },
    },
  ]);
});

t.test('what a rule says of HTTP/2 comes out; DEFAULT and 0 leave it to others', async t => {
  const poolOf = (http: string) => {
    const loaded = loadText(wrap(pool(`{http: ${http}}`)));
    return loaded.ok && loaded.resources.destinationRules[0]?.trafficPolicy?.connectionPool;
  };
  t.match(
    poolOf(
      '{h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true, http2MaxRequests: 10, maxConcurrentStreams: 5, http2KeepAlive: {interval: 30s, timeout: 5s}}',
    ),
    {
      h2UpgradePolicy: 'DO_NOT_UPGRADE',
      useClientProtocol: true,
      http2MaxRequests: 10,
      maxConcurrentStreams: 5,
      http2KeepAlive: { intervalMs: 30_000, timeoutMs: 5_000 },
    },
  );
  t.match(poolOf('{h2UpgradePolicy: DEFAULT, http2MaxRequests: 0}'), {
    h2UpgradePolicy: null,
    http2MaxRequests: null,
  });
});
