/** The heads that are sent on: byte for byte, but for what belongs to one connection or is Outrider's to say. */
import t from 'tap';
import { ParseFault, parseRequest, parseResponse } from '../../src/http/h1-parser.ts';
import {
  DROP_PROTO,
  DROP_REQUEST_ID,
  DROP_TRACEPARENT,
  DROP_XFCC,
  type RequestEdits,
  writeRequestHead,
  writeResponseHead,
} from '../../src/http/h1-write.ts';

/** What is sent on of a request with these lines after its Host; `Host: a` and the request line left out. */
function forwarded(lines: readonly string[], edits: Partial<RequestEdits> = {}): string[] {
  const text = request(['Host: a', ...lines], edits);
  const [line, host, ...rest] = text.split('\r\n');
  if (line !== 'GET / HTTP/1.1' || host !== 'Host: a') throw new Error(`sent ${text}`);
  if (rest.splice(-2).join() !== ',') throw new Error('no empty line at the end');
  return rest;
}

function request(
  lines: readonly string[],
  edits: Partial<RequestEdits> = {},
  start = 'GET / HTTP/1.1',
): string {
  const head = parseRequest([start, ...lines, '', ''].join('\r\n'));
  if (head instanceof ParseFault) throw new Error(head.what);
  return writeRequestHead(head, { target: head.rawPath, added: '', drop: DROP_XFCC, remove: null, ...edits });
}

function response(
  lines: readonly string[],
  delivery: 'same' | 'chunked' | 'bare' = 'same',
  connection: '' | 'close' = '',
) {
  const head = parseResponse(['HTTP/1.1 200 Fine', ...lines, '', ''].join('\r\n'), 'GET');
  if (head instanceof ParseFault) throw new Error(head.what);
  return writeResponseHead(head, delivery, connection, null).split('\r\n').slice(1, -2);
}

t.test('fields pass in their order, their case, their spacing, however often and whatever bytes', async t => {
  const lines = [
    'x-UPPER-lower: 1',
    'Cookie: a=1',
    'COOKIE:b=2',
    'X-Space:    two  inside  \t ',
    'X-Empty:',
    'X-Latin: J\xf6rg\x80\xff',
    'X-Tab: a\tb',
    "!#$%&'*+-.^_`|~: all of them",
    'Content-Length: 0',
    'Expect: 100-continue',
    'Authorization: Bearer x',
    'Via: 1.0 fred',
    'Forwarded: for=1.2.3.4',
    'X-Forwarded-For: 1.2.3.4',
  ];
  t.same(forwarded(lines), lines);
});

t.test('what belongs to one connection is not sent on', async t => {
  for (const [name, sent, kept] of [
    ['Connection', ['A: 1', 'Connection: keep-alive', 'B: 2'], ['A: 1', 'B: 2']],
    [
      'and what it names',
      ['A: 1', 'connection: x-hop , close,X-OTHER', 'X-Hop: 1', 'B: 2', 'x-other: 2'],
      ['A: 1', 'B: 2'],
    ],
    ['in every line of it', ['Connection: a', 'Connection: b', 'A: 1', 'B: 2', 'C: 3'], ['C: 3']],
    ['Keep-Alive', ['Keep-Alive: timeout=5', 'A: 1'], ['A: 1']],
    ['Proxy-Connection', ['A: 1', 'Proxy-Connection: keep-alive'], ['A: 1']],
    ['HTTP2-Settings', ['HTTP2-Settings: AAMA', 'A: 1'], ['A: 1']],
    ['Upgrade that is no offer', ['Upgrade: websocket', 'A: 1'], ['A: 1']],
    ['TE other than trailers', ['TE: gzip', 'Connection: TE', 'A: 1'], ['A: 1']],
    [
      'TE: trailers is said anew',
      ['TE: gzip, trailers', 'Connection: TE', 'A: 1'],
      ['A: 1', 'Connection: TE', 'TE: trailers'],
    ],
    ['all of them, side by side', ['Connection: a', 'A: 1', 'Keep-Alive: 1', 'TE: x'], []],
  ] as const) {
    t.same(forwarded(sent), kept, name);
  }
});

t.test('Connection cannot take away what must stay', async t => {
  const lines = [
    'Content-Length: 0',
    'X-Request-Id: 1',
    'Content-Type: a/b',
    'Expect: 100-continue',
    'Traceparent: 00-1',
  ];
  const names = lines.map(line => line.split(':')[0]);
  t.same(forwarded([`Connection: host, ${names.join(', ')}`, ...lines]), lines);
});

t.test('our own lines stay whatever Connection names', async t => {
  const added = 'x-forwarded-client-cert: By=us\r\nx-forwarded-proto: https\r\n';
  const lines = [
    'Connection: x-forwarded-client-cert, x-forwarded-proto',
    'X-Forwarded-Client-Cert: By=them',
  ];
  t.same(forwarded(lines, { added, drop: DROP_XFCC | DROP_PROTO }), [
    'x-forwarded-client-cert: By=us',
    'x-forwarded-proto: https',
  ]);
});

t.test(
  'x-forwarded-client-cert from outside is dropped in every spelling that an app could read as it',
  async t => {
    for (const name of [
      'X-Forwarded-Client-Cert',
      'x-forwarded-client-cert',
      'X_Forwarded_Client_Cert',
      'x-FORWARDED_client-CERT',
    ]) {
      t.same(forwarded(['A: 1', `${name}: By=spiffe://evil`, `${name}:x`, 'B: 2']), ['A: 1', 'B: 2'], name);
    }
    t.same(forwarded(['X-Forwarded-Client-Certs: x', 'X-Forwarded-Client: x']).length, 2, 'others stay');
  },
);

t.test('x-envoy-peer-metadata is the mesh’s own and goes no further', async t => {
  t.same(forwarded(['X-Envoy-Peer-Metadata: abc', 'A: 1', 'x-envoy-peer-metadata-id: sidecar~1']), ['A: 1']);
});

t.test('lines that Outrider replaces are dropped, and only those', async t => {
  const lines = [
    'X-Forwarded-Proto: https',
    'X_Forwarded_Proto: https',
    'X-Request-Id: 1',
    'traceparent: 00-1',
    'A: 1',
  ];
  t.same(forwarded(lines, { drop: 0 }), lines);
  t.same(forwarded(lines, { drop: DROP_PROTO }), lines.slice(2));
  t.same(forwarded(lines, { drop: DROP_REQUEST_ID }), lines.toSpliced(2, 1));
  t.same(forwarded(lines, { drop: DROP_TRACEPARENT }), lines.toSpliced(3, 1));
});

t.test('the request line: the method as it came, the target as decided, HTTP/1.1', async t => {
  t.equal(
    request(['Host: a'], { target: '/b?c' }, 'PATCH /x/../b?c HTTP/1.0'),
    'PATCH /b?c HTTP/1.1\r\nHost: a\r\n\r\n',
  );
});

t.test('Host: of an absolute target the one that counts, in place of the one that was sent', async t => {
  t.equal(
    request(['A: 1', 'Host: other', 'B: 2'], {}, 'GET http://a:81/x HTTP/1.1'),
    'GET /x HTTP/1.1\r\nHost: a:81\r\nA: 1\r\nB: 2\r\n\r\n',
  );
  t.equal(request([], {}, 'GET / HTTP/1.0'), 'GET / HTTP/1.1\r\nHost: \r\n\r\n', 'HTTP/1.1 has one always');
  t.equal(request([], {}, 'CONNECT a:1 HTTP/1.0'), 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
});

t.test('Transfer-Encoding is said anew, once, in one way', async t => {
  t.same(forwarded(['transfer-encoding:  CHUNKED ', 'A: 1']), ['A: 1', 'Transfer-Encoding: chunked']);
});

t.test('a response passes as a request does', async t => {
  const lines = ['Set-Cookie: a=1', 'set-cookie: b=2', 'X-Latin: \xff', 'Content-Length: 5', 'ETag: W/"1"'];
  t.same(response(lines), lines);
  t.same(response(['Connection: close, x-hop', 'X-Hop: 1', 'Keep-Alive: timeout=5', 'Content-Length: 0']), [
    'Content-Length: 0',
  ]);
  t.same(response(['Transfer-Encoding: chunked', 'A: 1']), ['A: 1', 'Transfer-Encoding: chunked']);
  t.same(response(['A: 1'], 'chunked'), ['A: 1', 'Transfer-Encoding: chunked']);
  t.same(response(['Transfer-Encoding: chunked'], 'bare', 'close'), ['Connection: close']);
});

t.test('the status line: the code and the reason as they came, HTTP/1.1', async t => {
  for (const [line, sent] of [
    ['HTTP/1.0 200 OK', 'HTTP/1.1 200 OK'],
    ['HTTP/1.1 404 ', 'HTTP/1.1 404 '],
    ['HTTP/1.1 404', 'HTTP/1.1 404 '],
    ['HTTP/1.1 599 a b\tc \xfc', 'HTTP/1.1 599 a b\tc \xfc'],
  ] as const) {
    const head = parseResponse(`${line}\r\n\r\n`, 'GET');
    t.equal(
      head instanceof ParseFault ? head.what : writeResponseHead(head, 'same', '', null),
      `${sent}\r\n\r\n`,
    );
  }
});

t.test('fields whose removal is asked for are left out in any spelling, every line of them', async t => {
  const lines = [
    'Authorization: Bearer a',
    'X-Jwt-Payload: spoofed',
    'x_jwt_payload: spoofed too',
    'X-Kept: 1',
    'X-Request-Id: 1',
    'x-jwt-payloads: kept',
  ];
  const remove = ['authorization', 'x-jwt-payload', 'x-request-id'];
  t.same(forwarded(lines, { remove }), ['X-Kept: 1', 'x-jwt-payloads: kept']);
  t.same(forwarded(lines, { remove: ['x_kept', 'x_jwt-payload'] }), [lines[0], lines[4], lines[5]]);
  t.same(forwarded(lines, { remove: [], added: 'a: b\r\n' }), [...lines, 'a: b']);
});

t.test('what makes the message that it is stays, whatever is asked for', async t => {
  const lines = ['Content-Length: 0', 'Expect: 100-continue'];
  t.same(forwarded(lines, { remove: ['host', 'content-length', 'expect'] }), lines);
  t.match(request(['Host: a', 'Transfer-Encoding: chunked'], { remove: ['transfer-encoding'] }), /chunked/);
});

t.test('a removal beside options of the connection and drops: each line goes once', async t => {
  const lines = ['X-A: 1', 'Connection: x-b', 'X-B: 2', 'X-C: 3', 'X-Forwarded-Proto: https', 'X-D: 4'];
  t.same(forwarded(lines, { drop: DROP_PROTO, remove: ['x-b', 'x-c'] }), ['X-A: 1', 'X-D: 4']);
});
