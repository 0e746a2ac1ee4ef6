/** Messages for the differential tests: sound ones, and ones that are changed where framing hangs on it. */
import fc from 'fast-check';

const SOUND_STARTS = [
  'GET /a HTTP/1.1',
  'POST /p?q=1 HTTP/1.1',
  'PUT /p HTTP/1.1',
  'HEAD /h HTTP/1.1',
  'DELETE //x/../y;z HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  'GET http://b.test/x?y HTTP/1.1',
  'POST /p HTTP/1.0',
  'GET /a HTTP/1.0',
];
const ODD_STARTS = [
  'GET /a#b HTTP/1.1',
  'GET  /a HTTP/1.1',
  'GET /a  HTTP/1.1',
  'GET /a\tHTTP/1.1',
  'GET /a HTTP/1.1 ',
  'GET /\xe9 HTTP/1.1',
  'GET /a HTTP/1.2',
  'GET /a HTTP/2.0',
  'GET /a',
  'get /a HTTP/1.1',
  'BREW /pot HTTP/1.1',
  'GET http://user@b.test/ HTTP/1.1',
  'GET ftp://b.test/ HTTP/1.1',
  ' GET /a HTTP/1.1',
];
const SOUND_LINES = [
  'X-A: 1',
  'x-a:2',
  'X-Two:  two  words \t',
  'X-Empty:',
  'X-Latin: J\xf6rg \xff',
  "!#$%&'*+-.^_`|~: t",
  'Cookie: a=1; b="2"',
  'Accept: */*, text/html;q=0.5',
  'Connection: keep-alive',
  'Connection: close',
  'Connection: x-a, Keep-Alive',
  'Keep-Alive: timeout=5',
  'TE: trailers',
  'Trailer: X-Sum',
  'Upgrade: h2c',
  'Expect: 100-continue',
  'Content-Type: application/grpc',
  'X-Forwarded-Client-Cert: By=spiffe://evil',
  'X_Forwarded_Client_Cert: By=spiffe://evil',
];
const FRAMING_LINES = [
  'Content-Length: 5',
  'content-length:5',
  'Content-Length: 0',
  'Content-Length: 05',
  'Content-Length: 6',
  'Content-Length: 5, 5',
  'Content-Length: +5',
  'Content-Length: -5',
  'Content-Length: 5 ',
  'Content-Length: 5 5',
  'Content-Length: 0x5',
  'Content-Length: 5;',
  'Content-Length:',
  'Content-Length : 5',
  ' Content-Length: 5',
  'Content_Length: 5',
  'Content-Length: 99999999999999999999',
  'Transfer-Encoding: chunked',
  'transfer-encoding:\tChUnKeD ',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, gzip',
  'Transfer-Encoding: chunked, chunked',
  'Transfer-Encoding: chunked,',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: \x0bchunked',
  'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding:',
  'Transfer-Encoding : chunked',
  'Transfer_Encoding: chunked',
  'Transfer-Encoding\xa0: chunked',
  'Connection: transfer-encoding',
  'Connection: content-length, host',
  'Host: a',
  'Host: b',
  'host:a',
  'Host :a',
  'Host:',
  'Host: a, b',
  'Host: a@b',
  'X: a\r\n b',
  'X: a\r\n\tb',
  'X: a\rb',
  'X: a\nb',
  'X: a\0b',
  'X: a\x01b',
  'X\0: a',
  ': a',
  'X',
  'X Y: a',
  'Upgrade: websocket',
  'Connection: upgrade',
];
const SIZES = [
  '5',
  '5',
  '5',
  '05',
  '5;a=b',
  '5;a="\\"x"',
  '5 ',
  ' 5',
  '5\t',
  '0x5',
  '+5',
  '6',
  '4',
  '5\0',
  '5,',
  '5;\x01',
  '',
  'g',
  'ffffffffffffffff5',
];
const ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '', '\r\r\n', '\n\r\n', ' \r\n', 'X\r\n'];
const TRAILERS = [
  '',
  '',
  'X-Sum: 1\r\n',
  'X-Sum:1\r\nx-two: \xff \r\n',
  'Content-Length: 5\r\n',
  'Host: evil\r\n',
  'bad\r\n',
  'X: a\nb\r\n',
  ' X: 1\r\n',
  'X : 1\r\n',
  'X: \0\r\n',
  'X: a\rb\r\n',
];
const BYTES = [
  '\r',
  '\n',
  '\r\n',
  ' ',
  '\t',
  '\0',
  ':',
  ',',
  ';',
  '0',
  '5',
  'a',
  '\x7f',
  '\x80',
  '\xff',
  '"',
  '\x0b',
  '\r\n\r\n',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
];

export const NEXT_REQUEST = 'GET /next HTTP/1.1\r\nHost: next\r\n\r\n';

const sometimes = <T>(usual: readonly T[], odd: readonly T[], weight = 6): fc.Arbitrary<T> =>
  fc.oneof(
    { weight, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );

const eol = fc.oneof(
  { weight: 40, arbitrary: fc.constant('\r\n') },
  { weight: 1, arbitrary: fc.constantFrom('\n', '\r', '\r\r\n', '') },
);

const chunk = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      '5\r\nhello\r\n',
      '1\r\n\r\r\n',
      'A;x\r\n0123456789\r\n',
      '05\r\n0\r\n\r\n\r\n',
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(...SIZES), fc.constantFrom(...ENDS), fc.constantFrom(...ENDS))
      .map(([size, a, b]) => `${size}${a}hello${b}`),
  },
);

const chunkedBody = fc
  .tuple(
    fc.array(chunk, { maxLength: 3 }),
    sometimes(['0\r\n'], ['00\r\n', '0;x=y\r\n', '0\n', '0 \r\n', '0', '-0\r\n', '']),
    sometimes(TRAILERS.slice(0, 4), TRAILERS.slice(4)),
    sometimes(['\r\n'], ['\n', '\r', '']),
  )
  .map(([chunks, last, trailers, end]) => chunks.join('') + last + trailers + end);

/** Framing and body that belong together. */
const framed = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ lines: [] as string[], body: '' }) },
  {
    weight: 3,
    arbitrary: fc
      .constantFrom('hello', '\r\n\r\nx', '0\r\n\r\n')
      .map(body => ({ lines: [`Content-Length: ${body.length}`], body })),
  },
  { weight: 5, arbitrary: chunkedBody.map(body => ({ lines: ['Transfer-Encoding: chunked'], body })) },
);

interface Change {
  readonly at: number;
  readonly kind: 'insert' | 'replace' | 'delete' | 'repeat';
  readonly bytes: string;
  readonly length: number;
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  kind: fc.constantFrom('insert' as const, 'replace' as const, 'delete' as const, 'repeat' as const),
  bytes: fc.constantFrom(...BYTES),
  length: fc.integer({ min: 1, max: 12 }),
});

function changed(text: string, { at, kind, bytes, length }: Change): string {
  const from = Math.floor(at * text.length);
  const before = text.slice(0, from);
  if (kind === 'insert') return before + bytes + text.slice(from);
  if (kind === 'replace') return before + bytes + text.slice(from + 1);
  if (kind === 'delete') return before + text.slice(from + Math.min(length, 3));
  return before + text.slice(from, from + length) + text.slice(from);
}

function message(starts: fc.Arbitrary<string>, hosts: fc.Arbitrary<readonly string[]>): fc.Arbitrary<string> {
  const extra = fc.array(sometimes(SOUND_LINES, FRAMING_LINES, 8), { maxLength: 4 });
  const parts = fc.record({
    start: starts,
    hosts,
    extra,
    framed,
    order: fc.boolean(),
    eols: fc.array(eol, { minLength: 8, maxLength: 8 }),
  });
  const plain = parts.map(({ start, hosts, extra, framed, order, eols }) => {
    const lines = order ? [...hosts, ...framed.lines, ...extra] : [...hosts, ...extra, ...framed.lines];
    const head = [start, ...lines].map((line, i) => line + (eols[i] ?? '\r\n')).join('');
    return `${head}${eols[7] ?? '\r\n'}${framed.body}`;
  });
  const changes = fc.oneof(
    { weight: 5, arbitrary: fc.constant([]) },
    { weight: 3, arbitrary: fc.array(change, { minLength: 1, maxLength: 2 }) },
  );
  return fc.tuple(plain, changes).map(([text, list]) => list.reduce(changed, text));
}

/** A request, now and then two with a third behind them, as latin1 text. */
export const requests: fc.Arbitrary<string> = fc
  .tuple(
    message(
      sometimes(SOUND_STARTS, ODD_STARTS, 12),
      fc.oneof(
        { weight: 30, arbitrary: fc.constant(['Host: a.test']) },
        { weight: 1, arbitrary: fc.constant([]) },
      ),
    ),
    fc.constantFrom('', NEXT_REQUEST, NEXT_REQUEST, `\r\n${NEXT_REQUEST}`),
  )
  .map(([first, next]) => first + next);

const STATUS_LINES = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 200 OK',
  'HTTP/1.1 404 Not Found',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 304 Not Modified',
  'HTTP/1.1 500 ',
  'HTTP/1.1 206 J\xf6rg',
];
const ODD_STATUS_LINES = [
  'HTTP/1.1 200',
  'HTTP/1.1  200 OK',
  'HTTP/1.1 20 OK',
  'HTTP/1.1 2000 OK',
  'HTTP/1.1 099 OK',
  'HTTP/1.2 200 OK',
  'HTTP/2 200 OK',
  'http/1.1 200 OK',
  'HTTP/1.1 101 Switching',
  'HTTP/1.1 200 O\0K',
  ' HTTP/1.1 200 OK',
  'ICY 200 OK',
];

/** A response, interim ones before it now and then, other bytes behind it now and then. */
export const responses: fc.Arbitrary<string> = fc
  .tuple(
    fc.constantFrom(
      '',
      '',
      '',
      'HTTP/1.1 100 Continue\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n',
    ),
    message(sometimes(STATUS_LINES, ODD_STATUS_LINES, 12), fc.constant([])),
    fc.constantFrom('', '', '', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL', 'EVIL'),
  )
  .map(parts => parts.join(''));
