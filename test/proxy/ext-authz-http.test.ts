import t from 'tap';
import { ALLOWED } from '../../src/proxy/ext-authz-question.ts';
import { startTcpApp } from '../peers.ts';
import {
  bodyInCheck,
  denial,
  destination,
  guard,
  headersOf,
  httpProvider,
  passed,
  questionOf,
  startAuthorizer,
} from './authorizer.ts';

t.setTimeout(60_000);

const ALWAYS = { host: 'app.foo:8080', 'x-envoy-expected-rq-timeout-ms': '10000' };

t.test(
  'the check has the method, target and host of the request, and no field but authorization',
  async t => {
    const { port, asked } = await startAuthorizer(t);
    const { ask, counts } = guard(t, httpProvider(), destination(t, [port]));
    const headers = [
      ['Authorization', 'Bearer t'],
      ['cookie', 'a=b'],
      ['x-foo', '1'],
      ['content-length', '3'],
      ['x-forwarded-client-cert', 'By=x'],
    ] as const;
    t.same(await ask({ method: 'PATCH', headers }), ALLOWED);
    t.match(asked, [{ method: 'PATCH', url: '/a/b?x=1', body: '' }]);
    t.same(headersOf(asked[0]!), { ...ALWAYS, 'content-length': '0', authorization: 'Bearer t' });
    t.same(counts, ['guard allowed']);
  },
);

t.test('pathPrefix stands before the target', async t => {
  const { port, asked } = await startAuthorizer(t);
  const { ask } = guard(t, httpProvider({ pathPrefix: '/check' }), destination(t, [port]));
  await ask({ target: '/a?b=/c' });
  t.equal(asked[0]?.url, '/check/a?b=/c');
});

t.test('listed fields go along, several lines of one name as one, in bytes as they came', async t => {
  const { port, asked } = await startAuthorizer(t);
  const patterns = ['X-Foo', 'x-pre-*', '*-ID', 'cookie', 'x-forwarded-client-cert', 'a*b'];
  const provider = httpProvider({ includeRequestHeadersInCheck: patterns });
  const { ask } = guard(t, provider, destination(t, [port]));
  await ask({
    headers: [
      ['x-foo', '1'],
      ['X-FOO', 'caf\xc3\xa9'],
      ['X-Pre-A', 'a'],
      ['x-request-id', 'r'],
      ['cookie', 'a=b'],
      ['cookie', 'c=d'],
      ['x-forwarded-client-cert', 'URI=spiffe://x'],
      ['authorization', 'one'],
      ['authorization', 'two'],
      ['axb', 'a star in the middle is a star'],
      ['x-other', 'o'],
    ],
  });
  t.same(headersOf(asked[0]!), {
    ...ALWAYS,
    'content-length': '0',
    'x-foo': '1,caf\xc3\xa9',
    'x-pre-a': 'a',
    'x-request-id': 'r',
    cookie: 'a=b; c=d',
    'x-forwarded-client-cert': 'URI=spiffe://x',
    authorization: 'one,two',
  });
});

t.test('no list makes the check say what belongs to the connection or frames the message', async t => {
  const { port, asked } = await startAuthorizer(t);
  const provider = httpProvider({
    includeRequestHeadersInCheck: ['*'],
    includeAdditionalHeadersInCheck: { Host: 'evil', 'content-length': '7', 'Transfer-Encoding': 'chunked' },
  });
  const { ask } = guard(t, provider, destination(t, [port]));
  await ask({
    headers: [
      ['connection', 'x-a'],
      ['keep-alive', 'timeout=1'],
      ['proxy-connection', 'close'],
      ['te', 'trailers'],
      ['transfer-encoding', 'chunked'],
      ['upgrade', 'h2c'],
      ['expect', '100-continue'],
      ['trailer', 'x'],
      ['host', 'other'],
      ['content-length', '3'],
      ['x-envoy-auth-partial-body', 'spoofed'],
      ['x-a', 'a'],
    ],
  });
  t.same(headersOf(asked[0]!), { ...ALWAYS, 'content-length': '0', 'x-a': 'a' });
});

t.test('additional fields replace those of the request', async t => {
  const { port, asked } = await startAuthorizer(t);
  const provider = httpProvider({
    includeRequestHeadersInCheck: ['x-*'],
    includeAdditionalHeadersInCheck: { 'X-Foo': 'ours', 'x-share': '100%% é' },
  });
  const { ask } = guard(t, provider, destination(t, [port]));
  await ask({
    headers: [
      ['x-foo', 'theirs'],
      ['x-bar', 'b'],
    ],
  });
  t.match(headersOf(asked[0]!), { 'x-foo': 'ours', 'x-bar': 'b', 'x-share': '100% \xc3\xa9' });
});

t.test('the body goes along when it is wanted, whole or in part', async t => {
  const { port, asked } = await startAuthorizer(t);
  const { ask } = guard(t, httpProvider(bodyInCheck(true)), destination(t, [port]));
  const body = Buffer.from('\xff\x00abcdef', 'latin1');
  await ask({ method: 'POST', body });
  await ask({ method: 'POST', body, bodyPartial: true });
  await ask({ method: 'POST' });
  t.match(asked, [{ body: '\xff\x00abcdef' }, { body: '\xff\x00abcdef' }, { body: '' }]);
  t.match(asked.map(headersOf), [
    { 'content-length': '8', 'x-envoy-auth-partial-body': 'false' },
    { 'content-length': '8', 'x-envoy-auth-partial-body': 'true' },
    { 'content-length': '0', 'x-envoy-auth-partial-body': undefined },
  ]);
});

t.test('a body that the check may not cut gets 413 without a question', async t => {
  const { port, asked } = await startAuthorizer(t);
  const { ask, extAuthz } = guard(t, httpProvider(bodyInCheck(false)), destination(t, [port]));
  const refused = await ask({ method: 'POST', body: Buffer.from('12345678'), bodyPartial: true });
  t.same(denial(refused), {
    status: 413,
    details: 'request_payload_too_large',
    flag: '-',
    body: 'Payload Too Large',
  });
  t.equal(asked.length, 0);
  t.ok((await ask({ method: 'POST', body: Buffer.from('12345678') })).allow);
  t.equal(extAuthz.bodyLimit, 8);
});

t.test('allowed: listed fields go to the app, the last line of a name holds', async t => {
  const { port } = await startAuthorizer(t, (_, response) => {
    response.setHeader('x-up', ['a', 'b']);
    response.setHeader('X-Up-Two', 'c');
    response.setHeader('x-other', 'o');
    response.end('ignored');
  });
  const { ask } = guard(t, httpProvider({ headersToUpstreamOnAllow: ['x-up*'] }), destination(t, [port]));
  const answer = passed(await ask());
  t.same(answer.set, [
    ['x-up', 'b'],
    ['x-up-two', 'c'],
  ]);
  t.same([answer.remove, answer.responseHeaders, answer.responseSet, answer.target], [[], [], [], null]);
});

t.test('allowed: no pattern lets framing, routing or identity fields through to the app', async t => {
  const fields = [
    'host: evil',
    'connection: close, x-hop',
    'x-hop: 1',
    'keep-alive: timeout=5',
    'content-length: 0',
    'content-type: application/grpc',
    'x-forwarded-client-cert: URI=spiffe://admin',
    'x_forwarded_client_cert: URI=spiffe://admin',
    'x-forwarded-proto: https',
    'te: trailers',
    'upgrade: h2c',
    'trailer: x',
    'expect: 100-continue',
    'x-envoy-peer-metadata: m',
    'x-user: alice',
  ];
  const { port } = await startTcpApp(t, socket =>
    socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${fields.join('\r\n')}\r\n\r\n`)),
  );
  const provider = httpProvider({ headersToUpstreamOnAllow: ['*'], headersToDownstreamOnAllow: ['*'] });
  const { ask } = guard(t, provider, destination(t, [port]));
  const answer = passed(await ask());
  t.same(answer.set, [['x-user', 'alice']]);
  t.same(
    answer.responseHeaders.map(([name]) => name),
    ['content-type', 'x-forwarded-proto', 'x-user'],
  );
});

t.test('allowed: fields for the client, every line', async t => {
  const { port } = await startAuthorizer(t, (_, response) => {
    response.setHeader('set-cookie', ['a=1', 'b=2']);
    response.setHeader('x-ok', '1');
    response.end();
  });
  const provider = httpProvider({ headersToDownstreamOnAllow: ['Set-Cookie'] });
  const { ask } = guard(t, provider, destination(t, [port]));
  const answer = passed(await ask());
  t.same(answer.responseHeaders, [
    ['set-cookie', 'a=1'],
    ['set-cookie', 'b=2'],
  ]);
  t.same(answer.set, []);
});

t.test('allowed: fields that are taken away, but none that frame the message', async t => {
  const { port } = await startAuthorizer(t, (_, response) => {
    response.setHeader('x-envoy-auth-headers-to-remove', ['x-a , Cookie,host', 'content-length,:path,,x-b']);
    response.setHeader('x-b', 'set and removed');
    response.end();
  });
  const { ask } = guard(t, httpProvider({ headersToUpstreamOnAllow: ['*'] }), destination(t, [port]));
  const answer = passed(await ask());
  t.same(answer.remove, ['x-a', 'cookie', 'x-b']);
  t.notMatch(
    answer.set.map(([name]) => name),
    ['x-b'],
  );
  t.notOk(answer.set.some(([name]) => name.startsWith('x-envoy-auth') || name === 'x-b'));
});

const DENIAL = {
  'content-type': 'text/html',
  location: '/login',
  'www-authenticate': 'Basic',
  'set-cookie': ['a=1', 'b=2'],
  'x-why': 'no',
  host: 'evil',
  'content-length': '4',
  'x-envoy-auth-headers-to-remove': 'a',
};

t.test('denied: status, body and, without a list, every field but those of the message', async t => {
  const { port } = await startAuthorizer(t, (_, response) => response.writeHead(401, DENIAL).end('nope'));
  const { ask, counts } = guard(t, httpProvider(), destination(t, [port]));
  const answer = await ask();
  t.same(denial(answer), { status: 401, details: 'ext_authz_denied', flag: 'UAEX', body: 'nope' });
  if (answer.allow) return;
  t.equal(answer.grpcStatus, 16);
  t.same(
    answer.headers.filter(([name]) => name !== 'date'),
    [
      ['content-type', 'text/html'],
      ['location', '/login'],
      ['www-authenticate', 'Basic'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
      ['x-why', 'no'],
    ],
  );
  t.same(counts, ['guard denied']);
});

t.test('denied: with a list, what it names, www-authenticate and location', async t => {
  const { port } = await startAuthorizer(t, (_, response) => response.writeHead(401, DENIAL).end('nope'));
  const { ask } = guard(t, httpProvider({ headersToDownstreamOnDeny: ['X-Why'] }), destination(t, [port]));
  const answer = await ask();
  t.same(answer.allow || answer.headers, [
    ['location', '/login'],
    ['www-authenticate', 'Basic'],
    ['x-why', 'no'],
    ['content-type', 'text/plain'],
  ]);
});

t.test('denied: without a body there is no content-type', async t => {
  const { port } = await startAuthorizer(t, (_, response) =>
    response.writeHead(403, { 'content-type': 'text/html', 'x-why': 'no' }).end(),
  );
  const { ask } = guard(t, httpProvider({ headersToDownstreamOnDeny: ['*'] }), destination(t, [port]));
  const answer = await ask();
  t.notOk(answer.allow || answer.headers.some(([name]) => name === 'content-type'));
  t.ok(!answer.allow && answer.headers.some(([name]) => name === 'x-why'));
});

t.test('200 alone allows; 5xx is a failure; any other status is the client\u2019s', async t => {
  let status = 0;
  const { port } = await startAuthorizer(t, (_, response) => response.writeHead(status).end());
  const { ask } = guard(t, httpProvider({ statusOnError: 429 }), destination(t, [port]));
  const table = [
    [201, 201, 'ext_authz_denied'],
    [204, 204, 'ext_authz_denied'],
    [302, 302, 'ext_authz_denied'],
    [304, 304, 'ext_authz_denied'],
    [403, 403, 'ext_authz_denied'],
    [404, 404, 'ext_authz_denied'],
    [499, 499, 'ext_authz_denied'],
    [500, 429, 'ext_authz_error'],
    [503, 429, 'ext_authz_error'],
    [599, 429, 'ext_authz_error'],
    [600, 403, 'ext_authz_denied'],
    [999, 403, 'ext_authz_denied'],
  ] as const;
  for (const [given, wanted, details] of table) {
    status = given;
    t.match(denial(await ask()), { status: wanted, details, flag: 'UAEX' }, String(given));
  }
});

t.test('a redirect is the client\u2019s answer and is not followed', async t => {
  const elsewhere = await startAuthorizer(t);
  const { port } = await startAuthorizer(t, (_, response) =>
    response.writeHead(302, { location: `http://127.0.0.1:${elsewhere.port}/` }).end(),
  );
  const { ask } = guard(t, httpProvider(), destination(t, [port]));
  t.equal(denial(await ask()).status, 302);
  t.equal(elsewhere.asked.length, 0);
});

t.test('questions one after the other share a connection, questions at once do not wait', async t => {
  const { port, asked, connections } = await startAuthorizer(t);
  const { ask } = guard(t, httpProvider(), destination(t, [port]));
  for (let i = 0; i < 5; i++) t.ok((await ask()).allow);
  t.equal(connections(), 1);
  t.ok((await Promise.all(Array.from({ length: 5 }, () => ask()))).every(({ allow }) => allow));
  t.equal(asked.length, 10);
});

t.test('HEAD is asked with HEAD; CONNECT, whose 200 would be a tunnel, is not asked', async t => {
  const { port, asked } = await startAuthorizer(t, (_, response) => response.writeHead(403).end('unseen'));
  const { ask } = guard(t, httpProvider(), destination(t, [port]));
  t.match(denial(await ask({ method: 'HEAD' })), { status: 403, body: '' });
  t.match(denial(await ask({ method: 'CONNECT', target: 'a:1' })), { details: 'ext_authz_error' });
  const open = guard(t, httpProvider({ failOpen: true }), destination(t, [port]));
  const tunnel = denial(await open.ask({ method: 'CONNECT', target: 'a:1' }));
  t.match(tunnel, { details: 'ext_authz_error' }, 'failOpen does not make it a way past the provider');
  t.same(
    asked.map(({ method }) => method),
    ['HEAD'],
  );
});

t.test('TCP connections pass an HTTP provider unasked', async t => {
  const { port, asked } = await startAuthorizer(t);
  const { extAuthz, counts } = guard(t, httpProvider(), destination(t, [port]));
  const { connection } = questionOf({});
  t.equal(await extAuthz.checkConnection(connection, new AbortController().signal), true);
  t.same([asked.length, counts], [0, []]);
});
