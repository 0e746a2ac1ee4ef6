/** Heads between the two versions: what goes from one to the other arrives as it would have gone directly. */
import fc from 'fast-check';
import t from 'tap';
import type { ResponseEdits } from '../../src/http/exchange.ts';
import { FieldList } from '../../src/http/field-list.ts';
import {
  headEnd,
  ParseFault,
  parseRequest,
  parseResponse,
  type RequestHead,
} from '../../src/http/h1-parser.ts';
import { type RequestEdits, writeRequestHead, writeResponseHead } from '../../src/http/h1-write.ts';
import { NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { type H2RequestHead, type H2ResponseHead, requestOf, responseOf } from '../../src/http/h2-head.ts';
import { encodeLocalHead, encodeRequest, encodeResponse, encodeTrailers } from '../../src/http/h2-write.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { HpackEncoder, INDEX, NEVER, NO_INDEX } from '../../src/http/hpack-encoder.ts';
import { changes, requestHeads, requestLists, responseHeads } from './head-generator.ts';
import { listOf, type Pair, RecordingEncoder } from './header-lists.ts';
import { nodeReadsRequests } from './node-reading.ts';
import { type Message, readRequests } from './strict-messages.ts';

const UNCHANGED = { added: '', drop: 0, remove: null };

function sound<T extends object>(head: T | ParseFault): T {
  if (head instanceof ParseFault) throw new Error(head.what);
  return head;
}

function http1(...lines: readonly string[]): RequestHead {
  return sound(parseRequest([...lines, '', ''].join('\r\n')));
}

function edits(head: RequestHead, more: Partial<RequestEdits> = {}): RequestEdits {
  return { target: head.rawPath, ...UNCHANGED, ...more };
}

function sent(head: RequestHead, more: Partial<RequestEdits> = {}, memo = false): RecordingEncoder {
  const encoder = new RecordingEncoder();
  encodeRequest(encoder, head, edits(head, more), { drop: 0, scheme: 'https', memo });
  return encoder;
}

function isEmpty(head: { framing: string; contentLength: number }): boolean {
  return head.framing === 'none' || (head.framing === 'length' && head.contentLength === 0);
}

/** As it arrives at the next hop, through real HPACK. */
function passRequest(
  encoder: HpackEncoder,
  decoder: HpackDecoder,
  head: RequestHead,
  more: Partial<RequestEdits>,
  memo: boolean,
): H2RequestHead {
  encoder.begin();
  encodeRequest(encoder, head, edits(head, more), { drop: 0, scheme: 'https', memo });
  return sound(requestOf(decoded(encoder, decoder), isEmpty(head), memo));
}

function decoded(encoder: HpackEncoder, decoder: HpackDecoder): FieldList {
  const list = new FieldList();
  const fault = decoder.decode(Buffer.from(encoder.buffer), 0, encoder.length, list, {
    bytes: 61_440,
    fields: 200,
  });
  if (fault !== null) throw new Error(fault);
  return list;
}

t.test(
  'a request of HTTP/1.1: names in lower case, Host as :authority, nothing of the connection',
  async t => {
    const head = http1(
      'POST /a?b HTTP/1.1',
      'X-One: 1',
      'Host: a.test',
      'Connection: X-Gone, te, close',
      'X-Gone: 1',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: x',
      'TE: gzip, trailers',
      'Transfer-Encoding: chunked',
      'Expect: 100-continue',
      'Upgrade: h2c',
      'Outrider-Http1: 1 evil',
      'x-one:2  ',
    );
    t.same(sent(head, { target: '/x?b', added: 'x-new: 1\r\nX-Newer:2\r\n' }).pairs, [
      [':method', 'POST'],
      [':scheme', 'https'],
      [':authority', 'a.test'],
      [':path', '/x?b'],
      ['x-one', '1'],
      ['expect', '100-continue'],
      ['x-one', '2'],
      ['x-new', '1'],
      ['x-newer', '2'],
      ['te', 'trailers'],
    ]);
  },
);

t.test('CONNECT has a method and an authority only', async t => {
  const head = http1('CONNECT a.test:443 HTTP/1.1', 'Host: A.test');
  t.same(sent(head).pairs, [
    [':method', 'CONNECT'],
    [':authority', 'a.test:443'],
  ]);
});

const WEBSOCKET: readonly Pair[] = [
  [':method', 'CONNECT'],
  [':protocol', 'websocket'],
  [':scheme', 'https'],
  [':authority', 'a.test'],
  [':path', '/chat'],
  ['sec-websocket-version', '13'],
];

t.test('extended CONNECT stays one in HTTP/2 and is the handshake in HTTP/1.1', async t => {
  const head = sound(requestOf(listOf(WEBSOCKET), false, false));
  t.same(sent(head).pairs, WEBSOCKET);
  const lines = writeRequestHead(head, edits(head)).split('\r\n');
  t.same(lines, [
    'GET /chat HTTP/1.1',
    'Host: a.test',
    'sec-websocket-version: 13',
    'Connection: Upgrade',
    'Upgrade: websocket',
    '',
    '',
  ]);
});

t.test('what 101 is to HTTP/1.1, 200 is to extended CONNECT', async t => {
  const text =
    'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX: 1\r\n\r\n';
  const encoder = new RecordingEncoder();
  encodeResponse(encoder, sound(parseResponse(text, 'GET')), null, { memo: true });
  t.same(encoder.pairs, [
    [':status', '200'],
    ['x', '1'],
  ]);
});

t.test('what comes anew each time is not indexed, and secrets never are', async t => {
  const head = http1(
    'GET /a?b HTTP/1.1',
    'Host: a',
    'traceparent: 1',
    'tracestate: 1',
    'x-request-id: 1',
    'Content-Length: 5',
    'Authorization: short',
    'Cookie: short',
    `Authorization: ${'x'.repeat(20)}`,
    `Cookie: ${'x'.repeat(20)}`,
    'X: 1',
  );
  const { pairs, hows } = sent(head);
  t.same(
    pairs.map(([name], i) => `${name} ${hows[i]}`),
    [
      `:method ${INDEX}`,
      `:scheme ${INDEX}`,
      `:authority ${INDEX}`,
      `:path ${NO_INDEX}`,
      `traceparent ${NO_INDEX}`,
      `tracestate ${NO_INDEX}`,
      `x-request-id ${NO_INDEX}`,
      `content-length ${NO_INDEX}`,
      `authorization ${NEVER}`,
      `cookie ${NEVER}`,
      `authorization ${INDEX}`,
      `cookie ${INDEX}`,
      `x ${INDEX}`,
    ],
  );
  t.equal(sent(http1('GET /a HTTP/1.1', 'Host: a')).hows[3], INDEX);
  t.equal(sent(http1(`GET /${'a'.repeat(128)} HTTP/1.1`, 'Host: a')).hows[3], NO_INDEX);
  const encoder = new RecordingEncoder();
  const response = sound(
    parseResponse('HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 5\r\n\r\n', 'GET'),
  );
  encodeResponse(encoder, response, null, { memo: false });
  t.same(encoder.hows, [INDEX, NEVER, INDEX]);
});

t.test('a field that came never indexed leaves so, and cookies leave as they came', async t => {
  const pairs: readonly Pair[] = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', 'a.test'],
    [':path', '/'],
    ['cookie', 'a=1'],
    ['x', 'secret'],
    ['cookie', 'b=2'],
    ['x', 'none'],
  ];
  const list = listOf(pairs);
  list.kinds[5]! |= NEVER_INDEXED;
  const { pairs: onward, hows } = sent(sound(requestOf(list, true, false)));
  t.same([onward, hows.slice(4)], [pairs, [NEVER, NEVER, NEVER, INDEX]]);
});

t.test('a request of HTTP/2 as HTTP/1.1: Host first, cookies in one line', async t => {
  const list = listOf([
    [':method', 'POST'],
    [':scheme', 'https'],
    [':path', '/a'],
    [':authority', 'a.test'],
    ['x', '1'],
    ['cookie', 'a=1'],
    ['te', 'trailers'],
    ['cookie', 'b=2'],
    ['outrider-http1', '1 X'],
    ['x', '2'],
  ]);
  const lines = ['POST /a HTTP/1.1', 'Host: a.test', 'x: 1', 'cookie: a=1; b=2', 'x: 2'];
  const end = ['Connection: TE', 'TE: trailers', '', ''];
  const streamed = sound(requestOf(list, false, false));
  t.same(writeRequestHead(streamed, edits(streamed)).split('\r\n'), [
    ...lines,
    'Transfer-Encoding: chunked',
    ...end,
  ]);
  const empty = sound(requestOf(list, true, false));
  t.same(writeRequestHead(empty, edits(empty)).split('\r\n'), [...lines, 'content-length: 0', ...end]);
});

t.test('edits of a request of HTTP/2', async t => {
  const head = sound(
    requestOf(
      listOf([
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/a'],
        [':authority', 'a.test'],
        ['x_user', '1'],
        ['x-request-id', '1'],
        ['x', '1'],
      ]),
      true,
      false,
    ),
  );
  const change = { target: '/b', added: 'x-request-id: 2\r\n', drop: 4, remove: ['x-user', 'host'] };
  const text = 'GET /b HTTP/1.1\r\nHost: a.test\r\nx: 1\r\nx-request-id: 2\r\n\r\n';
  t.equal(writeRequestHead(head, change), text);
  t.same(sent(head, change).pairs.slice(3), [
    [':path', '/b'],
    ['x', '1'],
    ['x-request-id', '2'],
  ]);
});

t.test('a response of HTTP/2 that ends with its head has no body in HTTP/1.1', async t => {
  const head = sound(
    responseOf(
      listOf([
        [':status', '200'],
        ['grpc-status', '0'],
      ]),
      true,
      'POST',
      false,
    ),
  );
  t.equal(
    writeResponseHead(head, 'same', '', null),
    'HTTP/1.1 200 OK\r\ngrpc-status: 0\r\ncontent-length: 0\r\n\r\n',
  );
});

t.test('an answer of our own, and trailers', async t => {
  const encoder = new RecordingEncoder();
  encodeLocalHead(
    encoder,
    'HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\nX-A:  1 \r\nconnection: close\r\n\r\nbody: x\r\n',
  );
  t.same(encoder.pairs, [
    [':status', '403'],
    ['content-type', 'text/plain'],
    ['x-a', '1'],
  ]);
  encoder.begin();
  encodeTrailers(encoder, 'Grpc-Status: 0\r\nx-sum:\r\n');
  t.same(encoder.pairs, [
    ['grpc-status', '0'],
    ['x-sum', ''],
  ]);
  encoder.begin();
  encodeTrailers(encoder, '');
  t.same(encoder.pairs, []);
});

t.test('with a memo a request arrives byte for byte as it would have gone directly', async () => {
  const [encoder, decoder] = [new HpackEncoder(), new HpackDecoder(4096)];
  fc.assert(
    fc.property(requestHeads, changes, (text, change) => {
      const head = sound(parseRequest(text));
      const there = passRequest(encoder, decoder, head, change, true);
      const direct = writeRequestHead(head, edits(head, change));
      const onward = passRequest(encoder, decoder, there, {}, true);
      return (
        writeRequestHead(there, edits(there)) === direct &&
        writeRequestHead(onward, edits(onward)) === direct &&
        there.minor === head.minor &&
        same(there.headerValues('cookie'), sound(parseRequest(direct)).headerValues('cookie'))
      );
    }),
    { numRuns: 3_000 },
  );
});

t.test('with a memo a response arrives byte for byte as it would have gone directly', async () => {
  const [encoder, decoder] = [new HpackEncoder(), new HpackDecoder(4096)];
  const pass = (
    head: ReturnType<typeof responseOf> | ReturnType<typeof parseResponse>,
    change: ResponseEdits | null,
  ): H2ResponseHead => {
    const from = sound(head);
    encoder.begin();
    encodeResponse(encoder, from, change, { memo: true });
    return sound(responseOf(decoded(encoder, decoder), false, 'GET', true));
  };
  fc.assert(
    fc.property(responseHeads, changes, (text, { added, remove }) => {
      const head = sound(parseResponse(text, 'GET'));
      const change = { added, remove: remove ?? [] };
      const there = pass(head, change);
      const onward = pass(there, null);
      const delivery = head.framing === 'close' ? 'chunked' : 'same';
      const direct = writeResponseHead(head, delivery, '', change);
      return [there, onward].every(one => writeResponseHead(one, 'same', '', null) === direct);
    }),
    { numRuns: 3_000 },
  );
});

t.test('without a memo only the case of names, the place of Host and the spacing are lost', async () => {
  const [encoder, decoder] = [new HpackEncoder(), new HpackDecoder(4096)];
  fc.assert(
    fc.property(requestHeads, changes, (text, change) => {
      const head = sound(parseRequest(text));
      const there = passRequest(encoder, decoder, head, change, false);
      const direct = meaningOf(writeRequestHead(head, edits(head, change)), true);
      const via = meaningOf(writeRequestHead(there, edits(there)), false);
      return same(via, direct);
    }),
    { numRuns: 3_000 },
  );
});

/** Start line and fields, Host first, cookies joined, lengths of nothing left out. */
function meaningOf(text: string, joins: boolean): string[] {
  const [line = '', ...fields] = text.slice(0, -4).split('\r\n');
  const pairs = fields.map(field => {
    const colon = field.indexOf(':');
    return [
      field.slice(0, colon).toLowerCase(),
      field.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, ''),
    ] as const;
  });
  const cookies = pairs.filter(([name]) => name === 'cookie');
  const crumbs = cookies.map(([, value]) => value);
  const joined = crumbs.filter(value => crumbs.length === 1 || value !== '').join('; ');
  const authority = line.startsWith('CONNECT ')
    ? line.split(' ')[1]
    : pairs.find(([name]) => name === 'host')?.[1];
  const rest = pairs.flatMap(pair => {
    const [name, value] = pair;
    if (name === 'host' || (name === 'content-length' && value === '0')) return [];
    if (!joins || name !== 'cookie') return [`${name}: ${value}`];
    return pair === cookies[0] ? [`cookie: ${joined}`] : [];
  });
  return [line, `host: ${authority}`, ...rest];
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

t.test('whatever list is taken is one HTTP/1.1 request that says the same', async t => {
  let taken = 0;
  fc.assert(
    fc.property(requestLists, fc.boolean(), (pairs, endStream) => {
      const head = requestOf(listOf(pairs), endStream, false);
      if (head instanceof ParseFault) return;
      taken++;
      const fault = smuggled(head);
      if (fault !== null) throw new Error(fault);
    }),
    { numRuns: 10_000 },
  );
  t.ok(taken > 1_000, `${taken} lists were taken`);
});

t.test('no memo makes more of a list than one HTTP/1.1 request that says the same', async t => {
  const entry = fc.constantFrom(
    'Host',
    'X-A',
    'x-A',
    'Cookie',
    'cookie:ss:t',
    'X-Two-Words',
    'Content-Length::',
    'Y',
  );
  const field = fc.constantFrom<Pair>(
    ['x-a', '1'],
    ['cookie', 'a'],
    ['x-two-words', ''],
    ['content-length', '0'],
  );
  const spelled = fc.array(fc.tuple(entry, fc.option(field, { freq: 1 })), { maxLength: 4 });
  let taken = 0;
  fc.assert(
    fc.property(spelled, fc.constantFrom('1', '0', '1 "OK"'), fc.boolean(), (parts, version, own) => {
      // Most often the field that the entry spells, else another or none.
      const pairs = parts.flatMap(([name, other]): Pair[] => {
        const lower = name.toLowerCase().replace(/:.*/, '');
        if (lower === 'host' || (!own && other === null)) return [];
        return [own || other === null ? [lower, '0'] : other];
      });
      const memo: Pair = ['outrider-http1', [version, ...parts.map(([name]) => name)].join(' ')];
      const head = requestOf(
        listOf([...WEBSOCKET.slice(2, 5), [':method', 'GET'], ...pairs, memo]),
        true,
        true,
      );
      if (head instanceof ParseFault) return;
      taken++;
      const fault = smuggled(head);
      if (fault !== null) throw new Error(fault);
    }),
    { numRuns: 3_000 },
  );
  t.ok(taken > 300, `${taken} lists were taken`);
});

/** What our own parser reads of the head that it did not say; null = nothing. */
function smuggled(head: H2RequestHead): string | null {
  const text = writeRequestHead(head, edits(head));
  const bytes = Buffer.from(text, 'latin1');
  if (headEnd(bytes, 0, 0) !== bytes.length) return `more than one head in ${text}`;
  const read = parseRequest(text);
  if (read instanceof ParseFault) return `${read.what} in ${text}`;
  const [own, theirs] = [head, read].map(one => ({
    start: [one.method, one.rawPath, one.host, one.contentLength, one.expectContinue],
    cookies: one.headerValues('cookie'),
  }));
  // A handshake announces no trailers.
  if (read.trailers !== (head.trailers && head.protocolToken === null)) return 'trailers';
  if (!same(own, theirs)) return `${JSON.stringify(theirs)} for ${JSON.stringify(own)}`;
  const fields = read.sentFields().filter(([name, value]) => !(name === 'content-length' && value === '0'));
  const wanted = head.sentFields().filter(([name, value]) => !(name === 'content-length' && value === '0'));
  // With a memo Host has its own place.
  for (const list of [fields, wanted]) list.sort(([a], [b]) => Number(b === 'host') - Number(a === 'host'));
  if (!same(fields, wanted)) return `${JSON.stringify(fields)} for ${JSON.stringify(wanted)}`;
  if (head.framing !== read.framing && !(isEmpty(head) && isEmpty(read))) return `framed as ${read.framing}`;
  return same(read.upgrade, head.protocolToken) ? null : `upgrade ${read.upgrade}`;
}

t.test('and node:http reads the same of it', async t => {
  let read = 0;
  await fc.assert(
    fc.asyncProperty(requestLists, async pairs => {
      const head = requestOf(listOf(pairs), true, false);
      // node hands a tunnel over, and has a list of methods.
      if (head instanceof ParseFault || head.method === 'CONNECT' || head.protocolToken !== null) return;
      const text = writeRequestHead(head, edits(head));
      const { messages, error } = await nodeReadsRequests(
        Buffer.from(`${text}GET /next HTTP/1.1\r\nHost: n\r\n\r\n`, 'latin1'),
      );
      if (error === 'HPE_INVALID_METHOD' || error === 'HPE_INVALID_URL') return;
      read++;
      const [first, next] = messages;
      const [ours] = readRequests(text).messages as [Message];
      if (error !== null || messages.length !== 2 || next?.start !== 'GET /next')
        throw new Error(`${error} for ${text}`);
      if (first?.start !== `${head.method} ${head.rawPath}`) throw new Error(`${first?.start} for ${text}`);
      if (!same(first.fields, ours.fields)) throw new Error(`${JSON.stringify(first.fields)} for ${text}`);
    }),
    { numRuns: 500 },
  );
  t.ok(read > 30, `${read} lists were read`);
});
