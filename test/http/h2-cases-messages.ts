/** Rows for RFC 9113 section 8: what a request is, and what is none. */

import { END_HEADERS, END_STREAM, frame } from '../h2-frame.ts';
import { block, type Field } from '../hpack.ts';
import {
  type Changes,
  connection,
  data,
  type Expectation,
  fieldsOf,
  get,
  type H2Case,
  headers,
  lastData,
  malformed,
  ok,
  post,
  reset,
  status,
  stream,
} from './h2-case.ts';

const WHOLE = END_HEADERS | END_STREAM;

/** A request with these fields and no content. */
function whole(
  id: string,
  section: string,
  changes: Changes,
  expect: H2Case['expect'],
  why?: string,
): H2Case {
  return { id, section, send: [get(1, changes)], expect, ...(why !== undefined && { why }) };
}

/** The same where a name comes twice, or the order matters. */
function listed(id: string, section: string, fields: readonly Field[], expect: H2Case['expect']): H2Case {
  return { id, section, send: [headers(1, fields, WHOLE)], expect };
}

/** A request with content that says how long it is. */
function sized(id: string, length: string, pieces: readonly string[], expect: Expectation): H2Case {
  const content = pieces.map((piece, i) => data(1, piece, i === pieces.length - 1 ? END_STREAM : 0));
  return { id, section: '8.1.1', send: [post(1, { 'content-length': length }), ...content], expect };
}

/** What came first was whole by its content-length, and may have gone on as that. */
const late: Expectation = { kind: 'malformed', stream: 1, late: true };

const trailers = (...fields: Field[]): Buffer => headers(1, fields, WHOLE);
const [METHOD, SCHEME, AUTHORITY, PATH] = fieldsOf() as [Field, Field, Field, Field];

export const MESSAGE_CASES: readonly H2Case[] = [
  {
    id: 'content',
    section: '8.1',
    send: [post(1, { 'content-type': 'text/plain' }), data(1, 'ab'), lastData(1, 'c')],
    expect: ok({ method: 'POST', body: 'abc', fields: { 'content-type': 'text/plain' } }),
  },
  {
    id: 'content-empty',
    section: '8.1',
    send: [headers(1, fieldsOf(), END_HEADERS), lastData(1, '')],
    expect: ok({ method: 'GET', body: '' }),
  },
  {
    id: 'trailers',
    section: '8.1',
    send: [post(1), data(1, 'a'), trailers(['x-trailer', 'b'], ['x-other', 'c'])],
    expect: ok({ body: 'a', trailers: { 'x-trailer': 'b', 'x-other': 'c' } }),
  },
  {
    id: 'trailers-alone',
    section: '8.1',
    send: [post(1), trailers(['x-trailer', 'b'])],
    expect: ok({ body: '' }),
  },
  {
    id: 'trailers-none',
    section: '8.1',
    send: [post(1), data(1, 'a'), trailers()],
    expect: ok({ body: 'a' }),
    why: 'an empty field section ends the stream as an empty DATA does',
  },
  {
    id: 'trailers-without-end',
    section: '8.1',
    send: [post(1), data(1, 'a'), headers(1, [['x-trailer', 'b']], END_HEADERS)],
    expect: malformed(),
  },
  {
    id: 'trailers-then-content',
    section: '8.1',
    send: [post(1, { ':path': '/hold' }), trailers(['x-trailer', 'b']), data(1, 'a')],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED')],
  },
  {
    id: 'trailers-pseudo',
    section: '8.1',
    send: [post(1), data(1, 'a'), trailers([':path', '/'])],
    expect: malformed(),
  },
  {
    id: 'trailers-upper-case',
    section: '8.2.1',
    send: [post(1), data(1, 'a'), trailers(['X-Trailer', 'b'])],
    expect: malformed(),
  },
  {
    id: 'trailers-connection',
    section: '8.2.2',
    send: [post(1), data(1, 'a'), trailers(['connection', 'close'])],
    expect: malformed(),
  },
  sized('length', '3', ['ab', '', 'c'], ok({ body: 'abc', fields: { 'content-length': '3' } })),
  whole('length-zero', '8.1.1', { 'content-length': '0' }, ok({ body: '' })),
  sized('length-too-little', '4', ['abc'], malformed()),
  sized('length-too-much', '2', ['abc'], late),
  sized('length-too-much-later', '2', ['ab', 'c'], late),
  sized('length-zero-and-content', '0', ['a'], late),
  whole('length-and-none', '8.1.1', { 'content-length': '1' }, malformed()),
  {
    id: 'length-and-trailers',
    section: '8.1.1',
    send: [post(1, { 'content-length': '2' }), data(1, 'a'), trailers(['x-trailer', 'b'])],
    expect: malformed(),
  },
  {
    id: 'length-padding-does-not-count',
    section: '8.1.1',
    send: [post(1, { 'content-length': '1' }), frame('DATA', 0x09, 1, Buffer.from('\x02a\0\0'))],
    expect: ok({ body: 'a' }),
  },
  ...['-1', '+1', '1x', '', '0x1', '1, 1', '1,1', '99999999999999999999', '1 '].map((length, i) =>
    sized(`length-wrong-${i}`, length, ['a'], malformed()),
  ),
  {
    id: 'length-twice',
    section: '8.1.1',
    send: [
      headers(
        1,
        [...fieldsOf({ ':method': 'POST', 'content-length': '1' }), ['content-length', '2']],
        END_HEADERS,
      ),
      lastData(1, 'a'),
    ],
    expect: malformed(),
  },
  {
    id: 'malformed-goes-alone',
    section: '8.1.1',
    send: [get(1, { connection: 'close' }), get(3, { ':path': '/other' })],
    expect: ok({ url: '/other' }, 3),
    also: [malformed()],
    why: 'a malformed request ends its stream and no other',
  },
  {
    id: 'malformed-then-content',
    section: '8.1.1, 5.1',
    send: [post(1, { connection: 'close' }), data(1, 'a'), lastData(1, 'b')],
    expect: malformed(),
    why: 'what was on its way is let pass: the client did not know',
  },
  {
    id: 'interim',
    section: '8.1',
    send: [get(1, { ':path': '/early' })],
    expect: ok(),
    why: '103 comes first',
  },
  {
    id: 'expect-continue',
    section: '8.1, RFC 9110 10.1.1',
    send: [post(1, { expect: '100-continue', 'content-length': '1' }), lastData(1, 'a')],
    expect: ok({ body: 'a' }),
  },
  {
    id: 'head',
    section: '8.1',
    send: [get(1, { ':method': 'HEAD', ':path': '/sized' })],
    expect: status(200),
  },
  { id: 'no-content', section: '8.1', send: [get(1, { ':path': '/none' })], expect: status(204) },
  { id: 'not-modified', section: '8.1', send: [get(1, { ':path': '/unchanged' })], expect: status(304) },
  { id: 'response-trailers', section: '8.1', send: [get(1, { ':path': '/trailers' })], expect: ok() },
  {
    id: 'cancelled',
    section: '8.1',
    send: [post(1, { ':path': '/hold' }), data(1, 'a'), reset(1), get(3, { ':path': '/other' })],
    expect: ok({ url: '/other' }, 3),
  },
];

/** A name or value that RFC 9113 8.2.1 forbids. */
const bad = (id: string, name: string, value = 'a'): H2Case =>
  listed(`field-${id}`, '8.2.1', [...fieldsOf(), [name, value]], malformed());

export const FIELD_CASES: readonly H2Case[] = [
  bad('name-upper-case', 'X-a'),
  bad('name-empty', ''),
  bad('name-space', 'x a'),
  bad('name-trailing-space', 'x-a '),
  bad('name-colon', 'x:a'),
  bad('name-nul', 'x\0a'),
  bad('name-line', 'x-a\r\nx-b'),
  bad('name-delete', 'x\x7fa'),
  bad('name-high', 'x\xe4'),
  bad('name-paren', 'x(a)'),
  bad('name-tab', 'x\ta'),
  bad('value-nul', 'x-a', 'a\0b'),
  bad('value-cr', 'x-a', 'a\rb'),
  bad('value-lf', 'x-a', 'a\nb'),
  bad('value-line', 'x-a', 'a\r\nx-b: c'),
  bad('value-space-first', 'x-a', ' a'),
  bad('value-space-last', 'x-a', 'a '),
  bad('value-tab-first', 'x-a', '\ta'),
  bad('value-tab-last', 'x-a', 'a\t'),
  { ...bad('value-control', 'x-a', 'a\x01b'), section: 'RFC 9110 5.5' },
  { ...bad('value-delete', 'x-a', 'a\x7fb'), section: 'RFC 9110 5.5' },
  whole('field-value-empty', '8.2.1', { 'x-a': '' }, ok({ fields: { 'x-a': '' } })),
  whole('field-value-inner', '8.2.1', { 'x-a': 'a \t b' }, ok({ fields: { 'x-a': 'a \t b' } })),
  whole('field-value-high', '8.2.1', { 'x-a': 'gr\xfc\xdf' }, ok({ fields: { 'x-a': 'gr\xfc\xdf' } })),
  listed(
    'field-repeated',
    '8.2',
    [...fieldsOf(), ['x-a', 'a'], ['x-b', 'b'], ['x-a', 'c']],
    ok({ fields: { 'x-a': 'a, c', 'x-b': 'b' } }),
  ),
  ...(
    [
      ['connection', 'close'],
      ['connection', 'x-a'],
      ['keep-alive', 'timeout=5'],
      ['proxy-connection', 'keep-alive'],
      ['transfer-encoding', 'chunked'],
      ['transfer-encoding', 'identity'],
      ['upgrade', 'h2c'],
      ['te', 'gzip'],
      ['te', 'trailers, deflate'],
    ] as const
  ).map(([name, value], i) => whole(`field-of-a-connection-${i}`, '8.2.2', { [name]: value }, malformed())),
  {
    id: 'transfer-encoding-and-content',
    section: '8.2.2',
    send: [
      post(1, { 'transfer-encoding': 'chunked' }),
      lastData(1, '0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n'),
    ],
    expect: malformed(),
  },
  whole('te-trailers', '8.2.2', { te: 'trailers' }, ok()),
  listed(
    'cookies',
    '8.2.3',
    [...fieldsOf(), ['cookie', 'a=1'], ['x-a', 'a'], ['cookie', 'b=2; c=3'], ['cookie', 'd=4']],
    ok({ fields: { cookie: 'a=1; b=2; c=3; d=4' } }),
  ),
];

export const PSEUDO_CASES: readonly H2Case[] = [
  whole('pseudo-unknown', '8.3', { ':x': 'a' }, malformed()),
  whole('pseudo-nameless', '8.3', { ':': 'a' }, malformed()),
  whole('pseudo-of-response', '8.3', { ':status': '200' }, malformed()),
  whole('pseudo-upper-case', '8.3', { ':Path': '/', ':path': null }, malformed()),
  listed('pseudo-last', '8.3', [METHOD, SCHEME, AUTHORITY, ['x-a', 'a'], PATH], malformed()),
  listed('pseudo-any-order', '8.3', [PATH, AUTHORITY, SCHEME, METHOD], ok({ url: '/', method: 'GET' })),
  ...[METHOD, SCHEME, AUTHORITY, PATH].map(field =>
    listed(`pseudo-twice-${field[0].slice(1)}`, '8.3', [...fieldsOf(), field], malformed()),
  ),
  ...[METHOD, SCHEME, AUTHORITY, PATH].map(field =>
    listed(`pseudo-twice-at-once-${field[0].slice(1)}`, '8.3', [field, ...fieldsOf()], malformed()),
  ),
  ...([':method', ':scheme', ':path'] as const).map(name =>
    whole(`pseudo-missing-${name.slice(1)}`, '8.3.1', { [name]: null }, malformed()),
  ),
  listed('pseudo-none', '8.3.1', [['x-a', 'a']], malformed()),
  listed('fields-none', '8.3.1', [], malformed()),
  whole('method-empty', '8.3.1', { ':method': '' }, malformed()),
  whole('method-space', '8.3.1', { ':method': 'GE T' }, malformed()),
  whole('method-line', '8.3.1', { ':method': 'GET / HTTP/1.1\r\nx: a' }, malformed()),
  whole('method-other', '8.3.1', { ':method': 'PURGE' }, ok({ method: 'PURGE' })),
  whole('scheme-empty', '8.3.1', { ':scheme': '' }, malformed()),
  whole('scheme-invalid', '8.3.1', { ':scheme': 'ht tp' }, malformed()),
  whole('scheme-smuggling', '8.3.1', { ':scheme': 'http://evil.test/x?' }, malformed()),
  whole('scheme-other', '8.3.1', { ':scheme': 'ftp' }, malformed(), 'nothing here speaks for it'),
  whole('path-query', '8.3.1', { ':path': '/a?b=c&d' }, ok({ url: '/a?b=c&d' })),
  whole('path-empty', '8.3.1', { ':path': '' }, malformed()),
  whole('path-relative', '8.3.1', { ':path': 'a' }, malformed()),
  whole('path-absolute', '8.3.1', { ':path': 'http://app.test/' }, malformed()),
  whole('path-space', '8.3.1', { ':path': '/a b' }, malformed()),
  whole('path-line', '8.3.1', { ':path': '/ HTTP/1.1\r\nx: a' }, malformed()),
  whole('path-nul', '8.3.1', { ':path': '/\0' }, malformed()),
  whole('path-delete', '8.3.1', { ':path': '/\x7f' }, malformed()),
  whole('path-high', '8.3.1', { ':path': '/\xe4' }, malformed()),
  whole(
    'path-fragment',
    '8.3.1',
    { ':path': '/a#b' },
    [malformed(), ok()],
    'no path has one; it may be dropped, as in HTTP/1.1',
  ),
  whole('path-asterisk', '8.3.1', { ':path': '*' }, malformed()),
  whole(
    'path-asterisk-options',
    '8.3.1',
    { ':method': 'OPTIONS', ':path': '*' },
    ok({ method: 'OPTIONS', url: '*' }),
  ),
  whole('authority', '8.3.1', {}, ok({ host: 'app.test' })),
  whole('authority-by-host', '8.3.1', { ':authority': null, host: 'app.test' }, ok({ host: 'app.test' })),
  whole('authority-and-host', '8.3.1', { host: 'app.test' }, ok({ host: 'app.test' })),
  whole('authority-unlike-host', '8.3.1', { host: 'evil.test' }, malformed()),
  whole('authority-empty', '8.3.1', { ':authority': '' }, malformed()),
  whole('authority-missing', '8.3.1', { ':authority': null }, malformed()),
  whole('authority-user', '8.3.1', { ':authority': 'user@app.test' }, malformed()),
  whole('authority-space', '8.3.1', { ':authority': 'app .test' }, malformed()),
  whole('authority-path', '8.3.1', { ':authority': 'app.test/x' }, malformed()),
  whole('authority-line', '8.3.1', { ':authority': 'app.test\r\nx: a' }, malformed()),
  whole('authority-list', '8.3.1', { ':authority': 'app.test, evil.test' }, malformed()),
  listed(
    'host-twice',
    '8.3.1',
    [METHOD, SCHEME, PATH, ['host', 'app.test'], ['host', 'evil.test']],
    malformed(),
  ),
  listed('connect-path', '8.5', [[':method', 'CONNECT'], AUTHORITY, PATH], malformed()),
  listed('connect-scheme', '8.5', [[':method', 'CONNECT'], SCHEME, AUTHORITY], malformed()),
  listed('connect-nowhere', '8.5', [[':method', 'CONNECT']], malformed()),
  whole('extended-connect-as-get', 'RFC 8441 4', { ':protocol': 'websocket' }, malformed()),
  listed(
    'extended-connect-without-path',
    'RFC 8441 4',
    [[':method', 'CONNECT'], [':protocol', 'websocket'], AUTHORITY],
    malformed(),
  ),
  {
    id: 'pseudo-in-continuation',
    section: '8.3',
    send: [
      frame('HEADERS', END_STREAM, 1, block([METHOD, SCHEME])),
      frame('CONTINUATION', END_HEADERS, 1, block([AUTHORITY, PATH])),
    ],
    expect: ok(),
  },
];
