/** Bodies: what of them goes on, whole or cut anywhere; and what is refused, at once. */
import t from 'tap';
import { BodyReader, type Delivery } from '../../src/http/h1-body.ts';
import { ParseFault, parseRequest, parseResponse } from '../../src/http/h1-parser.ts';
import { Outbox } from '../../src/http/outbox.ts';

const CHUNKED = parseRequest('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
const LENGTH_5 = parseRequest('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n');
const UNTIL_CLOSE = parseResponse('HTTP/1.1 200 OK\r\n\r\n', 'GET');

interface Fed {
  readonly out: string;
  /** Bytes that are not the body's. */
  readonly rest: string;
  readonly done: boolean;
  readonly fault: string | null;
  readonly bytes: number;
}

/** Feeds the pieces of a body; `end`: the connection ends after them. */
function feed(
  head: typeof CHUNKED | typeof UNTIL_CLOSE,
  pieces: readonly string[],
  delivery: Delivery = 'same',
  end = false,
): Fed {
  if (head instanceof ParseFault) throw new Error(head.what);
  const reader = new BodyReader();
  const out = new Outbox();
  let rest = '';
  let text = '';
  reader.begin(head, delivery);
  for (const piece of pieces) {
    const chunk = Buffer.from(piece, 'latin1');
    const at = reader.done ? 0 : reader.feed(chunk, 0, out);
    // The buffer may be used again when feed has returned and its bytes are written.
    text += written(out);
    chunk.fill(0);
    if (reader.fault !== null) break;
    rest += piece.slice(at);
  }
  if (end && reader.fault === null) reader.end(out);
  return {
    out: text + written(out),
    rest,
    done: reader.done,
    fault: reader.fault?.what ?? null,
    bytes: reader.bytes,
  };
}

function written(out: Outbox): string {
  return out
    .take()
    .map(piece => (typeof piece === 'string' ? piece : piece.toString('latin1')))
    .join('');
}

/** The text whole, byte by byte, and cut in two at every offset. */
function cuts(text: string): string[][] {
  const all = [[text], [...text]];
  for (let at = 1; at < text.length; at++) all.push([text.slice(0, at), text.slice(at)]);
  return all;
}

t.test('chunked bodies go on in one form, however they are written and cut', async t => {
  for (const [name, sent, out, bare] of [
    ['nothing', '0\r\n\r\n', '0\r\n\r\n', ''],
    ['one chunk', '5\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
    [
      'several',
      '5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n',
      '5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n',
      'hello world',
    ],
    [
      'data like framing',
      '9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n',
      '9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n',
      '\r\n0\r\n\r\n\r\n',
    ],
    [
      'two digits',
      '10\r\n0123456789abcdef\r\n0\r\n\r\n',
      '10\r\n0123456789abcdef\r\n0\r\n\r\n',
      '0123456789abcdef',
    ],
    ['leading zeros', '0005\r\nhello\r\n0000\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
    ['upper case', 'A\r\n0123456789\r\n0\r\n\r\n', 'a\r\n0123456789\r\n0\r\n\r\n', '0123456789'],
    [
      'extensions',
      '5;a=b\r\nhello\r\n1;x="\t y"\r\n!\r\n0;z\r\n\r\n',
      '5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n',
      'hello!',
    ],
    ['trailers', '1\r\na\r\n0\r\nX-Sum: 1\r\nY:2 \r\n\r\n', '1\r\na\r\n0\r\nX-Sum: 1\r\nY:2\r\n\r\n', 'a'],
  ] as const) {
    t.test(name, async t => {
      for (const pieces of cuts(sent)) {
        const how = JSON.stringify(pieces.length > 2 ? 'byte by byte' : pieces);
        t.match(feed(CHUNKED, pieces), { out, done: true, fault: null, rest: '', bytes: bare.length }, how);
        t.match(feed(CHUNKED, pieces, 'bare'), { out: bare, done: true, fault: null, rest: '' }, how);
      }
    });
  }
});

t.test('what follows the body is left', async t => {
  for (const pieces of cuts('5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n'))
    t.equal(feed(CHUNKED, pieces).rest, 'GET / HTTP/1.1\r\n');
  for (const pieces of cuts('helloGET / HTTP/1.1\r\n')) {
    t.match(feed(LENGTH_5, pieces), { out: 'hello', rest: 'GET / HTTP/1.1\r\n', done: true, bytes: 5 });
  }
});

t.test('trailers that frame, route or identify stay behind', async t => {
  for (const line of [
    'Host: evil',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
    'Connection: close',
    'Keep-Alive: timeout=1',
    'TE: trailers',
    'Upgrade: h2c',
    'Trailer: x',
    'Expect: 100-continue',
    'Authorization: Bearer x',
    'Cookie: a=1',
    'Set-Cookie: a=1',
    'Content-Type: text/html',
    'Content-Encoding: gzip',
    'X-Request-Id: 1',
    'traceparent: 00-1',
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Client-Cert: By=evil',
    'x_forwarded_client_cert: By=evil',
    'X-Forwarded-Proto: https',
    'x_forwarded_proto: https',
    'X_Forwarded_For: 1.2.3.4',
    'x-envoy-peer-metadata: abc',
    'x-envoy-peer-metadata-id: abc',
  ]) {
    t.equal(feed(CHUNKED, [`0\r\nA: 1\r\n${line}\r\nB: 2\r\n\r\n`]).out, '0\r\nA: 1\r\nB: 2\r\n\r\n', line);
  }
  t.equal(feed(CHUNKED, ['0\r\ngrpc-status: 0\r\n\r\n']).out, '0\r\ngrpc-status: 0\r\n\r\n');
});

t.test('a body that only the connection ends', async t => {
  t.match(feed(UNTIL_CLOSE, ['hello', '', 'world'], 'chunked'), {
    out: '5\r\nhello\r\n5\r\nworld\r\n',
    done: false,
  });
  t.match(feed(UNTIL_CLOSE, ['hello'], 'chunked', true), { out: '5\r\nhello\r\n0\r\n\r\n', done: true });
  t.match(feed(UNTIL_CLOSE, ['hello'], 'bare', true), { out: 'hello', done: true });
  t.match(feed(LENGTH_5, ['hell'], 'same', true), { out: 'hell', done: false });
  t.match(feed(CHUNKED, ['5\r\nhello\r\n'], 'same', true), { done: false });
});

t.test('what is no chunked body is refused, wherever it is cut', async t => {
  const zeros = '0'.repeat(14);
  for (const [sent, fault] of [
    ['\r\n', 'invalid chunk size'],
    ['x\r\n', 'invalid chunk size'],
    ['-1\r\n', 'invalid chunk size'],
    ['+1\r\n', 'invalid chunk size'],
    [' 1\r\n', 'invalid chunk size'],
    ['1 \r\n', 'invalid chunk size'],
    ['0x1\r\n', 'invalid chunk size'],
    ['1_0\r\n', 'invalid chunk size'],
    ['1,0\r\n', 'invalid chunk size'],
    ['5\n', 'invalid chunk size'],
    ['5;a\n', 'control character in a chunk extension'],
    ['5;a\0\r\n', 'control character in a chunk extension'],
    ['5;a\x7f\r\n', 'control character in a chunk extension'],
    ['5\r\r\n', 'bad end of a chunk size'],
    ['5\rx', 'bad end of a chunk size'],
    ['5;a\rb', 'bad end of a chunk size'],
    ['ffffffffffffff\r\n', 'chunk size too large'],
    [`${zeros}\r\n`, 'chunk size too large'],
    ['1\r\nab', 'bad end of a chunk'],
    ['1\r\na\n', 'bad end of a chunk'],
    ['1\r\na\rx', 'bad end of a chunk'],
    ['0\r\nnocolon\r\n\r\n', 'header line without a colon'],
    ['0\r\nA: 1\r\n B: 2\r\n\r\n', 'obsolete line folding'],
    ['0\r\nA : 1\r\n\r\n', 'white space before the colon'],
    ['0\r\nA: \x01\r\n\r\n', 'control character in a header value'],
    ['0\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n', 'repeated Content-Length'],
    [`0\r\n${'A: 1\r\n'.repeat(101)}\r\n`, 'too many header fields'],
  ] as const) {
    t.test(JSON.stringify(sent.slice(0, 40)), async t => {
      for (const pieces of cuts(sent)) {
        t.equal(feed(CHUNKED, pieces).fault, fault, JSON.stringify(pieces.map(piece => piece.length)));
      }
    });
  }
});

t.test('malformed trailers are refused as soon as they are, not at their end', async t => {
  for (const sent of ['0\r\n\n', '0\r\nA: 1\n', '0\r\nA: 1\rB', '0\r\nA: \0']) {
    t.equal(feed(CHUNKED, [sent]).fault, 'malformed trailer section', JSON.stringify(sent));
    t.equal(feed(CHUNKED, [...sent]).fault, 'malformed trailer section', JSON.stringify(sent));
  }
});

t.test('what has no end is limited', async t => {
  t.equal(feed(CHUNKED, [`5;${'a'.repeat(257)}`]).fault, 'chunk extension too large');
  t.equal(feed(CHUNKED, ['5;', ...'a'.repeat(257)]).fault, 'chunk extension too large');
  const small = `1;${'a'.repeat(200)}\r\nx\r\n`;
  t.equal(feed(CHUNKED, [small.repeat(81)]).fault, null);
  t.equal(feed(CHUNKED, [small.repeat(82)]).fault, 'chunk extension too large', '16 KiB of them in one body');
  t.equal(feed(CHUNKED, ['0\r\nA: ', 'x'.repeat(61 * 1024)]).fault, 'trailer section too large');
  t.equal(
    feed(CHUNKED, ['0\r\n', ...Array.from({ length: 62 }, () => 'x'.repeat(1024))]).fault,
    'trailer section too large',
  );
});

t.test('a reader starts anew with each message', async t => {
  if (CHUNKED instanceof ParseFault || LENGTH_5 instanceof ParseFault) throw new Error('no head');
  const reader = new BodyReader();
  const out = new Outbox();
  for (const [head, text] of [
    [CHUNKED, '3;x\r\nabc\r\n0\r\nA: 1\r\n\r\n'],
    [LENGTH_5, 'hello'],
    [CHUNKED, '1\r\nx\r\n0\r\n\r\n'],
  ] as const) {
    reader.begin(head, 'same');
    for (const byte of text) reader.feed(Buffer.from(byte), 0, out);
    t.equal(reader.done, true);
  }
  t.equal(written(out), '3\r\nabc\r\n0\r\nA: 1\r\n\r\nhello1\r\nx\r\n0\r\n\r\n');
});
