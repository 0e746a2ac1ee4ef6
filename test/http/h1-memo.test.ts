/** The field that carries what HTTP/2 lacks: what it says, and what of it is refused. */
import t from 'tap';
import { fieldCode, PEER_METADATA, PLAIN } from '../../src/http/fields.ts';
import { memoOf, requestShape, responseShape, sentName } from '../../src/http/h1-memo.ts';
import { ParseFault, parseRequest, parseResponse } from '../../src/http/h1-parser.ts';
import { writeRequestHead, writeResponseHead } from '../../src/http/h1-write.ts';
import { requestOf, responseOf, trailersOf } from '../../src/http/h2-head.ts';
import { encodeRequest, encodeResponse, encodeTrailers } from '../../src/http/h2-write.ts';
import { listOf, type Pair, RecordingEncoder } from './header-lists.ts';

const NAME = 'outrider-http1';

const GET: readonly Pair[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'a.test'],
  [':path', '/'],
];

function sent(lines: readonly string[], added = '', drop = 0): RecordingEncoder {
  const head = parseRequest([...lines, '', ''].join('\r\n'));
  if (head instanceof ParseFault) throw new Error(head.what);
  const encoder = new RecordingEncoder();
  encodeRequest(
    encoder,
    head,
    { target: head.rawPath, added, drop, remove: null },
    { drop: 0, scheme: 'https', memo: true },
  );
  return encoder;
}

function memoSent(lines: readonly string[], added = '', drop = 0): string {
  const [name, value] = sent(lines, added, drop).pairs.at(-1)!;
  if (name !== NAME) throw new Error(`the last field is ${name}`);
  return value;
}

function answered(text: string): RecordingEncoder {
  const head = parseResponse(text, 'GET');
  if (head instanceof ParseFault) throw new Error(head.what);
  const encoder = new RecordingEncoder();
  encodeResponse(encoder, head, null, { memo: true });
  return encoder;
}

t.test('it says the version, the names in their case and order, and odd spacing', async t => {
  for (const [memo, ...lines] of [
    ['1 Host', 'GET / HTTP/1.1', 'Host: a'],
    ['0 host X', 'GET / HTTP/1.0', 'host: a', 'X: 1'],
    ['1 X-A Host x-a Content-Length', 'GET / HTTP/1.1', 'X-A: 1', 'Host: a', 'x-a: 1', 'Content-Length: 0'],
    ['1 Host:: X:ss: Y:t:st Z', 'GET / HTTP/1.1', 'Host:a', 'X:  1', 'Y:\t1 \t', 'Z: '],
    ['1 Host', 'GET / HTTP/1.1', 'Host: a', 'Connection: X, TE', 'X: 1', 'TE: trailers', 'Keep-Alive: x'],
    ['1 X', 'GET http://b/ HTTP/1.1', 'Host: a', 'X: 1'],
  ] as const) {
    t.equal(memoSent(lines), memo);
  }
});

t.test('it says what is sent: nothing that stays behind, everything that is added', async t => {
  const lines = [
    'GET / HTTP/1.1',
    'Host: a',
    'X-Request-Id: 1',
    'X: 1',
    'Outrider-Http1: x',
    'X-Envoy-Peer-Metadata: x',
  ];
  t.equal(memoSent(lines, 'x-request-id: 2\r\nNew:1\r\n', 4), '1 Host X x-request-id New::');
});

t.test('it says the reason phrase of a response, whatever stands in it', async t => {
  for (const [memo, text] of [
    ['1 "OK" Server', 'HTTP/1.1 200 OK\r\nServer: x\r\n\r\n'],
    ['1 ""', 'HTTP/1.1 200 \r\n\r\n'],
    ['1 ""', 'HTTP/1.1 200\r\n\r\n'],
    ['0 " J\xf6rg "1st" \t" A b', 'HTTP/1.0 200  J\xf6rg "1st" \t\r\nA: 1\r\nb: 2\r\n\r\n'],
  ] as const) {
    const encoder = answered(text);
    t.equal(encoder.pairs.at(-1)![1], memo);
    const head = responseOf(encoder.list, false, 'GET', true);
    if (head instanceof ParseFault) throw new Error(head.what);
    t.match(head, { reason: parseResponse(text, 'GET') instanceof ParseFault ? '' : head.memo!.reason });
    t.equal(head.reason, /^HTTP\/1\.\d 200 ?([^\r]*)/.exec(text)![1]);
  }
});

t.test('a head of one shape has one value', async t => {
  const lines = ['GET / HTTP/1.1', 'Host: a', 'X: 1'];
  t.equal(memoSent(lines), memoSent(['GET /b HTTP/1.1', 'Host: b', 'X: 2']));
  t.not(memoSent(lines), memoSent(['GET / HTTP/1.1', 'Host: a', 'x: 1']));
});

t.test('a head whose memo would be too long goes without', async t => {
  const long = Array.from({ length: 90 }, (_, i) => `X-${'y'.repeat(100)}-${i}: 1`);
  const { pairs } = sent(['GET / HTTP/1.1', 'Host: a', ...long]);
  t.equal(pairs.length, 94);
  t.notOk(pairs.some(([name]) => name === NAME));
});

t.test('what was HTTP/2 in the first place has none', async t => {
  const head = requestOf(listOf(GET), true, true);
  if (head instanceof ParseFault) throw new Error(head.what);
  const encoder = new RecordingEncoder();
  encodeRequest(
    encoder,
    head,
    { target: '/', added: 'x: 1\r\n', drop: 0, remove: null },
    { drop: 0, scheme: 'https', memo: true },
  );
  t.same(encoder.pairs, [...GET, ['x', '1']]);
});

t.test('a memo that does not list the fields that came is refused', async t => {
  const fields: readonly Pair[] = [...GET, ['x-a', '1'], ['cookie', '2']];
  const te: Pair = ['te', 'trailers'];
  for (const [why, pairs, memo] of [
    ['a name too few', fields, '1 Host X-A'],
    ['a name too many', fields, '1 Host X-A Cookie X-B'],
    ['another order', fields, '1 Host Cookie X-A'],
    ['another name', fields, '1 Host X-A Cookie2'],
    ['another one first', fields, '1 Host X_A Cookie'],
    ['none', fields, '1'],
    ['Host twice', fields, '1 Host X-A Cookie host'],
    ['TE', [...fields, te], '1 Host X-A Cookie TE'],
    ['nothing', fields, ''],
    ['another version', fields, '2 Host X-A Cookie'],
    ['a longer version', fields, '11 Host X-A Cookie'],
    ['two spaces', fields, '1 Host  X-A Cookie'],
    ['a tab', fields, '1 Host\tX-A Cookie'],
    ['a byte that no name has', fields, '1 Host X-A Cooki\xe9'],
    ['a quote', fields, '1 Host X-A "Cookie"'],
    ['a pseudo-header field', fields, '1 :path X-A Cookie'],
    ['other spacing than white space', fields, '1 Host X-A:x: Cookie'],
    ['half a spacing', fields, '1 Host X-A:s Cookie'],
    ['three spacings', fields, '1 Host X-A:s:s:s Cookie'],
    ['a reason phrase in a request', fields, '1 "OK" Host X-A Cookie'],
    ['itself', fields, `1 Host X-A Cookie ${NAME}`],
    ['a value beyond any limit', fields, `1 Host X-A Cookie${' X'.repeat(8192)}`],
  ] as const) {
    const head = requestOf(listOf([...pairs, [NAME, memo]]), true, true);
    t.match(head, { code: 'bad_request', what: 'malformed field of the mesh' }, why);
    t.ok(head instanceof ParseFault, why);
  }
  for (const pairs of [
    [...GET, [NAME, '1 X'], ['x', '1']],
    [...GET, ['x', '1'], [NAME, '1 X'], te],
    [...GET, te, ['x', '1'], [NAME, '1 X']],
    [...GET, ['x', '1'], [NAME, '1 X'], [NAME, '1 X']],
    [...GET, ['x', '1'], ['host', 'a.test'], [NAME, '1 Host X']],
  ] as const) {
    t.match(
      requestOf(listOf(pairs as readonly Pair[]), true, true),
      { what: 'malformed field of the mesh' },
      `${pairs}`,
    );
  }
});

t.test('a memo of a response wants a reason phrase', async t => {
  const list = (memo: string) =>
    listOf([
      [':status', '200'],
      ['x', '1'],
      [NAME, memo],
    ]);
  for (const memo of ['1 X', '1 "OK', '1 OK" X', '1 "OK"X', '1 "OK"', '1 "a" "b X']) {
    t.match(responseOf(list(memo), true, 'GET', true), { what: 'malformed field of the mesh' }, memo);
  }
});

t.test('a memo on a connection that did not agree to it is dropped', async t => {
  const list = listOf([...GET, ['x-a', '1'], [NAME, '1 Host X-A'], ['outrider_http1', '1']]);
  const head = requestOf(list, true, false);
  if (head instanceof ParseFault) throw new Error(head.what);
  const edits = { target: '/', added: '', drop: 0, remove: null };
  t.equal(writeRequestHead(head, edits), 'GET / HTTP/1.1\r\nHost: a.test\r\nx-a: 1\r\n\r\n');
  const encoder = new RecordingEncoder();
  encodeRequest(encoder, head, edits, { drop: 0, scheme: 'https', memo: true });
  t.same(encoder.pairs, [...GET, ['x-a', '1']]);
  const answer = responseOf(
    listOf([
      [':status', '200'],
      [NAME, '1 "evil"'],
    ]),
    true,
    'HEAD',
    false,
  );
  if (answer instanceof ParseFault) throw new Error(answer.what);
  t.equal(writeResponseHead(answer, 'same', '', null), 'HTTP/1.1 200 OK\r\n\r\n');
});

t.test('no spelling of the field passes from a client of HTTP/1.1', async t => {
  for (const name of ['outrider-http1', 'Outrider-HTTP1', 'OUTRIDER_HTTP1']) {
    t.equal(fieldCode(name, 0, name.length), PEER_METADATA, name);
  }
  t.equal(fieldCode('outrider-http2', 0, 14), PLAIN);
});

t.test('trailers arrive in their case', async t => {
  const encoder = new RecordingEncoder();
  const lines = 'X-Sum: 1\r\ngrpc-status: 0\r\nx-SUM: 2\r\n';
  encodeTrailers(encoder, lines, true);
  t.same(trailersOf(encoder.list, null, true), { lines, grpcStatus: '0' });
  t.same(trailersOf(encoder.list, new Set(['x-sum']), true), {
    lines: 'grpc-status: 0\r\n',
    grpcStatus: '0',
  });
  for (const memo of ['1 X-Sum', '1 X-Sum grpc-status x-SUM Y', '1 "OK" X-Sum grpc-status x-SUM', 'x']) {
    const list = listOf([...encoder.pairs.slice(0, -1), [NAME, memo]]);
    t.match(trailersOf(list, null, true), { what: 'malformed field of the mesh' }, memo);
  }
});

t.test('what is remembered of names and shapes is bounded', async t => {
  const before = requestShape(1);
  for (let i = 0; i < 20_000; i++) {
    const line = `X-${i}: 1\r\n`;
    const end = line.length - 2;
    requestShape(1).with(sentName(line, 0, end - 1, end, end));
    memoOf(`1 Y-${i}`);
    responseShape(1, `reason ${i}`);
  }
  t.not(requestShape(1), before, 'all were forgotten on the way');
  t.equal(memoSent(['GET / HTTP/1.1', 'Host: a', 'X-5: 1']), '1 Host X-5');
});
