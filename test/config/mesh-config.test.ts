import t from 'tap';
import { testAuthority, testCrl, testIdentity } from '../certificates.ts';
import { type Case, loadText, runCases } from './cases.ts';

const wrap = (fields: string): string => `kind: MeshConfig\n${fields}\n`;
const provider = (inner: string): string => `extensionProviders: [{name: otel, opentelemetry: ${inner}}]`;
const OTLP = '{service: otel.example.com, port: 4318, http: {path: /v1/traces}}';

const CASES: readonly Case[] = [
  { title: 'nothing said is valid', text: '' },
  {
    title: 'every field that is honoured',
    text: [
      'trustDomain: mesh.example',
      'trustDomainAliases: [old.example]',
      'rootNamespace: root',
      'pathNormalization: {normalization: MERGE_SLASHES}',
      'accessLogFile: /dev/stdout',
      'accessLogEncoding: JSON',
      'enableAutoMtls: false',
      'outboundTrafficPolicy: {mode: REGISTRY_ONLY}',
      'inboundTrafficPolicy: {mode: PASSTHROUGH}',
      'protocolDetectionTimeout: 0s',
      'h2UpgradePolicy: UPGRADE',
      'meshMTLS: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}',
      'enableTracing: true',
      'defaultProviders: {tracing: [otel]}',
      provider(OTLP),
      'defaultConfig: {concurrency: 2, drainDuration: 45s, terminationDrainDuration: 7s, tracing: {sampling: 50}, gatewayTopology: {forwardClientCertDetails: APPEND_FORWARD}}',
    ].join('\n'),
  },
  { title: 'null is absent here', text: 'trustDomain: null\ndefaultConfig:\naccessLogFile: ~' },
  {
    title: 'trust domains are DNS names',
    text: 'trustDomain: §a_b\ntrustDomainAliases: [§"", ok.example, §"*"]',
    faults: [
      'error trustDomain: "a_b" is not a DNS name',
      'error trustDomainAliases[0]: is empty',
      'error trustDomainAliases[2]: "*" is not a DNS name',
    ],
  },
  {
    title: 'words of an enum',
    text: 'pathNormalization: {normalization: §FULL}\naccessLogEncoding: §json\noutboundTrafficPolicy: {mode: §ANY}\nmeshMTLS: {minProtocolVersion: §TLSV1_1}',
    faults: [
      'error pathNormalization.normalization: "FULL" is not one of DEFAULT, NONE, BASE',
      'error accessLogEncoding: "json" is not one of TEXT, JSON; write JSON',
      'error outboundTrafficPolicy.mode: "ANY" is not one of',
      'error meshMTLS.minProtocolVersion: "TLSV1_1" is not one of',
    ],
  },
  {
    title: 'types are checked',
    text: 'enableAutoMtls: §"false"\ndefaultConfig: {concurrency: §two, drainDuration: §45}',
    faults: [
      'error enableAutoMtls: must be true or false, not a string',
      'error defaultConfig.concurrency: must be a number, not a string',
      'error defaultConfig.drainDuration: must be a string, not the number 45',
    ],
  },
  {
    title: 'a field that Istio does not know is a warning, as in Istio',
    text: '§trustDomian: x\ndefaultConfig: {§concurency: 2}',
    faults: [
      'warning trustDomian: unknown field; did you mean trustDomain?',
      'warning defaultConfig.concurency: unknown field; did you mean concurrency?',
    ],
  },
  {
    title: 'what is not honoured is a warning that names the field',
    text: 'caCertificates: [{§spiffeBundleUrl: "https://x", §certSigners: [a]}]\n§accessLogFormat: x\ndefaultConfig: {§proxyMetadata: {A: b}, §discoveryAddress: a:1, gatewayTopology: {§numTrustedProxies: 1}}',
    faults: [
      'warning caCertificates[0].spiffeBundleUrl: not honoured',
      'warning caCertificates[0].certSigners: not honoured',
      'warning accessLogFormat: not honoured',
      'warning defaultConfig.proxyMetadata: not honoured',
      'warning defaultConfig.discoveryAddress: not honoured',
      'warning defaultConfig.gatewayTopology.numTrustedProxies: not honoured',
    ],
  },
  {
    title: 'values that are not honoured are warnings too',
    text: 'accessLogFile: §/var/log/x\noutboundTrafficPolicy: {mode: §ALLOW_ANY_DYNAMIC_DNS}\ndefaultConfig: {gatewayTopology: {forwardClientCertDetails: §SANITIZE}}',
    faults: [
      'warning accessLogFile: access logs go to standard output only',
      'warning outboundTrafficPolicy.mode: is not honoured; it is read as ALLOW_ANY',
      'warning defaultConfig.gatewayTopology.forwardClientCertDetails: SANITIZE is not honoured',
    ],
  },
  {
    title: 'cipher suites and curves that cannot be used are left out, with a warning',
    text: 'meshMTLS: {cipherSuites: [§DES-CBC3-SHA, AES256-SHA, §ALL], §ecdhCurves: [X25519, §X25519Kyber768Draft00, §"", X25519]}',
    faults: [
      'warning meshMTLS.cipherSuites[0]: "DES-CBC3-SHA" is no cipher suite that can be used',
      'warning meshMTLS.cipherSuites[2]: "ALL" is no cipher suite that can be used',
      'warning meshMTLS.ecdhCurves: istiod refuses curves here; Outrider takes them',
      'warning meshMTLS.ecdhCurves[1]: "X25519Kyber768Draft00" is no curve that can be used',
      'warning meshMTLS.ecdhCurves[2]: "" is no curve that can be used',
    ],
  },
  {
    title: 'a list of which nothing can be used is an error: it would become everything',
    text: 'meshMTLS: {cipherSuites: §[DES-CBC3-SHA], ecdhCurves: §[secp256k1]}',
    faults: [
      'error meshMTLS.cipherSuites: holds no cipher suite that can be used; write one of ECDHE-ECDSA-AES128',
      'error meshMTLS.ecdhCurves: holds no curve that can be used; write one of X25519MLKEM768, X25519',
    ],
  },
  {
    title: 'fields do not stand under spec',
    text: 'spec: §{trustDomain: x}',
    faults: ['error spec: the fields of a mesh config stand at the top level'],
  },
  {
    title: 'sampling is a percentage',
    text: 'defaultConfig: {tracing: {sampling: §101, §zipkin: {address: a:1}}}',
    faults: [
      'error defaultConfig.tracing.sampling: must be from 0 to 100',
      'warning defaultConfig.tracing.zipkin: not honoured',
    ],
  },
  {
    title: 'other providers are not honoured',
    text: 'extensionProviders: [{name: z, §zipkin: {service: a, port: 1}}, {name: e, §envoyFileAccessLog: {path: a}}]',
    faults: [
      'warning extensionProviders[0].zipkin: not honoured',
      'warning extensionProviders[1].envoyFileAccessLog: not honoured',
    ],
  },
  {
    title: 'OTLP over gRPC is a warning, and nothing is traced',
    text: provider('{service: a.com, port: 4317, §grpc: {}}').replace('{service', '§{service'),
    faults: [
      'warning extensionProviders[0].opentelemetry.http: is not set: OTLP over gRPC is not supported yet',
      'warning extensionProviders[0].opentelemetry.grpc: not honoured',
    ],
  },
  {
    title: 'a provider without a service, a port or a path is a warning, as in Istio, and does not trace',
    text: provider('{service: §"a b", port: §0, http: {path: §x}}'),
    faults: [
      'warning extensionProviders[0].opentelemetry.service: "a b" is not a host name',
      'warning extensionProviders[0].opentelemetry.port: must be set, to a port from 1 to 65535',
      'warning extensionProviders[0].opentelemetry.http.path: "x" must start with "/"',
    ],
  },
  {
    title: 'a default provider that is not there turns tracing off, with a warning',
    text: `defaultProviders: {tracing: [§jaeger]}\n${provider(OTLP)}`,
    faults: ['warning defaultProviders.tracing[0]: "jaeger" is not an opentelemetry provider'],
  },
];

runCases(CASES, wrap);

/** The mesh config of a text that must be right. */
function meshOf(text: string, name?: string) {
  const result = loadText(text, name);
  if (!result.ok) throw new Error(JSON.stringify(result.faults));
  return result.resources.mesh;
}

t.test('what no file says is as in Istio', async t => {
  t.same(meshOf('# nothing\n'), {
    origin: null,
    trustDomain: 'cluster.local',
    trustDomainAliases: [],
    rootNamespace: 'istio-system',
    pathNormalization: 'BASE',
    accessLogFile: null,
    accessLogEncoding: 'TEXT',
    enableAutoMtls: true,
    outboundTrafficPolicy: 'ALLOW_ANY',
    // Istio reaches the app at the pod's address, and waits for the first bytes for ever.
    inboundPassthrough: false,
    protocolDetectionTimeoutMs: 5_000,
    h2UpgradePolicy: null,
    caCertificates: [],
    caCrl: null,
    minTlsVersion: 'TLSv1.2',
    tlsCipherSuites: null,
    tlsGroups: null,
    concurrency: null,
    drainMs: null,
    forwardClientCert: 'SANITIZE_SET',
    tracing: null,
    extensionProviders: [],
  });
});

t.test('every field comes out as data', async t => {
  const { origin, ...mesh } = meshOf(wrap(CASES[1]?.text ?? ''));
  t.match(origin, { line: 1, column: 1 });
  t.same(mesh, {
    trustDomain: 'mesh.example',
    trustDomainAliases: ['old.example'],
    rootNamespace: 'root',
    pathNormalization: 'MERGE_SLASHES',
    accessLogFile: '/dev/stdout',
    accessLogEncoding: 'JSON',
    enableAutoMtls: false,
    outboundTrafficPolicy: 'REGISTRY_ONLY',
    inboundPassthrough: true,
    protocolDetectionTimeoutMs: 0,
    h2UpgradePolicy: 'UPGRADE',
    caCertificates: [],
    caCrl: null,
    minTlsVersion: 'TLSv1.3',
    tlsCipherSuites: ['ECDHE-RSA-AES128-GCM-SHA256'],
    tlsGroups: null,
    concurrency: 2,
    drainMs: 7_000,
    forwardClientCert: 'APPEND_FORWARD',
    tracing: { url: 'http://otel.example.com:4318/v1/traces', samplingPercent: 50 },
    extensionProviders: [],
  });
});

t.test('DEFAULT is BASE, TLS_AUTO is 1.2, an empty access log file is kept', async t => {
  const text =
    'pathNormalization: {normalization: DEFAULT}\nmeshMTLS: {minProtocolVersion: TLS_AUTO}\naccessLogFile: ""';
  t.match(meshOf(wrap(text)), { pathNormalization: 'BASE', minTlsVersion: 'TLSv1.2', accessLogFile: '' });
});

t.test('curves and suites keep their order, lose repetitions, and none written is nothing said', async t => {
  const lists = 'meshMTLS: {ecdhCurves: [P-256, X25519, P-256], cipherSuites: [AES128-SHA, AES128-SHA]}';
  t.match(meshOf(wrap(lists)), { tlsGroups: ['P-256', 'X25519'], tlsCipherSuites: ['AES128-SHA'] });
  const none = meshOf(wrap('meshMTLS: {ecdhCurves: [], cipherSuites: []}'));
  t.same([none.tlsGroups, none.tlsCipherSuites], [null, null]);
});

t.test('the time to drain is drainDuration where terminationDrainDuration is not said', async t => {
  t.equal(meshOf(wrap('defaultConfig: {drainDuration: 45s}')).drainMs, 45_000);
  t.equal(meshOf(wrap('defaultConfig: {terminationDrainDuration: 0s}')).drainMs, 0);
});

const TRACING: readonly (readonly [title: string, text: string, url: string | null])[] = [
  ['the only provider is taken', provider(OTLP), 'http://otel.example.com:4318/v1/traces'],
  ['the path has a default', provider('{service: a.com, port: 1, http: {}}'), 'http://a.com:1/v1/traces'],
  [
    'a namespace before the service is passed over',
    provider('{service: ns/a.com, port: 1, http: {}}'),
    'http://a.com:1/v1/traces',
  ],
  [
    'an IPv6 address stands in brackets',
    provider('{service: "::1", port: 1, http: {}}'),
    'http://[::1]:1/v1/traces',
  ],
  ['enableTracing false turns it off', `enableTracing: false\n${provider(OTLP)}`, null],
  [
    'of two providers, the default one is taken',
    'defaultProviders: {tracing: [b]}\nextensionProviders: [{name: a, opentelemetry: {service: a.com, port: 1, http: {}}}, {name: b, opentelemetry: {service: b.com, port: 1, http: {}}}]',
    'http://b.com:1/v1/traces',
  ],
  [
    'of two providers without a default, none is',
    'extensionProviders: [{name: a, opentelemetry: {service: a.com, port: 1, http: {}}}, {name: b, opentelemetry: {service: b.com, port: 1, http: {}}}]',
    null,
  ],
];

for (const [title, text, url] of TRACING) {
  t.test(`tracing: ${title}`, async t => {
    t.same(meshOf(wrap(text)).tracing, url && { url, samplingPercent: 1 });
  });
}

t.test(
  'a bare file named mesh.yaml is a mesh config, and so is one of kind MeshConfig elsewhere',
  async t => {
    t.equal(meshOf('trustDomain: a.example\n', 'mesh.yaml').trustDomain, 'a.example');
    t.equal(meshOf('{"trustDomain": "b.example"}', 'mesh.json').trustDomain, 'b.example');
    const named =
      'apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: x}\ntrustDomain: c.example\n';
    t.equal(meshOf(named, 'other.yaml').trustDomain, 'c.example');
    t.match(loadText('trustDomain: d.example\n', 'other.yaml'), {
      ok: false,
      faults: [{ message: /^kind: is missing/ }],
    });
  },
);

t.test('a second mesh config is refused, and the first is named', async t => {
  t.match(loadText('kind: MeshConfig\n---\nkind: MeshConfig\n'), {
    ok: false,
    faults: [
      {
        line: 3,
        severity: 'error',
        message: /a second mesh config; the first is at .*manifest\.yaml:1; keep one/,
      },
    ],
  });
});

const authority = await testAuthority();
const workload = await testIdentity(authority, 'foo/sleep');
const list = await testCrl(authority, ['01']);
const block = (pem: string): string => `|\n      ${pem.trim().split('\n').join('\n      ')}`;

runCases(
  [
    {
      title: 'caCertificates and caCrl that are honoured',
      text: `caCertificates:\n  - trustDomains: [other.example]\n    pem: ${block(`# old\n${authority.rootPem}`)}\n  - pem: ${block(authority.rootPem)}\ncaCrl: ${block(list)}`,
    },
    {
      title: 'caCertificates that are none',
      text: `caCertificates:\n  - pem: §x\n  - pem: §""\n  - pem: §${block(workload.certChainPem)}\n  - pem: §${block(list)}\n  - pem: §${block(`${authority.rootPem}\n-----BEGIN CERTIFICATE-----`)}\n  - pem: §${block(authority.rootPem.replace('MII', 'AAA'))}\n  - §trustDomains: [§a_b]`,
      faults: [
        'error caCertificates[0].pem: must be PEM blocks of CERTIFICATE',
        'error caCertificates[1].pem: must be PEM blocks of CERTIFICATE',
        'error caCertificates[2].pem: block 1 is no CA',
        'error caCertificates[3].pem: must be PEM blocks of CERTIFICATE',
        'error caCertificates[4].pem: must be PEM blocks of CERTIFICATE',
        'error caCertificates[5].pem: block 1 cannot be read as a certificate',
        'error caCertificates[6]: must have pem',
        'error caCertificates[6].trustDomains[0]: "a_b" is not a DNS name',
      ],
    },
    {
      title: 'caCrl is a path or lists',
      text: 'caCrl: §/no/such/crl.pem',
      faults: ['warning caCrl: the file /no/such/crl.pem does not exist or cannot be read'],
    },
    {
      title: 'caCrl that holds certificates',
      text: `caCrl: §${block(authority.rootPem)}`,
      faults: ['error caCrl: is neither a path nor PEM blocks of X509 CRL'],
    },
  ],
  wrap,
  'mesh.yaml',
);

t.test('who is believed besides, and what was revoked, is read as it is written', async t => {
  const read = loadText(
    wrap(
      `caCertificates:\n  - trustDomains: [other.example]\n    pem: ${block(authority.rootPem)}\n  - pem: ${block(authority.rootPem)}\ncaCrl: ${block(list)}`,
    ),
  );
  const path = loadText(wrap('caCrl: /etc/hostname'));
  if (!read.ok || !path.ok) return t.fail('refused');
  const { caCertificates, caCrl } = read.resources.mesh;
  t.strictSame(
    caCertificates.map(({ pem, trustDomains }) => [pem.trim(), trustDomains]),
    [
      [authority.rootPem.trim(), ['other.example']],
      [authority.rootPem.trim(), null],
    ],
  );
  t.match(caCrl, { pem: list.trim() });
  t.strictSame(path.resources.mesh.caCrl, { path: '/etc/hostname' });
});
