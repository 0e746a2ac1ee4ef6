/** Heads: what a request or a response says, or in what it is at fault; whole, and before it is. */
import t from 'tap';
import { fieldCode } from '../../src/http/fields.ts';
import {
  headEnd,
  MAX_HEAD_BYTES,
  ParseFault,
  parseRequest,
  parseResponse,
  parseTrailers,
  type RequestHead,
  type ResponseHead,
} from '../../src/http/h1-parser.ts';

function request(...lines: readonly string[]): RequestHead {
  const head = parseRequest([...lines, '', ''].join('\r\n'));
  if (head instanceof ParseFault) throw new Error(`${head.what} in ${lines.join(' | ')}`);
  return head;
}

function response(lines: readonly string[], method = 'GET'): ResponseHead {
  const head = parseResponse([...lines, '', ''].join('\r\n'), method);
  if (head instanceof ParseFault) throw new Error(`${head.what} in ${lines.join(' | ')}`);
  return head;
}

/** The fault of a GET with these lines after its Host. */
function faultOf(...lines: readonly string[]): string {
  return faultOfText(['GET / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n'));
}

function faultOfText(text: string): string {
  const head = parseRequest(text);
  return head instanceof ParseFault ? head.what : 'none';
}

t.test('a request', async t => {
  const head = request(
    'PATCH /a/b?c=%20 HTTP/1.1',
    'Host: app.test:8080',
    'X: 1',
    'x:2',
    'Content-Length: 12',
  );
  t.match(head, {
    method: 'PATCH',
    target: '/a/b?c=%20',
    rawPath: '/a/b?c=%20',
    host: 'app.test:8080',
    minor: 1,
    framing: 'length',
    contentLength: 12,
    close: false,
    upgrade: null,
  });
  t.same([head.headerValues('x'), head.headerValues('absent')], [['1', '2'], []]);
});

t.test('the version of a request', async t => {
  t.equal(request('GET / HTTP/1.1', 'Host: a').version, '1.1');
  t.equal(request('GET / HTTP/1.0').version, '1.0');
});

t.test('the request line', async t => {
  for (const [line, fault] of [
    ['', 'malformed request line'],
    [' GET / HTTP/1.1', 'malformed request line'],
    ['GET', 'malformed request line'],
    ['GET\t/ HTTP/1.1', 'malformed request line'],
    ['G"T / HTTP/1.1', 'malformed request line'],
    ['GET  / HTTP/1.1', 'malformed request target'],
    ['GET /\xe9 HTTP/1.1', 'malformed request target'],
    ['GET /a\tb HTTP/1.1', 'malformed request target'],
    ['GET /a\0 HTTP/1.1', 'malformed request target'],
    ['GET /', 'malformed request target'],
    ['GET / b HTTP/1.1', 'unsupported protocol version'],
    ['GET /  HTTP/1.1', 'unsupported protocol version'],
    ['GET / HTTP/1.1 ', 'unsupported protocol version'],
    ['GET / HTTP/1.2', 'unsupported protocol version'],
    ['GET / HTTP/1.10', 'unsupported protocol version'],
    ['GET / HTTP/2.0', 'unsupported protocol version'],
    ['GET / http/1.1', 'unsupported protocol version'],
    ['GET / HTTP/1.', 'unsupported protocol version'],
    ['PRI * HTTP/2.0', 'unsupported protocol version'],
  ] as const) {
    t.equal(faultOfText(`${line}\r\nHost: a\r\n\r\n`), fault, JSON.stringify(line));
  }
});

t.test('the four forms of a target', async t => {
  for (const [line, rawPath, host] of [
    ['GET /a?b HTTP/1.1', '/a?b', 'h'],
    ['GET //a HTTP/1.1', '//a', 'h'],
    ['OPTIONS * HTTP/1.1', '*', 'h'],
    ['GET http://b.test/a?b HTTP/1.1', '/a?b', 'b.test'],
    ['GET HTTPS://b.test:8443 HTTP/1.1', '/', 'b.test:8443'],
    ['GET http://b.test?a HTTP/1.1', '/?a', 'b.test'],
    ['GET http://[::1]/ HTTP/1.1', '/', '[::1]'],
  ] as const) {
    t.match(request(line, 'Host: h'), { rawPath, host, absolute: host !== 'h' }, line);
  }
  for (const [target, host] of [
    ['b.test:443', 'b.test:443'],
    ['b.test:443', 'B.test'],
    ['[::1]:443', '[::1]'],
  ] as const) {
    t.match(request(`CONNECT ${target} HTTP/1.1`, `Host: ${host}`), { rawPath: target, host: target }, host);
  }
  for (const [line, fault] of [
    ['GET * HTTP/1.1', 'invalid request target'],
    ['OPTIONS *a HTTP/1.1', 'invalid request target'],
    ['GET a HTTP/1.1', 'invalid request target'],
    ['GET a:80 HTTP/1.1', 'invalid request target'],
    ['GET ftp://a/ HTTP/1.1', 'invalid request target'],
    ['GET http:///a HTTP/1.1', 'invalid request target'],
    ['GET http://a@b/ HTTP/1.1', 'invalid authority in the request target'],
    ['GET http://a:b/ HTTP/1.1', 'invalid authority in the request target'],
    ['GET http://a:65536/ HTTP/1.1', 'invalid authority in the request target'],
    ['GET http://a\\b/ HTTP/1.1', 'invalid authority in the request target'],
    ['CONNECT a HTTP/1.1', 'CONNECT wants host:port'],
    ['CONNECT /a HTTP/1.1', 'CONNECT wants host:port'],
    ['CONNECT a:99999 HTTP/1.1', 'CONNECT wants host:port'],
    ['CONNECT http://a:80 HTTP/1.1', 'CONNECT wants host:port'],
    ['CONNECT a:80 HTTP/1.1', 'Host differs from the target'],
    ['CONNECT h.test:80 HTTP/1.1', 'Host differs from the target'],
    ['CONNECT xh:80 HTTP/1.1', 'Host differs from the target'],
  ] as const) {
    t.equal(faultOfText(`${line}\r\nHost: h\r\n\r\n`), fault, line);
  }
});

t.test('Host', async t => {
  for (const host of [
    'a',
    'A.b-c_d',
    '1.2.3.4:80',
    '[::1]',
    '[fe80::1]:8080',
    'a.:0',
    'xn--bcher-kva.example',
    'a:65535',
  ]) {
    t.equal(request('GET / HTTP/1.1', `Host: ${host}`).host, host);
  }
  for (const host of [
    '',
    'a b',
    'a,b',
    'a/b',
    'a@b',
    'a:',
    'a:x',
    'a:-1',
    'a:65536',
    'a:123456',
    '::1',
    '[::1',
    'b\xfccher',
    'a#',
    'http://a',
    '"a"',
  ]) {
    t.equal(faultOfText(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), 'invalid Host', JSON.stringify(host));
  }
  t.equal(faultOfText('GET / HTTP/1.1\r\n\r\n'), 'missing Host');
  t.equal(request('GET / HTTP/1.0').host, '', 'HTTP/1.0 needs none');
  t.equal(faultOf('hOST: a'), 'repeated Host');
  t.equal(
    faultOfText('GET http://a/ HTTP/1.1\r\n\r\n'),
    'missing Host',
    'an absolute target does not replace it',
  );
});

t.test('field lines', async t => {
  for (const [line, fault] of [
    [' X: 1', 'obsolete line folding'],
    ['\tX: 1', 'obsolete line folding'],
    [': 1', 'empty header name'],
    ['X : 1', 'white space before the colon'],
    ['X\t: 1', 'white space before the colon'],
    ['X', 'header line without a colon'],
    ['X\0: 1', 'invalid character in a header name'],
    ['X\xe9: 1', 'invalid character in a header name'],
    ['X(a): 1', 'invalid character in a header name'],
    ['"X": 1', 'invalid character in a header name'],
    ['X: a\rb', 'bare CR'],
    ['X: a\nb', 'bare LF'],
    ['X: a\r', 'bare CR'],
    ['X\nY: 1', 'header line without a colon'],
    ['X: a\0b', 'NUL byte'],
    ['X: a\x01b', 'control character in a header value'],
    ['X: a\x7fb', 'control character in a header value'],
    ['X: a\x0bb', 'control character in a header value'],
  ] as const) {
    t.equal(faultOf(line), fault, JSON.stringify(line));
  }
  t.equal(
    faultOfText('GET / HTTP/1.1\r\nHost: a\r\n\r\nX'),
    'malformed header section',
    'a head ends with its end',
  );
});

t.test('how long a request body is', async t => {
  for (const [lines, framing, length] of [
    [[], 'none', 0],
    [['Content-Length: 0'], 'length', 0],
    [['Content-Length:\t 00012 '], 'length', 12],
    [['Content-Length: 999999999999999'], 'length', 999_999_999_999_999],
    [['Transfer-Encoding: chunked'], 'chunked', 0],
    [['transfer-encoding: Chunked\t'], 'chunked', 0],
  ] as const) {
    t.match(
      request('POST / HTTP/1.1', 'Host: a', ...lines),
      { framing, contentLength: length },
      lines.join(),
    );
  }
  for (const [fault, ...lines] of [
    ['repeated Content-Length', 'Content-Length: 5', 'Content-Length: 5'],
    ['invalid Content-Length', 'Content-Length:'],
    ['invalid Content-Length', 'Content-Length: 5, 5'],
    ['invalid Content-Length', 'Content-Length: +5'],
    ['invalid Content-Length', 'Content-Length: 5a'],
    ['invalid Content-Length', 'Content-Length: 0x5'],
    ['invalid Content-Length', 'Content-Length: 5 5'],
    ['invalid Content-Length', 'Content-Length: \xb2'],
    ['invalid Content-Length', 'Content-Length: 1000000000000000'],
    ['both Transfer-Encoding and Content-Length', 'Content-Length: 5', 'Transfer-Encoding: chunked'],
    ['both Transfer-Encoding and Content-Length', 'Transfer-Encoding: chunked', 'Content-Length: 0'],
    ['repeated Transfer-Encoding', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding:'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: gzip, chunked'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: chunked, identity'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: ,chunked'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: "chunked"'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: chunked;a=b'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: \xa0chunked'],
    ['unsupported Transfer-Encoding', 'Transfer-Encoding: identity'],
  ] as const) {
    t.equal(faultOf(...lines), fault, lines.join(' | '));
  }
  t.equal(
    faultOfText('POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n'),
    'Transfer-Encoding with HTTP/1.0',
  );
  t.equal(faultOfText('CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n'), 'CONNECT with a body');
});

t.test('how long a response body is', async t => {
  for (const [name, lines, method, framing] of [
    ['by its length', ['HTTP/1.1 200 OK', 'Content-Length: 5'], 'GET', 'length'],
    ['in chunks', ['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'], 'GET', 'chunked'],
    ['until the end', ['HTTP/1.1 200 OK'], 'GET', 'close'],
    ['none to HEAD', ['HTTP/1.1 200 OK', 'Content-Length: 5'], 'HEAD', 'none'],
    ['none to HEAD, though chunked', ['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'], 'HEAD', 'none'],
    ['none with 304', ['HTTP/1.1 304 Same', 'Content-Length: 5'], 'GET', 'none'],
    ['none with 204', ['HTTP/1.1 204 No'], 'GET', 'none'],
    ['none with 204 and length 0', ['HTTP/1.1 204 No', 'Content-Length: 0'], 'GET', 'none'],
    ['none with 100', ['HTTP/1.1 100 Continue'], 'POST', 'none'],
    ['none when CONNECT is accepted', ['HTTP/1.1 200 OK'], 'CONNECT', 'none'],
    ['but when it is not', ['HTTP/1.1 403 No', 'Content-Length: 5'], 'CONNECT', 'length'],
  ] as const) {
    t.equal(response(lines, method).framing, framing, name);
  }
  for (const [fault, method, ...lines] of [
    ['Content-Length in a 204 response', 'GET', 'HTTP/1.1 204 No', 'Content-Length: 5'],
    ['Transfer-Encoding in a 204 response', 'GET', 'HTTP/1.1 204 No', 'Transfer-Encoding: chunked'],
    ['Content-Length in a 103 response', 'GET', 'HTTP/1.1 103 Hints', 'Content-Length: 5'],
    ['Content-Length in a 200 response', 'CONNECT', 'HTTP/1.1 200 OK', 'Content-Length: 5'],
    ['Transfer-Encoding with HTTP/1.0', 'GET', 'HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'],
    ['repeated Content-Length', 'HEAD', 'HTTP/1.1 200 OK', 'Content-Length: 5', 'Content-Length: 6'],
  ] as const) {
    const head = parseResponse([...lines, '', ''].join('\r\n'), method);
    t.equal(head instanceof ParseFault ? head.what : 'none', fault, lines.join(' | '));
  }
});

t.test('the status line', async t => {
  for (const [line, status, reason] of [
    ['HTTP/1.1 200 OK', 200, 'OK'],
    ['HTTP/1.0 404 Not Found', 404, 'Not Found'],
    ['HTTP/1.1 599 ', 599, ''],
    ['HTTP/1.1 999', 999, ''],
    ['HTTP/1.1 200 J\xf6rg\t', 200, 'J\xf6rg\t'],
  ] as const) {
    t.match(response([line, 'Content-Length: 0']), { status, reason }, line);
  }
  for (const [line, fault] of [
    ['HTTP/1.1  200 OK', 'malformed status code'],
    ['HTTP/1.1 20 OK', 'malformed status code'],
    ['HTTP/1.1 2000 OK', 'malformed status line'],
    ['HTTP/1.1 099 OK', 'malformed status code'],
    ['HTTP/1.1 2x0 OK', 'malformed status code'],
    ['HTTP/1.1 200\tOK', 'malformed status line'],
    ['HTTP/1.2 200 OK', 'unsupported protocol version'],
    ['HTTP/2 200 OK', 'malformed status line'],
    ['http/1.1 200 OK', 'malformed status line'],
    ['ICY 200 OK', 'malformed status line'],
    ['HTTP/1.1 200 O\0K', 'control character in the status line'],
    ['HTTP/1.1 200 O\rK', 'control character in the status line'],
  ] as const) {
    const head = parseResponse(`${line}\r\n\r\n`, 'GET');
    t.equal(head instanceof ParseFault ? head.what : 'none', fault, JSON.stringify(line));
  }
});

t.test('Connection', async t => {
  for (const [lines, close, keepAlive, nominated] of [
    [[], false, false, null],
    [['Connection: close'], true, false, null],
    [['Connection: Keep-Alive'], false, true, null],
    [['Connection: keep-alive', 'Connection: CLOSE'], true, true, null],
    [['Connection: , x-a ,,TE, Close'], true, false, ['x-a']],
    [['Connection: closed'], false, false, ['closed']],
  ] as const) {
    t.match(request('GET / HTTP/1.1', 'Host: a', ...lines), { close, keepAlive, nominated }, lines.join());
  }
  t.equal(faultOf(`Connection: ${'a,'.repeat(101)}`), 'too many header fields');
});

t.test('what the loop asks of a request besides', async t => {
  const ask = (...lines: readonly string[]) => request('POST / HTTP/1.1', 'Host: a', ...lines);
  t.equal(ask('Expect: 100-Continue').expectContinue, true);
  t.equal(ask('Expect: 200-maybe').expectContinue, false);
  t.equal(ask('Content-Type: application/grpc').grpc, true);
  t.equal(ask('Content-Type: application/grpc+proto').grpc, true);
  t.equal(ask('Content-Type: text/plain').grpc, false);
  t.equal(ask('TE: trailers').trailers, true);
  t.equal(ask('X-Request-Id: 1').requestId, true);
  t.equal(ask('X-Request-Id:').requestId, false);
  t.equal(ask('traceparent: 00-ab').traceparent, '00-ab');
  t.equal(ask('Connection: upgrade', 'Upgrade: a', 'Upgrade: b').upgrade, 'a, b');
  t.equal(ask('Upgrade: a').upgrade, null);
});

t.test('Keep-Alive: timeout', async t => {
  for (const [value, seconds] of [
    ['timeout=5', 5],
    ['max=100, timeout=60', 60],
    ['timeout=0', 0],
    ['timeouts=5', -1],
    ['max=5', -1],
    ['xtimeout=5', -1],
  ] as const) {
    t.equal(response(['HTTP/1.1 200 OK', `Keep-Alive: ${value}`]).keepAliveTimeout, seconds, value);
  }
});

t.test('names that need care are known in any case, and no other name is taken for one', async t => {
  const names = [
    ...['te', 'host', 'expect', 'upgrade', 'connection', 'keep-alive', 'traceparent', 'content-type'],
    ...['x-request-id', 'content-length', 'http2-settings', 'proxy-connection', 'transfer-encoding'],
    ...['x-forwarded-proto', 'x-envoy-peer-metadata', 'x-forwarded-client-cert', 'x-envoy-peer-metadata-id'],
  ];
  for (const name of names) {
    const code = fieldCode(name, 0, name.length);
    t.ok(code > 0, name);
    t.equal(fieldCode(`..${name.toUpperCase()}:`, 2, name.length), code);
    for (let at = 0; at < name.length; at++) {
      for (const other of ['z', '!', '\xe9', String.fromCharCode(name.charCodeAt(at) ^ 0x40)]) {
        const changed = name.slice(0, at) + other + name.slice(at + 1);
        if (changed.toLowerCase() !== name) t.equal(fieldCode(changed, 0, changed.length), 0, changed);
      }
    }
  }
});

t.test('the end of a head', async t => {
  const end = (text: string, start = 0, scanned = 0): number | string => {
    const found = headEnd(Buffer.from(text, 'latin1'), start, scanned);
    return found instanceof ParseFault ? found.what : found;
  };

  t.test('is found wherever the bytes were cut', async t => {
    const head = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
    for (let cut = 0; cut < head.length; cut++) {
      t.equal(end(head.slice(0, cut)), -1);
      t.equal(end(`${head}more`, 0, cut), head.length, `${cut} looked at before`);
      t.equal(end(`before${head}more`, 6, 6 + cut), 6 + head.length);
    }
  });

  t.test('is not waited for when no byte can mend the head any more', async t => {
    for (const [text, fault] of [
      ['GET / HTTP/1.1\n', 'bare LF'],
      ['\n', 'bare LF'],
      ['GET / HTTP/1.1\r\nHost: a\n', 'bare LF'],
      ['GET / HTTP/1.1\r\nHost: a\r\n\rX', 'bare CR'],
      ['GET / HTTP/1.1\rX', 'bare CR'],
      ['GET\0', 'NUL byte'],
      ['a'.repeat(MAX_HEAD_BYTES + 1), 'header section too large'],
    ] as const) {
      t.equal(end(text), fault, JSON.stringify(text.slice(0, 40)));
      t.equal(end(text, 0, text.length - 1), fault, 'by its last byte');
    }
    t.equal(end('GET / HTTP/1.1\r'), -1, 'the next byte may be LF');
  });

  t.test('counts up to the limit', async t => {
    const exact = `${'a'.repeat(MAX_HEAD_BYTES - 4)}\r\n\r\n`;
    t.equal(end(exact), MAX_HEAD_BYTES);
    t.equal(end(`a${exact}`), 'header section too large');
    t.equal(end(`xx${exact}`, 2), MAX_HEAD_BYTES + 2);
  });
});

t.test('a trailer section is fields and an end', async t => {
  const trailers = parseTrailers('A: 1\r\nB:2\r\n\r\n');
  t.same(trailers instanceof ParseFault ? trailers.what : trailers.headerValues('b'), ['2']);
  t.ok(parseTrailers('A: 1\r\n') instanceof ParseFault);
});
