/** What a header list of HTTP/2 says, and which lists are refused: RFC 9113 8.2, 8.3 and 8.5, RFC 8441 4. */
import t from 'tap';
import { ParseFault } from '../../src/http/h1-parser.ts';
import {
  type H2RequestHead,
  type H2ResponseHead,
  requestOf,
  responseOf,
  trailersOf,
} from '../../src/http/h2-head.ts';
import { listOf, type Pair } from './header-lists.ts';

const METHOD: Pair = [':method', 'GET'];
const SCHEME: Pair = [':scheme', 'https'];
const AUTHORITY: Pair = [':authority', 'a.test'];
const PATH: Pair = [':path', '/'];
const GET: readonly Pair[] = [METHOD, SCHEME, AUTHORITY, PATH];
const POST: readonly Pair[] = [[':method', 'POST'], SCHEME, AUTHORITY, PATH];
const TUNNEL: readonly Pair[] = [
  [':method', 'CONNECT'],
  [':authority', 'a.test:443'],
];
const WEBSOCKET: readonly Pair[] = [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  SCHEME,
  AUTHORITY,
  [':path', '/chat'],
];
const OK: Pair = [':status', '200'];

function request(pairs: readonly Pair[], endStream = true): H2RequestHead {
  const head = requestOf(listOf(pairs), endStream, false);
  if (head instanceof ParseFault) throw new Error(head.what);
  return head;
}

function response(pairs: readonly Pair[], endStream = true, method = 'GET'): H2ResponseHead {
  const head = responseOf(listOf(pairs), endStream, method, false);
  if (head instanceof ParseFault) throw new Error(head.what);
  return head;
}

/** A GET with one pseudo-header field's value changed. */
function having(name: string, value: string): readonly Pair[] {
  return GET.map(pair => (pair[0] === name ? [name, value] : pair));
}

function without(...names: readonly string[]): readonly Pair[] {
  return GET.filter(([name]) => !names.includes(name));
}

const REFUSED: readonly (readonly [
  why: string,
  pairs: readonly Pair[],
  fault: string,
  endStream?: boolean,
])[] = [
  // 8.2: names and values
  ['upper case in a name', [...GET, ['X-A', '1']], 'upper case in a header name'],
  ['an empty name', [...GET, ['', '1']], 'empty header name'],
  ['a space in a name', [...GET, ['x a', '1']], 'invalid character in a header name'],
  ['a colon in a name', [...GET, ['x:a', '1']], 'invalid character in a header name'],
  ['CRLF in a name', [...GET, ['x\r\ny', '1']], 'invalid character in a header name'],
  ['a byte beyond ASCII in a name', [...GET, ['x\xe9', '1']], 'invalid character in a header name'],
  ['CRLF in a value', [...GET, ['x', 'a\r\nhost: b']], 'bare CR'],
  ['LF in a value', [...GET, ['x', 'a\nb']], 'bare LF'],
  ['NUL in a value', [...GET, ['x', 'a\0']], 'NUL byte'],
  ['a control character in a value', [...GET, ['x', 'a\x01']], 'control character in a header value'],
  ['DEL in a value', [...GET, ['x', 'a\x7f']], 'control character in a header value'],
  ['a space before a value', [...GET, ['x', ' a']], 'white space around a header value'],
  ['a tab after a value', [...GET, ['x', 'a\t']], 'white space around a header value'],
  ['CRLF in a pseudo-header field', having(':path', '/\r\nx: y'), 'bare CR'],
  // 8.2.2: fields of one connection
  ['connection', [...GET, ['connection', 'close']], 'connection-specific header field'],
  ['keep-alive', [...GET, ['keep-alive', 'timeout=5']], 'connection-specific header field'],
  ['proxy-connection', [...GET, ['proxy-connection', 'keep-alive']], 'connection-specific header field'],
  ['transfer-encoding', [...POST, ['transfer-encoding', 'chunked']], 'connection-specific header field'],
  ['upgrade', [...GET, ['upgrade', 'websocket']], 'connection-specific header field'],
  ['http2-settings', [...GET, ['http2-settings', 'AAMAAABk']], 'connection-specific header field'],
  ['te with a coding', [...GET, ['te', 'gzip']], 'TE other than trailers'],
  ['te with a coding too', [...GET, ['te', 'trailers, gzip']], 'TE other than trailers'],
  ['an empty te', [...GET, ['te', '']], 'TE other than trailers'],
  // 8.3: pseudo-header fields
  ['an unknown pseudo-header field', [...GET, [':version', '2']], 'unknown pseudo-header field'],
  ['an empty pseudo-header name', [[':', ''], ...GET], 'unknown pseudo-header field'],
  ['one of a response', [...GET, OK], ':status in a request'],
  ['one after a field', [METHOD, SCHEME, AUTHORITY, ['x', '1'], PATH], 'misplaced pseudo-header field'],
  ['an unknown one after a field', [...GET, ['x', '1'], [':x', '1']], 'misplaced pseudo-header field'],
  ['one repeated after a field', [...GET, ['x', '1'], METHOD], 'misplaced pseudo-header field'],
  ['two methods', [...GET, METHOD], 'repeated :method'],
  ['two schemes', [...GET, SCHEME], 'repeated :scheme'],
  ['two authorities', [...GET, AUTHORITY], 'repeated :authority'],
  ['two paths', [...GET, [':path', '/b']], 'repeated :path'],
  ['no field at all', [], 'missing :method'],
  // 8.3.1: of a request
  ['no method', without(':method'), 'missing :method'],
  ['no scheme', without(':scheme'), 'missing :scheme'],
  ['no path', without(':path'), 'missing :path'],
  ['no authority and no Host', without(':authority'), 'missing :authority'],
  ['an empty method', having(':method', ''), 'malformed :method'],
  ['a space in the method', having(':method', 'GET /x'), 'malformed :method'],
  ['a colon in the method', having(':method', 'G:T'), 'malformed :method'],
  ['an unknown scheme', having(':scheme', 'ftp'), 'unsupported :scheme'],
  ['an empty scheme', having(':scheme', ''), 'unsupported :scheme'],
  ['a scheme that hides a target', having(':scheme', 'https://b.test/'), 'unsupported :scheme'],
  ['an empty path', having(':path', ''), 'invalid :path'],
  ['a path without its slash', having(':path', 'a'), 'invalid :path'],
  ['an absolute target', having(':path', 'http://b.test/'), 'invalid :path'],
  ['an asterisk without OPTIONS', having(':path', '*'), 'invalid :path'],
  ['a query without a path', having(':path', '?a'), 'invalid :path'],
  ['a space in the path', having(':path', '/a b'), 'invalid :path'],
  ['a version in the path', having(':path', '/ HTTP/1.1'), 'invalid :path'],
  ['a tab in the path', having(':path', '/a\tb'), 'invalid :path'],
  ['a byte beyond ASCII in the path', having(':path', '/\xe9'), 'invalid :path'],
  ['an empty authority', having(':authority', ''), 'invalid :authority'],
  ['userinfo', having(':authority', 'u@a.test'), 'invalid :authority'],
  ['a path in the authority', having(':authority', 'a.test/x'), 'invalid :authority'],
  ['a list of authorities', having(':authority', 'a.test,b.test'), 'invalid :authority'],
  ['a port too large', having(':authority', 'a.test:65536'), 'invalid :authority'],
  ['a space in the authority', having(':authority', 'a b'), 'invalid :authority'],
  ['another Host', [...GET, ['host', 'b.test']], 'Host differs from :authority'],
  ['a Host with another port', [...GET, ['host', 'a.test:443']], 'Host differs from :authority'],
  ['an empty Host beside', [...GET, ['host', '']], 'Host differs from :authority'],
  ['two Hosts', [...GET, ['host', 'a.test'], ['host', 'a.test']], 'repeated Host'],
  ['an empty Host only', [...without(':authority'), ['host', '']], 'invalid Host'],
  ['userinfo in the only Host', [...without(':authority'), ['host', 'u@a']], 'invalid Host'],
  // 8.1.1: content-length
  ['a length that is no number', [...POST, ['content-length', '+5']], 'invalid Content-Length', false],
  ['an empty length', [...POST, ['content-length', '']], 'invalid Content-Length', false],
  ['a list of lengths', [...POST, ['content-length', '5, 5']], 'invalid Content-Length', false],
  [
    'a length of 16 digits',
    [...POST, ['content-length', '1000000000000000']],
    'invalid Content-Length',
    false,
  ],
  [
    'two lengths',
    [...POST, ['content-length', '5'], ['content-length', '5']],
    'repeated Content-Length',
    false,
  ],
  ['a length and no body', [...POST, ['content-length', '5']], 'Content-Length without a body', true],
  // 8.5: CONNECT
  ['CONNECT with a scheme', [...TUNNEL, SCHEME], 'CONNECT with :scheme or :path', false],
  ['CONNECT with a path', [...TUNNEL, PATH], 'CONNECT with :scheme or :path', false],
  ['CONNECT to nowhere', [[':method', 'CONNECT']], 'CONNECT wants host:port', false],
  [
    'CONNECT by Host',
    [
      [':method', 'CONNECT'],
      ['host', 'a:80'],
    ],
    'CONNECT wants host:port',
    false,
  ],
  ['CONNECT without a port', [[':method', 'CONNECT'], AUTHORITY], 'CONNECT wants host:port', false],
  ['CONNECT with another Host', [...TUNNEL, ['host', 'b.test']], 'Host differs from :authority', false],
  ['CONNECT with another port', [...TUNNEL, ['host', 'a.test:80']], 'Host differs from :authority', false],
  ['CONNECT with a length', [...TUNNEL, ['content-length', '0']], 'CONNECT with a body', false],
  // RFC 8441 4
  [':protocol with another method', [...GET, [':protocol', 'websocket']], ':protocol without CONNECT'],
  ['two protocols', [...WEBSOCKET, [':protocol', 'websocket']], 'repeated :protocol', false],
  ['extended CONNECT without a scheme', WEBSOCKET.filter(p => p !== SCHEME), 'missing :scheme', false],
  ['without a path', WEBSOCKET.filter(([name]) => name !== ':path'), 'missing :path', false],
  ['without an authority', WEBSOCKET.filter(p => p !== AUTHORITY), 'missing :authority', false],
  [
    'an empty protocol',
    WEBSOCKET.map(p => (p[0] === ':protocol' ? [':protocol', ''] : p)),
    'invalid :protocol',
    false,
  ],
  [
    'two in one',
    WEBSOCKET.map(p => (p[0] === ':protocol' ? [':protocol', 'a, b'] : p)),
    'invalid :protocol',
    false,
  ],
  [
    'HTTP/2 in HTTP/2',
    WEBSOCKET.map(p => (p[0] === ':protocol' ? [':protocol', 'h2c'] : p)),
    'invalid :protocol',
    false,
  ],
  ['with a length', [...WEBSOCKET, ['content-length', '0']], 'CONNECT with a body', false],
];

t.test('requests that are refused', async t => {
  for (const [why, pairs, fault, endStream = true] of REFUSED) {
    const head = requestOf(listOf(pairs), endStream, false);
    t.match(head, { code: 'bad_request', what: fault }, why);
    t.ok(head instanceof ParseFault);
  }
});

t.test('a list over the limits is too large, whatever else is wrong with it', async t => {
  const list = listOf([...GET, ['X', '']]);
  list.tooLarge = true;
  const too = { code: 'headers_too_large', what: 'header section too large' };
  t.match(requestOf(list, true, false), too);
  t.match(responseOf(list, true, 'GET', false), too);
  t.match(trailersOf(list, null), too);
});

t.test('a request says what it would say in HTTP/1.1', async t => {
  const head = request(
    [
      [':method', 'PATCH'],
      [':path', '/a/b?c=%20#d'],
      [':scheme', 'HTTPS'],
      [':authority', 'App.test:8080'],
      ['x', '1'],
      ['te', 'Trailers'],
      ['expect', '100-Continue'],
      ['content-type', 'application/grpc+proto'],
      ['x-request-id', 'r1'],
      ['traceparent', '00-1'],
      ['x', '2'],
    ],
    false,
  );
  t.match(head, {
    method: 'PATCH',
    target: '/a/b?c=%20#d',
    rawPath: '/a/b?c=%20#d',
    host: 'App.test:8080',
    scheme: 'https',
    version: '2',
    minor: 1,
    framing: 'chunked',
    trailers: true,
    expectContinue: true,
    grpc: true,
    requestId: true,
    traceparent: '00-1',
    upgrade: null,
    protocolToken: null,
    absolute: false,
    close: false,
  });
  t.same(
    [head.headerValues('x'), head.headerValues('absent'), head.headerValues(':path')],
    [['1', '2'], [], []],
  );
  t.same(head.headerValues('host'), ['App.test:8080']);
  t.same(head.sentFields(), [
    ['host', 'App.test:8080'],
    ['x', '1'],
    ['expect', '100-Continue'],
    ['content-type', 'application/grpc+proto'],
    ['x-request-id', 'r1'],
    ['traceparent', '00-1'],
    ['x', '2'],
  ]);
});

t.test('how long the body of a request is', async t => {
  for (const [pairs, endStream, framing, contentLength] of [
    [GET, true, 'none', 0],
    [GET, false, 'chunked', 0],
    [[...POST, ['content-length', '0']], true, 'none', 0],
    [[...POST, ['content-length', '0']], false, 'length', 0],
    [[...POST, ['content-length', '007']], false, 'length', 7],
    [TUNNEL, false, 'none', 0],
    [WEBSOCKET, false, 'none', 0],
  ] as const) {
    t.match(request(pairs, endStream), { framing, contentLength }, JSON.stringify(pairs));
  }
});

t.test('the authority comes from :authority or from Host, which may say it in another case', async t => {
  t.equal(request([...without(':authority'), ['host', 'b.test']]).host, 'b.test');
  const both = request([...GET, ['host', 'A.test']]);
  t.same(
    [both.host, both.headerValues('host'), both.sentFields()],
    ['a.test', ['a.test'], [['host', 'a.test']]],
  );
});

t.test('OPTIONS may ask of the whole server', async t => {
  t.equal(request([[':method', 'OPTIONS'], SCHEME, AUTHORITY, [':path', '*']]).rawPath, '*');
});

t.test('CONNECT names host and port only', async t => {
  const head = request([...TUNNEL, ['host', 'a.test'], ['content-type', 'application/grpc']], false);
  t.match(head, { target: 'a.test:443', rawPath: 'a.test:443', host: 'a.test:443', grpc: false });
});

t.test('extended CONNECT is the GET of the handshake that it stands for', async t => {
  const head = request([...WEBSOCKET, ['content-type', 'application/grpc']], false);
  t.match(head, {
    method: 'GET',
    rawPath: '/chat',
    host: 'a.test',
    protocolToken: 'websocket',
    upgrade: null,
  });
  t.equal(head.grpc, false, 'a 200 in refusal would open the tunnel');
});

t.test('policy reads several cookie fields as one', async t => {
  const head = request([...GET, ['cookie', 'a=1'], ['x', '1'], ['cookie', 'b=2'], ['cookie', 'c=3']]);
  t.same(head.headerValues('cookie'), ['a=1; b=2; c=3']);
  t.same(head.sentFields(), [
    ['host', 'a.test'],
    ['cookie', 'a=1; b=2; c=3'],
    ['x', '1'],
  ]);
  t.same(request([...GET, ['cookie', 'a=1']]).headerValues('cookie'), ['a=1']);
});

t.test("nobody's word about the mesh is shown", async t => {
  const head = request([...GET, ['outrider-http1', '1 X'], ['x-envoy-peer-metadata', 'x']]);
  t.same([head.headerValues('outrider-http1'), head.sentFields()], [[], [['host', 'a.test']]]);
  t.equal(head.memo, null, 'without agreement it is a field like any other');
});

t.test('responses that are refused', async t => {
  for (const [why, pairs, fault, method = 'GET', endStream = false] of [
    ['no status', [['x', '1']], 'missing :status'],
    ['nothing', [], 'missing :status'],
    ['status after a field', [['x', '1'], OK], 'missing :status'],
    ['two statuses', [OK, OK], 'misplaced pseudo-header field'],
    ['a pseudo-header field of a request', [OK, PATH], 'misplaced pseudo-header field'],
    ['one of a request first', [METHOD, OK], 'unknown pseudo-header field'],
    ['an unknown one', [[':x', ''], OK], 'unknown pseudo-header field'],
    ['an empty status', [[':status', '']], 'malformed :status'],
    ['two digits', [[':status', '20']], 'malformed :status'],
    ['four digits', [[':status', '2000']], 'malformed :status'],
    ['a reason', [[':status', '200 OK']], 'malformed :status'],
    ['a status below 100', [[':status', '099']], 'malformed :status'],
    ['letters', [[':status', '2xx']], 'malformed :status'],
    ['101', [[':status', '101']], '101 in HTTP/2'],
    ['an interim one that ends', [[':status', '103']], 'interim response ends the stream', 'GET', true],
    ['connection', [OK, ['connection', 'close']], 'connection-specific header field'],
    ['transfer-encoding', [OK, ['transfer-encoding', 'chunked']], 'connection-specific header field'],
    ['te', [OK, ['te', 'trailers']], 'connection-specific header field'],
    ['upper case', [OK, ['Server', 'x']], 'upper case in a header name'],
    ['CRLF', [OK, ['x', 'a\r\n\r\nb']], 'bare CR'],
    ['two lengths', [OK, ['content-length', '1'], ['content-length', '1']], 'repeated Content-Length'],
    ['no number', [OK, ['content-length', '1x']], 'invalid Content-Length'],
    ['a length and no body', [OK, ['content-length', '1']], 'Content-Length without a body', 'GET', true],
    [
      '204 with a length',
      [
        [':status', '204'],
        ['content-length', '1'],
      ],
      'Content-Length in a 204 response',
    ],
    [
      'an interim one with a length',
      [
        [':status', '100'],
        ['content-length', '1'],
      ],
      'Content-Length in a 100 response',
    ],
    ['a tunnel with a length', [OK, ['content-length', '1']], 'Content-Length in a 200 response', 'CONNECT'],
  ] as readonly (readonly [string, readonly Pair[], string, string?, boolean?])[]) {
    t.match(responseOf(listOf(pairs), endStream, method, false), { code: 'bad_request', what: fault }, why);
  }
});

t.test('how long the body of a response is', async t => {
  const length: Pair = ['content-length', '5'];
  for (const [pairs, endStream, method, framing, emptyUnsaid] of [
    [[OK], false, 'GET', 'chunked', false],
    [[OK], true, 'GET', 'length', true],
    [[OK, length], false, 'GET', 'length', false],
    [[OK, ['content-length', '0']], true, 'GET', 'length', false],
    [[OK, length], true, 'HEAD', 'none', false],
    [[[':status', '304'], length], true, 'GET', 'none', false],
    [[[':status', '204']], true, 'GET', 'none', false],
    [[[':status', '103']], false, 'GET', 'none', false],
    [[OK], false, 'CONNECT', 'none', false],
    [[[':status', '407'], length], false, 'CONNECT', 'length', false],
  ] as const) {
    t.match(response(pairs, endStream, method), { framing, emptyUnsaid }, JSON.stringify([pairs, method]));
  }
});

t.test('a response has the reason phrase of its status', async t => {
  t.match(response([[':status', '404']]), { status: 404, reason: 'Not Found' });
  t.match(response([[':status', '103']], false), { status: 103, reason: '' });
  t.match(response([[':status', '799']]), { status: 799, reason: 'Unknown' });
});

t.test('trailers', async t => {
  const lines = trailersOf(
    listOf([
      ['grpc-status', '7'],
      ['grpc-message', 'no'],
      ['x-sum', ''],
      ['content-length', '5'],
      ['host', 'evil'],
      ['te', 'trailers'],
      ['authorization', 'x'],
      ['cookie', 'x'],
      ['x_forwarded_for', 'x'],
      ['outrider-http1', '1'],
      ['x-user', 'x'],
    ]),
    new Set(['x-user']),
  );
  t.same(lines, { lines: 'grpc-status: 7\r\ngrpc-message: no\r\nx-sum: \r\n', grpcStatus: '7' });
  t.same(trailersOf(listOf([]), null), { lines: '', grpcStatus: '' });
  for (const [pair, what] of [
    [OK, 'misplaced pseudo-header field'],
    [[':x', ''], 'misplaced pseudo-header field'],
    [['connection', 'x'], 'connection-specific header field'],
    [['transfer-encoding', 'chunked'], 'connection-specific header field'],
    [['X', ''], 'upper case in a header name'],
    [['x', 'a\r\n\r\nGET'], 'bare CR'],
  ] as const) {
    t.match(trailersOf(listOf([['a', ''], pair]), null), { code: 'bad_request', what });
  }
});
