import t from 'tap';
import { type Case, loadText, runCases } from './cases.ts';

const wrap = (fields: string): string => `kind: MeshConfig\n${fields}\n`;
const list = (entries: string): string => `extensionProviders: [${entries}]`;
const http = (inner: string): string =>
  list(`{name: x, envoyExtAuthzHttp: {service: a.com, port: 1, ${inner}}}`);
const grpc = (inner: string): string =>
  list(`{name: x, envoyExtAuthzGrpc: {service: a.com, port: 1, ${inner}}}`);
const AT = 'extensionProviders[0].envoyExtAuthzHttp';
const DENIED = 'until then every request for which this provider would be asked is denied';

/** Faults that make a provider unusable: they read as a warning, and the provider is gone. */
const UNUSABLE: readonly Case[] = [
  {
    title: 'a name is needed',
    text: list('§{envoyExtAuthzGrpc: {service: a.com, port: 1}}'),
    faults: [`warning extensionProviders[0].name: must be set; ${DENIED}`],
  },
  ...['A', 'a_b', '-a', 'a-', 'a.b', 'é'].map(
    (name): Case => ({
      title: `the name ${name} is none`,
      text: list(`{name: §"${name}", envoyExtAuthzGrpc: {service: a.com, port: 1}}`),
      faults: [
        `warning extensionProviders[0].name: "${name}" may hold lower-case letters, digits and inner "-" only`,
      ],
    }),
  ),
  {
    title: 'a name has 63 characters at most',
    text: list(`{name: §${'a'.repeat(64)}, envoyExtAuthzGrpc: {service: a.com, port: 1}}`),
    faults: ['warning extensionProviders[0].name: has more than 63 characters'],
  },
  {
    title: 'of two with one name, neither can be used',
    text: list(
      '{name: x, envoyExtAuthzGrpc: {service: a.com, port: 1}}, {name: §x, envoyExtAuthzHttp: {service: a.com, port: 1}}',
    ),
    faults: ['warning extensionProviders[1].name: "x" is defined twice'],
  },
  {
    title: 'service and port must be set',
    text: list('{name: x, envoyExtAuthzHttp: §{includeRequestBodyInCheck: {maxRequestBytes: 1}}}').replace(
      '§{',
      '§§{',
    ),
    faults: [
      `warning ${AT}.service: must be set, to [namespace/]host`,
      `warning ${AT}.port: must be set, to a port`,
    ],
  },
  ...(
    [
      ['a b', '"a b" is not a DNS name'],
      ['1.2.3', '"1.2.3" is not a host name'],
      ['/a.com', '"/a.com" has no namespace'],
      ['*/a.com', '"*/a.com" has no namespace'],
      ['ns/a', '"a" after the namespace must be a full host name'],
      ['ns/*.com', '"*.com" names no one host'],
      ['ns/a.com/b', '"a.com/b" is not a DNS name'],
    ] as const
  ).map(
    ([service, problem]): Case => ({
      title: `the service ${service} cannot be asked`,
      text: list(`{name: x, envoyExtAuthzHttp: {service: §"${service}", port: 1}}`),
      faults: [`warning ${AT}.service: ${problem}`],
    }),
  ),
  ...['0', '65536', '4294967295'].map(
    (port): Case => ({
      title: `the port ${port} is none`,
      text: list(`{name: x, envoyExtAuthzHttp: {service: a.com, port: §${port}}}`),
      faults: [`warning ${AT}.port: must be set, to a port from 1 to 65535`],
    }),
  ),
  {
    title: 'a negative timeout',
    text: http('timeout: §-1s'),
    faults: [`warning ${AT}.timeout: "-1s" is negative; write 0s for no limit`],
  },
  ...['x', '0', '100', '299', '403.0', '0x193', '-403'].map(
    (status): Case => ({
      title: `the status ${status} is none`,
      text: http(`statusOnError: §"${status}"`),
      faults: [`warning ${AT}.statusOnError: "${status}" is not an HTTP status that Envoy knows`],
    }),
  ),
  {
    title: 'a path prefix without its slash',
    text: http('pathPrefix: §check'),
    faults: [`warning ${AT}.pathPrefix: "check" must start with "/"`],
  },
  ...['/a b', '/a%2', '/é', '/a\\r\\nb'].map(
    (prefix): Case => ({
      title: `a path prefix ${prefix} that cannot stand in a request line`,
      text: http(`pathPrefix: §"${prefix}"`),
      faults: [`warning ${AT}.pathPrefix: `],
    }),
  ),
  ...[
    'includeRequestHeadersInCheck',
    'includeHeadersInCheck',
    'headersToUpstreamOnAllow',
    'headersToDownstreamOnDeny',
    'headersToDownstreamOnAllow',
  ].map(
    (field): Case => ({
      title: `"*" alone in ${field}`,
      text: http(`${field}: [a, "b*", "*c", §"*"]`),
      faults: [`warning ${AT}.${field}[3]: "*" alone is not possible, as in Istio`],
    }),
  ),
  {
    title: 'headers that cannot be written',
    text: http('includeAdditionalHeadersInCheck: {x-a: "b c", "x d": §e, x-f: §"g\\r\\nh"}'),
    faults: [
      `warning ${AT}.includeAdditionalHeadersInCheck.x d: "x d: e" cannot be written as a header`,
      `warning ${AT}.includeAdditionalHeadersInCheck.x-f: `,
    ],
  },
  {
    title: 'a body of no bytes',
    text: http('includeRequestBodyInCheck: §{allowPartialMessage: true}'),
    faults: [`warning ${AT}.includeRequestBodyInCheck.maxRequestBytes: must be set, to at least 1`],
  },
];

const CASES: readonly Case[] = [
  {
    title: 'every field over HTTP',
    text: http(
      'timeout: 1.5s, failOpen: true, statusOnError: "503", pathPrefix: /check, includeRequestHeadersInCheck: [x-a], includeAdditionalHeadersInCheck: {x-b: c}, includeRequestBodyInCheck: {maxRequestBytes: 8, allowPartialMessage: true}, headersToUpstreamOnAllow: [x-d], headersToDownstreamOnDeny: [x-e], headersToDownstreamOnAllow: [x-f]',
    ),
  },
  {
    title: 'every field over gRPC',
    text: grpc(
      'timeout: 1.5s, failOpen: true, statusOnError: "503", includeRequestBodyInCheck: {maxRequestBytes: 8, packAsBytes: true}',
    ),
  },
  {
    title: 'what has no effect is a warning',
    text: http(
      'clearRouteCache: §true, includeRequestHeadersInCheck: [a], includeHeadersInCheck: §[b], includeRequestBodyInCheck: {maxRequestBytes: 1, packAsBytes: §true}, §foo: 1',
    ),
    faults: [
      `warning ${AT}.clearRouteCache: has no effect`,
      `warning ${AT}.includeHeadersInCheck: has no effect beside includeRequestHeadersInCheck`,
      `warning ${AT}.includeRequestBodyInCheck.packAsBytes: has no effect over HTTP`,
      `warning ${AT}.foo: unknown field`,
    ],
  },
  {
    title: 'fields of HTTP are unknown over gRPC',
    text: grpc('§pathPrefix: /a'),
    faults: ['warning extensionProviders[0].envoyExtAuthzGrpc.pathPrefix: unknown field'],
  },
  {
    title: 'values of another type are errors',
    text: http(
      'failOpen: §"yes", timeout: §ten, statusOnError: §403, includeHeadersInCheck: §a, includeRequestBodyInCheck: {maxRequestBytes: §-1}',
    ),
    faults: [
      `error ${AT}.failOpen: must be true or false`,
      `error ${AT}.timeout: "ten" is not a duration`,
      `error ${AT}.statusOnError: must be a string, not the number 403`,
      `error ${AT}.includeHeadersInCheck: must be a list`,
      `error ${AT}.includeRequestBodyInCheck.maxRequestBytes: must be from 0 to 4294967295`,
    ],
  },
  {
    title: 'a provider has one kind: of several, none is used',
    text: list('§{name: x, zipkin: {service: a, port: 1}, envoyExtAuthzGrpc: {service: a, port: 1}}').replace(
      '{name: x, z',
      '{name: x, §z',
    ),
    faults: [
      'warning extensionProviders[0]: has several kinds: envoyExtAuthzGrpc, zipkin; none is used, and what names it is denied',
      'warning extensionProviders[0].zipkin: not honoured',
    ],
  },
  {
    title: 'a provider without a kind, and one of a kind that nobody knows',
    text: list('§{name: x}, {name: z, §envoyExtAuthHttp: {service: a, port: 1}}'),
    faults: [
      'warning extensionProviders[0]: has no kind, such as envoyExtAuthzHttp',
      'warning extensionProviders[1].envoyExtAuthHttp: unknown field; did you mean envoyExtAuthzHttp?',
    ],
  },
];

runCases(UNUSABLE, wrap);
runCases(CASES, wrap);

for (const { title, text } of UNUSABLE) {
  t.test(`is not handed on: ${title}`, async t => {
    const result = loadText(wrap(text.replaceAll('§', '')));
    t.same(result.ok && result.resources.mesh.extensionProviders, []);
  });
}

/** The providers of a text without errors. */
function providersOf(text: string) {
  const result = loadText(wrap(text));
  if (!result.ok) throw new Error(JSON.stringify(result.faults));
  return result.resources.mesh.extensionProviders;
}

const COMMON = {
  name: 'x',
  service: 'a.com',
  port: 1,
  timeoutMs: 600_000,
  failOpen: false,
  statusOnError: 403,
  clearRouteCache: false,
  includeRequestBodyInCheck: null,
};
const HTTP = {
  kind: 'http',
  ...COMMON,
  pathPrefix: '',
  includeRequestHeadersInCheck: [],
  includeAdditionalHeadersInCheck: {},
  headersToUpstreamOnAllow: [],
  headersToDownstreamOnDeny: [],
  headersToDownstreamOnAllow: [],
};

t.test('what a provider does not say is as in Istio', async t => {
  t.same(providersOf(http('')), [HTTP]);
  t.same(providersOf(grpc('')), [{ kind: 'grpc', ...COMMON }]);
});

t.test('every field comes out as data', async t => {
  t.same(providersOf(CASES[0]?.text ?? ''), [
    {
      ...HTTP,
      timeoutMs: 1_500,
      failOpen: true,
      statusOnError: 503,
      pathPrefix: '/check',
      includeRequestHeadersInCheck: ['x-a'],
      includeAdditionalHeadersInCheck: { 'x-b': 'c' },
      includeRequestBodyInCheck: { maxRequestBytes: 8, allowPartialMessage: true, packAsBytes: false },
      headersToUpstreamOnAllow: ['x-d'],
      headersToDownstreamOnDeny: ['x-e'],
      headersToDownstreamOnAllow: ['x-f'],
    },
  ]);
  t.match(providersOf(CASES[1]?.text ?? ''), [
    {
      kind: 'grpc',
      includeRequestBodyInCheck: { maxRequestBytes: 8, allowPartialMessage: false, packAsBytes: true },
    },
  ]);
});

t.test('the older name of includeRequestHeadersInCheck holds where the newer is absent or empty', async t => {
  t.match(providersOf(http('includeHeadersInCheck: [a]')), [{ includeRequestHeadersInCheck: ['a'] }]);
  t.match(providersOf(http('includeHeadersInCheck: [a], includeRequestHeadersInCheck: []')), [
    { includeRequestHeadersInCheck: ['a'] },
  ]);
});

t.test('a namespace before the service is passed over, and an address is a service', async t => {
  for (const [service, host] of [
    ['ns/a.b', 'a.b'],
    ['10.0.0.1', '10.0.0.1'],
    ['::1', '::1'],
    ['localhost', 'localhost'],
  ] as const) {
    const text = list(`{name: x, envoyExtAuthzGrpc: {service: "${service}", port: 1}}`);
    t.match(providersOf(text), [{ service: host }], service);
  }
});

t.test('a timeout may be off, and is a millisecond at least', async t => {
  t.match(providersOf(grpc('timeout: 0s')), [{ timeoutMs: 0 }]);
  t.match(providersOf(grpc('timeout: 10us')), [{ timeoutMs: 1 }]);
});
