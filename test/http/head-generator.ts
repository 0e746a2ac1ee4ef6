/** Heads of HTTP/1.1 and lists of HTTP/2 for the properties of what passes between the two. */
import fc from 'fast-check';
import type { Pair } from './header-lists.ts';

const NAMES = [
  'X-A',
  'x-a',
  'X-Two-Words',
  'Accept',
  'Cookie',
  'COOKIE',
  'Authorization',
  'Traceparent',
  'TraceState',
  'X-Request-Id',
  'Content-Type',
  'X-Forwarded-Client-Cert',
  'X_Forwarded_Client_Cert',
  'X-Forwarded-Proto',
  'Set-Cookie',
  "!#$%&'*+-.^_`|~",
  'X-Envoy-Peer-Metadata',
  'Outrider-Http1',
  'outrider_http1',
  'Content_Length',
  'Proxy-Authorization',
  'User-Agent',
];
/** Of one connection: never sent on. */
const HOPS = [
  'Keep-Alive: timeout=5',
  'Proxy-Connection: x',
  'HTTP2-Settings: AA',
  'Connection: X-A',
  'TE: trailers',
];

const space = fc.oneof(
  { weight: 6, arbitrary: fc.constant(' ') },
  { weight: 1, arbitrary: fc.constantFrom('', '  ', '\t', ' \t ') },
);
const after = fc.oneof(
  { weight: 12, arbitrary: fc.constant('') },
  { weight: 1, arbitrary: fc.constantFrom(' ', '\t ', '  ') },
);
const value = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '',
      '1',
      'a=1; b="2"',
      'two  words',
      'J\xf6rg \xff',
      'application/grpc',
      ':',
      '"',
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.constantFrom(...'abc019 \t",;:=()\x80\xff'), { maxLength: 40 })
      .map(parts => parts.join('').trim()),
  },
);
const token = fc
  .array(fc.constantFrom(..."abzABZ019-_.!#$%&'*+^`|~"), { minLength: 1, maxLength: 20 })
  .map(parts => parts.join(''));
const name = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...NAMES) }, { weight: 1, arbitrary: token });
const line = fc
  .oneof(
    { weight: 8, arbitrary: fc.tuple(name, space, value, after) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...HOPS).map(hop => {
        const [head = '', rest = ''] = hop.split(': ');
        return [head, ' ', rest, ''] as [string, string, string, string];
      }),
    },
  )
  .map(([head, before, text, end]) => `${head}:${before}${text}${end}`)
  .filter(text => !/^(?:host|content-length|transfer-encoding|upgrade|te:(?! trailers))/i.test(text));
const lines = fc.array(line, { maxLength: 8 });

const path = fc.oneof(
  fc.constantFrom('/', '/a/b?c=d', '//x/../y;z', '/%20#e', `/${'long/'.repeat(40)}`),
  fc
    .array(fc.constantFrom(...'ab/?#%.;=&!~\'*[]{}|^"<>\\'), { maxLength: 20 })
    .map(parts => `/${parts.join('')}`),
);
const host = fc.constantFrom('a.test', 'A.Test:8080', '[::1]:80', '1.2.3.4', "x!$&'()*+;=~");

const start = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(fc.constantFrom('GET', 'POST', 'HEAD', 'PATCH', 'BREW'), path) },
  { weight: 1, arbitrary: fc.constant(['OPTIONS', '*'] as [string, string]) },
  { weight: 1, arbitrary: fc.constant(['GET', 'http://b.test:1/x?y'] as [string, string]) },
  { weight: 1, arbitrary: fc.constant(['CONNECT', 'b.test:443'] as [string, string]) },
);

const framing = fc.constantFrom(
  '',
  '',
  'Content-Length: 5',
  'content-length:  0',
  'Transfer-Encoding: chunked',
);

function between<T>(list: readonly T[], at: number, more: readonly T[]): T[] {
  const index = Math.floor(at * (list.length + 1));
  return [...list.slice(0, index), ...more, ...list.slice(index)];
}

/** Text of a sound request head. */
export const requestHeads: fc.Arbitrary<string> = fc
  .record({
    start,
    minor: fc.constantFrom(1, 1, 1, 0),
    host,
    hostName: fc.constantFrom('Host', 'Host', 'host', 'HOST'),
    hostSpace: space,
    hostAt: fc.double({ min: 0, max: 0.999, noNaN: true }),
    framing,
    framingAt: fc.double({ min: 0, max: 0.999, noNaN: true }),
    lines,
  })
  .map(one => {
    const [method, target] = one.start;
    const tunnel = method === 'CONNECT';
    const named = tunnel ? (one.minor === 1 ? 'B.test' : target) : one.host;
    const framed =
      tunnel || one.framing === '' || (one.minor === 0 && one.framing.startsWith('T')) ? [] : [one.framing];
    const all = between(between(one.lines, one.framingAt, framed), one.hostAt, [
      `${one.hostName}:${one.hostSpace}${named}`,
    ]);
    return [`${method} ${target} HTTP/1.${one.minor}`, ...all, '', ''].join('\r\n');
  });

/** Text of a sound response head. */
export const responseHeads: fc.Arbitrary<string> = fc
  .record({
    status: fc.constantFrom(200, 200, 204, 302, 304, 404, 503, 103, 799),
    reason: fc.constantFrom(' OK', ' Not Found', ' ', '', ' J\xf6rg "the\t1st" ', '  two ', ' ok" x'),
    minor: fc.constantFrom(1, 1, 1, 0),
    framing: fc.constantFrom('', 'Content-Length: 5', 'transfer-encoding: chunked'),
    framingAt: fc.double({ min: 0, max: 0.999, noNaN: true }),
    lines,
  })
  .map(one => {
    const host = one.status === 302 ? ['Host: x', 'host:  y'] : [];
    const bare = one.status === 204 || one.status < 200 || one.framing === '';
    const framed = bare || (one.minor === 0 && one.framing.startsWith('t')) ? [] : [one.framing];
    return [
      `HTTP/1.${one.minor} ${one.status}${one.reason}`,
      ...between(one.lines, one.framingAt, [...framed, ...host]),
      '',
      '',
    ].join('\r\n');
  });

/** What Outrider changes in a head on its way. */
export const changes: fc.Arbitrary<{ drop: number; added: string; remove: string[] | null }> = fc.record({
  drop: fc.integer({ min: 0, max: 63 }),
  added: fc.constantFrom('', '', 'x-request-id: 1\r\n', 'x-request-id: 1\r\nX-New:2\r\ntraceparent: 00\r\n'),
  remove: fc.constantFrom(null, null, ['x-a'], ['cookie', 'x-two-words', 'content-length']),
});

const ODD_FIELDS: readonly Pair[] = [
  ['host', 'a.test'],
  ['host', 'b.test'],
  ['content-length', '5'],
  ['content-length', '5'],
  ['content-length', '0'],
  ['content-length', '5, 5'],
  ['content_length', '6'],
  ['transfer-encoding', 'chunked'],
  ['transfer_encoding', 'chunked'],
  ['connection', 'close'],
  ['connection', 'x-a'],
  ['upgrade', 'h2c'],
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['expect', '100-continue'],
  ['trailer', 'x-a'],
  ['cookie', 'a=1'],
  ['cookie', 'b=2'],
  ['cookie', ''],
  [':path', '/evil'],
  [':method', 'POST'],
  [':authority', 'b.test'],
  [':scheme', 'http'],
  [':protocol', 'websocket'],
  [':status', '200'],
  ['outrider-http1', '1 X-A'],
  ['x-a', '1\r\ncontent-length: 5'],
  ['x-a', '1\r\n\r\nGET /evil HTTP/1.1'],
  ['x-a\r\ncontent-length', '5'],
  ['x-a: 1\r\nx', '5'],
  ['x-a ', '1'],
  ['', '1'],
  ['X-A', '1'],
];
const EVIL = [...'\r\n\0 \t:/?#@,;aZ9\x7f\x80\xff', '\r\n', ' HTTP/1.1\r\n', '\r\n\r\n', 'http://', '*'];
const evil = fc.array(fc.constantFrom(...EVIL), { maxLength: 4 }).map(parts => parts.join(''));

const pseudoFields = fc
  .record({
    method: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('GET', 'POST', 'OPTIONS', 'CONNECT') },
      { weight: 1, arbitrary: evil },
    ),
    path: fc.oneof(
      { weight: 8, arbitrary: path },
      { weight: 2, arbitrary: evil.map(text => `/${text}`) },
      { weight: 1, arbitrary: evil },
    ),
    authority: fc.oneof(
      { weight: 8, arbitrary: host },
      { weight: 1, arbitrary: evil.map(text => `a.test${text}`) },
    ),
    scheme: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('http', 'https') },
      { weight: 1, arbitrary: evil },
    ),
    order: fc.boolean(),
    tunnel: fc.boolean(),
  })
  .map(({ method, path, authority, scheme, order, tunnel }) => {
    const names: Pair[] = [
      [':method', method],
      [':authority', method === 'CONNECT' && tunnel ? 'b.test:443' : authority],
    ];
    if (method !== 'CONNECT' || !tunnel) names.push([':scheme', scheme], [':path', path]);
    if (method === 'CONNECT' && !tunnel) names.push([':protocol', 'websocket']);
    return order ? names.reverse() : names;
  });

const pair: fc.Arbitrary<Pair> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(
      name.map(text => text.toLowerCase()),
      value,
    ),
  },
  { weight: 4, arbitrary: fc.constantFrom(...ODD_FIELDS) },
  {
    weight: 1,
    arbitrary: fc.tuple(
      name.map(text => text.toLowerCase()),
      evil,
    ),
  },
  { weight: 1, arbitrary: fc.tuple(evil, value) },
);

/** Lists of requests, sound and unsound. */
export const requestLists: fc.Arbitrary<Pair[]> = fc
  .tuple(
    pseudoFields,
    fc.array(pair, { maxLength: 5 }),
    fc.array(fc.tuple(pair, fc.double({ min: 0, max: 0.999, noNaN: true })), { maxLength: 1 }),
  )
  .map(([pseudo, fields, strays]) =>
    strays.reduce<Pair[]>((all, [stray, at]) => between(all, at, [stray]), [...pseudo, ...fields]),
  );
