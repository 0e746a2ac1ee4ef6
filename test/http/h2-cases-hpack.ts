/** Rows for RFC 7541, as its rules show over the wire. */

import { END_HEADERS, END_STREAM, frame } from '../h2-frame.ts';
import {
  block,
  EOS_BITS,
  huffman,
  indexed,
  indexing,
  integer,
  neverIndexed,
  packed,
  string,
  tableSize,
} from '../hpack.ts';
import { coded, connection, fieldsOf, get, type H2Case, headers, malformed, ok } from './h2-case.ts';

const WRONG = connection('COMPRESSION_ERROR');
/** A literal without a name's index; its two strings follow. */
const LITERAL = Buffer.of(0);
const X_A = string('x-a');
const whole = END_HEADERS | END_STREAM;

function first(bytes: Buffer): Buffer {
  return frame('HEADERS', whole, 1, Buffer.concat([bytes, block(fieldsOf())]));
}

const wrong = (id: string, section: string, ...bytes: readonly Buffer[]): H2Case => ({
  id: `hpack-${id}`,
  section: `RFC 7541 ${section}`,
  send: [coded(1, Buffer.concat(bytes))],
  expect: WRONG,
});

const right = (id: string, section: string, send: readonly Buffer[], expect: H2Case['expect']): H2Case => ({
  id: `hpack-${id}`,
  section: `RFC 7541 ${section}`,
  send,
  expect,
});

const seen = (value: string, id = 1) => ok({ fields: { 'x-a': value } }, id);

export const HPACK_CASES: readonly H2Case[] = [
  right(
    'static',
    '6.1',
    [
      frame(
        'HEADERS',
        whole,
        1,
        Buffer.concat([
          ...[2, 4, 6].map(indexed),
          integer(1, 4, 0x10), // a name of the table in a literal
          string('app.test'),
        ]),
      ),
    ],
    ok({ method: 'GET', url: '/', host: 'app.test' }),
  ),
  right(
    'huffman',
    '5.2',
    [coded(1, Buffer.concat([LITERAL, huffman('x-a'), huffman('{gr\xfc\xdf}')]))],
    seen('{gr\xfc\xdf}'),
  ),
  right(
    'integer-long',
    '5.1',
    [
      coded(
        1,
        Buffer.concat([LITERAL, X_A, Buffer.of(0x7f, 0x80 | 1, 0x80, 0x80, 0), Buffer.alloc(128, 'a')]),
      ),
    ],
    seen('a'.repeat(128)),
  ),
  right('entered', '6.2.1', [coded(1, indexing(['x-a', 'b'])), coded(3, indexed(62))], seen('b', 3)),
  right(
    'not-entered',
    '6.2.2',
    [
      coded(1, Buffer.concat([indexing(['x-a', 'b']), block([['x-c', 'd']]), neverIndexed(['x-e', 'f'])])),
      coded(3, indexed(62)),
    ],
    seen('b', 3),
  ),
  right(
    'entered-by-index',
    '6.2.1',
    [
      coded(1, Buffer.concat([indexing(['x-a', 'b']), integer(62, 6, 0x40), string('c')])),
      coded(3, indexed(62)),
    ],
    seen('c', 3),
  ),
  right(
    'newest-first',
    '2.3.3',
    [coded(1, Buffer.concat([indexing(['x-a', 'b']), indexing(['x-c', 'd'])])), coded(3, indexed(63))],
    seen('b', 3),
  ),
  {
    id: 'hpack-entered-by-malformed',
    section: 'RFC 7541 2.2',
    send: [
      frame(
        'HEADERS',
        whole,
        1,
        Buffer.concat([block([['connection', 'close']]), indexing(['x-a', 'kept'])]),
      ),
      frame('HEADERS', whole, 3, Buffer.concat([block(fieldsOf({ ':path': '/other' })), indexed(62)])),
    ],
    expect: seen('kept', 3),
    also: [malformed()],
    why: "the table is the connection's, whatever becomes of the message",
  },
  {
    id: 'hpack-entered-by-wrong-name',
    section: 'RFC 7541 2.2',
    send: [
      frame('HEADERS', whole, 1, Buffer.concat([block(fieldsOf()), indexing(['Wrong', 'a'])])),
      frame('HEADERS', whole, 3, Buffer.concat([block(fieldsOf()), indexed(62)])),
      get(5, { ':path': '/other' }),
    ],
    expect: ok({ url: '/other' }, 5),
    also: [malformed(1), malformed(3)],
    why: 'what is wrong by itself is so by its index too',
  },
  right(
    'entry-over-table',
    '4.4',
    [
      coded(1, Buffer.concat([indexing(['x-b', 'c']), indexing(['x-a', 'a'.repeat(4_096)])])),
      coded(3, indexing(['x-a', 'd'])),
      coded(5, indexed(62)),
    ],
    seen('d', 5),
  ),
  right(
    'size-update',
    '6.3',
    [first(tableSize(100)), coded(3, indexing(['x-a', 'b'])), coded(5, indexed(62))],
    seen('b', 5),
  ),
  wrong('index-0', '6.1', indexed(0)),
  wrong('index-beyond-static', '2.3.3', indexed(62)),
  wrong('index-beyond-name', '2.3.3', integer(70, 6, 0x40), string('a')),
  wrong('index-huge', '5.1', Buffer.of(0xff, 0xff, 0xff, 0xff, 0xff, 0x0f)),
  wrong('integer-endless', '5.1', Buffer.of(0xff), Buffer.alloc(20, 0x80), Buffer.of(1)),
  wrong('integer-cut', '5.1', Buffer.of(0xff, 0x80)),
  wrong('string-cut', '5.2', LITERAL, X_A, Buffer.of(5), Buffer.from('abc')),
  wrong('string-missing', '5.2', LITERAL, X_A),
  wrong('string-length-huge', '5.2', LITERAL, X_A, Buffer.of(0x7f, 0xff, 0xff, 0xff, 0xff, 0x07)),
  wrong('huffman-eos', '5.2', LITERAL, X_A, packed(`${EOS_BITS}11`)),
  wrong('huffman-padding-zeros', '5.2', LITERAL, X_A, huffman('a', '000')),
  wrong('huffman-padding-long', '5.2', LITERAL, X_A, packed('0001111111111111')), // 'a' is 00011
  wrong('huffman-cut', '5.2', LITERAL, X_A, packed(EOS_BITS.slice(0, 24))),
  wrong('size-over-settings', '6.3', tableSize(4_097)),
  wrong('size-after-a-field', '4.2', tableSize(100)),
  {
    id: 'hpack-size-over-settings-first',
    section: 'RFC 7541 6.3',
    send: [first(tableSize(4_097))],
    expect: WRONG,
  },
  {
    id: 'hpack-evicted-by-size',
    section: 'RFC 7541 4.3',
    send: [
      coded(1, indexing(['x-a', 'b'])),
      frame('HEADERS', whole, 3, Buffer.concat([tableSize(0), block(fieldsOf()), indexed(62)])),
    ],
    expect: WRONG,
  },
  {
    id: 'hpack-in-trailers',
    section: 'RFC 7541 2.2',
    send: [headers(1, fieldsOf({ ':method': 'POST' }), END_HEADERS), frame('HEADERS', whole, 1, indexed(70))],
    expect: WRONG,
  },
  {
    id: 'hpack-size-twice',
    section: 'RFC 7541 4.2',
    send: [
      coded(1, indexing(['x-a', 'b'])),
      frame(
        'HEADERS',
        whole,
        3,
        Buffer.concat([tableSize(0), tableSize(4_096), block(fieldsOf()), indexing(['x-a', 'c'])]),
      ),
      coded(5, indexed(62)),
    ],
    expect: seen('c', 5),
  },
  {
    id: 'hpack-block-ends-in-a-field',
    section: '4.3',
    send: [frame('HEADERS', whole, 1, block(fieldsOf()).subarray(0, -2))],
    expect: WRONG,
  },
];
