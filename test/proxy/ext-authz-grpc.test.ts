import t, { type Test } from 'tap';
import type { ExtAuthzGrpc } from '../../src/config/resources.ts';
import { ALLOWED } from '../../src/proxy/ext-authz-question.ts';
import { bodyInCheck, denial, destination, grpcProvider, guard, passed, questionOf } from './authorizer.ts';
import { type CheckAnswer, OK, option, startGrpcAuthorizer } from './grpc-authorizer.ts';

t.setTimeout(60_000);

/** A provider that answers every check with `answer`. */
async function provider(t: Test, answer: CheckAnswer, options: Partial<ExtAuthzGrpc> = {}) {
  const authorizer = await startGrpcAuthorizer(t, () => answer);
  return { ...authorizer, ...guard(t, grpcProvider(options), destination(t, [authorizer.port])) };
}

t.test('the check has both peers and the request as Envoy fills them', async t => {
  const { ask, checks, authorities, counts } = await provider(t, OK);
  const before = Math.floor(Date.now() / 1000);
  const headers = [
    ['X-Foo', '1'],
    ['x-foo', '2'],
    ['cookie', 'a=b'],
    ['cookie', 'c=d'],
    ['authorization', 'Bearer t'],
    ['content-length', '12'],
    ['x-forwarded-client-cert', 'URI=spiffe://x'],
    ['x-utf8', 'caf\xc3\xa9'],
    ['x-bytes', '\xff\xe9'],
    ['host', 'other'],
    ['connection', 'x-foo'],
    ['transfer-encoding', 'chunked'],
    ['x-envoy-auth-partial-body', 'spoofed'],
  ] as const;
  t.same(await ask({ method: 'POST', headers }), ALLOWED);
  const { source, destination: own, request, tlsSession } = checks[0]!.attributes;
  t.same(source, {
    address: { socketAddress: { address: '10.0.0.9', portValue: 40_000 } },
    principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
  });
  t.same(own, {
    address: { socketAddress: { address: '10.0.0.1', portValue: 8080 } },
    principal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
  });
  t.same(tlsSession, { sni: 'outbound_.80_._.httpbin.foo' });
  t.same(request?.http, {
    id: '0b5a2b5e',
    method: 'POST',
    path: '/a/b?x=1',
    host: 'app.foo:8080',
    scheme: 'https',
    protocol: 'HTTP/1.1',
    headers: {
      ':authority': 'app.foo:8080',
      ':method': 'POST',
      ':path': '/a/b?x=1',
      ':scheme': 'https',
      'x-foo': '1,2',
      cookie: 'a=b; c=d',
      authorization: 'Bearer t',
      'content-length': '12',
      'x-forwarded-client-cert': 'URI=spiffe://x',
      'x-utf8': 'café',
      'x-bytes': '!!',
    },
  });
  const { seconds, nanos } = request!.time;
  t.ok(seconds >= before && seconds <= Date.now() / 1000 && nanos >= 0 && nanos < 1e9);
  t.same(authorities, ['authz.foo.svc']);
  t.same(counts, ['guard allowed']);
});

t.test('a plaintext peer has no principal, and the scheme is http', async t => {
  const { ask, checks } = await provider(t, OK);
  await ask({ connection: { principal: null, localPrincipal: null, sni: null, tlsVersion: null } });
  const { source, destination: own, request, tlsSession } = checks[0]!.attributes;
  t.same([Object.keys(source), Object.keys(own), tlsSession], [['address'], ['address'], undefined]);
  t.match(request?.http, { scheme: 'http', headers: { ':scheme': 'http' } });
});

t.test('the body is text that is made UTF-8, or bytes as they came', async t => {
  const body = Buffer.from('ab\xff\xfe\xe2\x82\xac\xe2', 'latin1');
  const asText = await provider(t, OK, bodyInCheck(true));
  await asText.ask({ method: 'POST', body, bodyPartial: true });
  await asText.ask({ method: 'POST', body: Buffer.alloc(0) });
  t.match(
    asText.checks.map(({ attributes }) => attributes.request?.http),
    [
      { body: 'ab!!€!', rawBody: undefined, size: 8, headers: { 'x-envoy-auth-partial-body': 'true' } },
      { body: undefined, headers: { 'x-envoy-auth-partial-body': 'false' } },
    ],
  );
  const asBytes = await provider(t, OK, bodyInCheck(true, true));
  await asBytes.ask({ method: 'POST', body });
  t.match(asBytes.checks[0]?.attributes.request?.http, { body: undefined, rawBody: body, size: 8 });
});

t.test('a TCP connection is asked about by its peers and its SNI', async t => {
  const { connection } = questionOf({});
  const { signal } = new AbortController();
  const yes = await provider(t, OK);
  t.equal(await yes.extAuthz.checkConnection(connection, signal), true);
  t.match(yes.checks, [
    {
      attributes: {
        source: { principal: 'spiffe://cluster.local/ns/foo/sa/sleep' },
        destination: { service: 'outbound_.80_._.httpbin.foo' },
        request: undefined,
      },
    },
  ]);
  const no = await provider(t, { status: { code: 7 } });
  t.equal(await no.extAuthz.checkConnection(connection, signal), false);
  const down = await provider(t, { code: 14 });
  t.equal(await down.extAuthz.checkConnection(connection, signal), false);
  const open = await provider(t, { code: 14 }, { failOpen: true });
  t.equal(await open.extAuthz.checkConnection(connection, signal), true);
  t.same(
    [yes, no, down, open].map(({ counts }) => counts[0]),
    ['guard allowed', 'guard denied', 'guard error', 'guard failure_mode_allowed'],
  );
});

const UNTOUCHED = [
  ['x-a', 'orig'],
  ['x-b', 'orig'],
  ['x-b', 'orig2'],
  ['cookie', 'a=b'],
] as const;

t.test(
  'allowed: fields overwrite, whatever append_action says; with append they join what is there',
  async t => {
    const { ask } = await provider(t, {
      ...OK,
      ok: {
        headers: [
          option('X-A', 'default'),
          option('x-c', 'if absent', { appendAction: 1 }),
          option('x-d', 'one', { appendAction: 2 }),
          option('x-d', 'two'),
          option('x-b', 'more', { append: true }),
          option('cookie', 'c=d', { append: true }),
          option('x-e', 'first', { append: false }),
          option('x-e', 'second', { append: true }),
          option('x-new', 'left out, since there is none', { append: true }),
          option('x-empty', ''),
          option('x-utf8', 'café'),
          { header: { key: 'x-raw', rawValue: Buffer.from([0xe9]) } },
          option('x-gone', 'set and removed'),
        ],
        headersToRemove: ['X-Gone', 'x-other', 'host', ':path', 'content-length', 'transfer-encoding'],
      },
    });
    const answer = passed(await ask({ headers: UNTOUCHED }));
    t.same(Object.fromEntries(answer.set), {
      'x-a': 'default',
      'x-c': 'if absent',
      'x-d': 'two',
      'x-b': 'orig,orig2,more',
      cookie: 'a=b; c=d',
      'x-e': 'first,second',
      'x-empty': '',
      'x-utf8': 'caf\xc3\xa9',
      'x-raw': '\xe9',
    });
    t.same(answer.remove, ['x-gone', 'x-other']);
  },
);

t.test('allowed: fields of the response are added or overwrite as append and append_action say', async t => {
  const { ask } = await provider(t, {
    ...OK,
    ok: {
      responseHeadersToAdd: [
        option('X-Default', '1'),
        option('x-append', '1', { append: true, appendAction: 2 }),
        option('x-absent', '1', { appendAction: 1 }),
        option('x-set', '1', { append: false }),
        option('x-over', '1', { appendAction: 2 }),
        option('x-exists', '1', { appendAction: 3 }),
        option('content-length', '5'),
        option('connection', 'x-default'),
        option('set-cookie', 'a=1'),
        option('set-cookie', 'b=2'),
      ],
    },
  });
  const answer = passed(await ask());
  t.same(answer.responseHeaders, [
    ['x-default', '1'],
    ['x-append', '1'],
    ['x-absent', '1'],
    ['set-cookie', 'a=1'],
    ['set-cookie', 'b=2'],
  ]);
  t.same(
    answer.responseSet.map(([name]) => name),
    ['x-set', 'x-over', 'x-exists'],
  );
});

t.test(
  'allowed: query parameters are set, encoded, and removed, in every spelling of their names',
  async t => {
    const table = [
      ['/p?a=1&b=2&a=3&c=%20x&d&e=', '/p?a=new%20%26%3D&c=%20x&d&e=&z=%C3%A9'],
      ['/p', '/p?a=new%20%26%3D&z=%C3%A9'],
      ['/p?%61=spoof&%62=2', '/p?a=new%20%26%3D&z=%C3%A9'],
      ['/p?b', '/p?a=new%20%26%3D&z=%C3%A9'],
      ['/p?x=a=1?b=2', '/p?x=a=1?b=2&a=new%20%26%3D&z=%C3%A9'],
    ] as const;
    const { ask } = await provider(t, {
      ...OK,
      ok: {
        queryParametersToSet: [
          { key: 'a', value: 'new &=' },
          { key: 'z', value: 'é' },
        ],
        queryParametersToRemove: ['b'],
      },
    });
    for (const [target, wanted] of table) t.equal(passed(await ask({ target })).target, wanted, target);
    t.equal(passed(await ask({ method: 'OPTIONS', target: '*' })).target, null);
  },
);

t.test(
  'allowed with what no message can hold, or what moves it elsewhere: denied, even with failOpen',
  async t => {
    const table = [
      ['x-a', 'a\r\nx-evil: 1'],
      ['x-a', 'a\0'],
      ['x a', '1'],
      ['x-a:', '1'],
      ['', '1'],
      [':path', '/admin'],
      [':method', 'PUT'],
      [':authority', 'evil'],
      ['host', 'evil'],
      ['Content-Length', '0'],
      ['transfer-encoding', 'chunked'],
      ['connection', 'x-user'],
      ['x-forwarded-client-cert', 'URI=spiffe://admin'],
      ['x_forwarded_client_cert', 'URI=spiffe://admin'],
    ] as const;
    for (const [key, value] of table) {
      const { ask, counts, warnings } = await provider(
        t,
        { ...OK, ok: { headers: [option(key, value)] } },
        { failOpen: true, statusOnError: 503 },
      );
      t.match(
        denial(await ask()),
        { status: 503, details: 'ext_authz_error', body: '' },
        JSON.stringify(key),
      );
      t.same(counts, ['guard error']);
      t.match(warnings, [{ reason: /^a field that/, requests: 'denied' }]);
    }
  },
);

t.test('denied: 403 unless it says otherwise, its fields and its body', async t => {
  const bare = await provider(t, { status: { code: 16, message: 'internal' } });
  t.same(denial(await bare.ask()), { status: 403, details: 'ext_authz_denied', flag: 'UAEX', body: '' });
  const full = await provider(t, {
    status: { code: 7 },
    denied: {
      status: { code: 429 },
      headers: [
        option('X-Why', '1'),
        option('x-why', '2'),
        option('set-cookie', 'a', { append: true }),
        option('content-length', '1'),
        option('transfer-encoding', 'chunked'),
        option('x-split', 'a\r\nx-evil: 1'),
      ],
      body: 'café',
    },
  });
  const answer = await full.ask();
  t.same(denial(answer), { status: 429, details: 'ext_authz_denied', flag: 'UAEX', body: 'caf\xc3\xa9' });
  if (answer.allow) return;
  t.equal(answer.grpcStatus, 14);
  t.same(answer.headers, [
    ['x-why', '1'],
    ['x-why', '2'],
    ['set-cookie', 'a'],
    ['content-type', 'text/plain'],
  ]);
  t.same(full.counts, ['guard denied']);
});

t.test('denied: a status that is none is 403, and one without content has none', async t => {
  for (const [given, wanted, body] of [
    [200, 200, 'no'],
    [100, 403, 'no'],
    [0, 403, 'no'],
    [600, 403, 'no'],
    [-1, 403, 'no'],
    [204, 204, ''],
    [304, 304, ''],
  ] as const) {
    const { ask } = await provider(t, {
      status: { code: 7 },
      denied: { status: { code: given }, body: 'no' },
    });
    t.match(denial(await ask()), { status: wanted, body }, String(given));
  }
});

t.test('code 0 allows whatever else is there, as does an answer without a word', async t => {
  t.same(await (await provider(t, { ...OK, denied: { status: { code: 401 } } })).ask(), ALLOWED);
  t.same(await (await provider(t, Buffer.alloc(0))).ask(), ALLOWED);
});

t.test('error_response: it failed, and says how that should look', async t => {
  const error = { status: { code: 429 }, body: 'later', headers: [option('retry-after', '1')] };
  const closed = await provider(t, { status: { code: 14 }, error }, { statusOnError: 503 });
  const answer = await closed.ask();
  t.same(denial(answer), { status: 429, details: 'ext_authz_error', flag: 'UAEX', body: 'later' });
  t.match(!answer.allow && answer.headers[0], ['retry-after', '1']);
  const unsaid = await provider(
    t,
    { status: { code: 14 }, error: { body: 'later' } },
    { statusOnError: 503 },
  );
  t.match(denial(await unsaid.ask()), { status: 503, body: 'later' });
  t.same(await (await provider(t, { status: { code: 14 }, error }, { failOpen: true })).ask(), ALLOWED);
});
