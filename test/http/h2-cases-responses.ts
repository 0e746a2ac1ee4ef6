/**
 * Rows for RFC 9113 as a server may break it towards its client: the frames that answer the first request of a
 * connection, what the server then gets to see, and what becomes of the request.
 */

import {
  ACK,
  END_HEADERS,
  END_STREAM,
  frame,
  PADDED,
  PRIORITISED,
  SETTING,
  settings,
  uint32,
} from '../h2-frame.ts';
import { block, type Field, indexed, tableSize } from '../hpack.ts';
import {
  connection,
  data,
  type Expectation,
  headers,
  ignored,
  lastData,
  priority,
  reset,
  sized,
  stream,
  windowUpdate,
} from './h2-case.ts';

/** What the client gets: a whole response; 502 or 503; or the beginning of a response that is broken off. */
export type Outcome =
  | { readonly status: number; readonly body?: string; readonly trailers?: Readonly<Record<string, string>> }
  | 'failed'
  | 'broken';

export interface H2ResponseCase {
  readonly id: string;
  readonly section: string;
  /** Behind an empty SETTINGS, unless `bare`: as soon as the first request came whole. It is stream 1. */
  readonly answer: readonly Buffer[];
  /** In place of SETTINGS, at once. */
  readonly bare?: readonly Buffer[];
  /** `ignored`: nothing is said of it, and the connection serves the next request. */
  readonly expect: Expectation | readonly Expectation[];
  readonly client: Outcome | readonly Outcome[];
  /** Default POST, which nobody sends again. */
  readonly method?: string;
  readonly why?: string;
  /** Outrider does not yet. */
  readonly todo?: string;
}

const WHOLE = END_HEADERS | END_STREAM;
const OK: Field = [':status', '200'];
/** A whole response. */
const respond = (...fields: Field[]): Buffer => headers(1, [OK, ...fields], WHOLE);
/** The head of a response whose content follows. */
const begin = (...fields: Field[]): Buffer => headers(1, [OK, ...fields], END_HEADERS);
const GOOD = { status: 200 } as const;
const PROTOCOL = stream('PROTOCOL_ERROR');
const DOWN = connection('PROTOCOL_ERROR');

const malformedHead = (id: string, section: string, ...fields: Field[]): H2ResponseCase => ({
  id,
  section,
  answer: [headers(1, fields, WHOLE)],
  expect: PROTOCOL,
  client: 'failed',
});

/** The connection falls; the request fails before its response, or its response is broken off. */
const falls = (
  id: string,
  section: string,
  expect: H2ResponseCase['expect'],
  ...answer: readonly Buffer[]
): H2ResponseCase => ({ id, section, answer, expect, client: 'failed' });

export const RESPONSE_CASES: readonly H2ResponseCase[] = [
  { id: 'response', section: '8.1', answer: [respond()], expect: ignored, client: GOOD },
  {
    id: 'response-content',
    section: '8.1',
    answer: [begin(['content-length', '3']), data(1, 'ab'), data(1, ''), lastData(1, 'c')],
    expect: ignored,
    client: { status: 200, body: 'abc' },
  },
  {
    id: 'response-trailers',
    section: '8.1',
    answer: [begin(), data(1, 'a'), headers(1, [['x-after', 'b']], WHOLE)],
    expect: ignored,
    client: { status: 200, body: 'a', trailers: { 'x-after': 'b' } },
  },
  {
    id: 'response-interim',
    section: '8.1',
    answer: [
      headers(
        1,
        [
          [':status', '103'],
          ['link', '</a>'],
        ],
        END_HEADERS,
      ),
      begin(),
      lastData(1, 'a'),
    ],
    expect: ignored,
    client: { status: 200, body: 'a' },
  },
  {
    id: 'response-continued',
    section: '6.10',
    answer: [
      frame('HEADERS', END_STREAM, 1),
      frame('CONTINUATION', 0, 1, block([OK])),
      frame('CONTINUATION', END_HEADERS, 1, block([['x-a', 'b']])),
    ],
    expect: ignored,
    client: GOOD,
  },
  {
    id: 'response-padded-and-prioritised',
    section: '6.1, 6.2',
    answer: [
      frame(
        'HEADERS',
        END_HEADERS | PADDED | PRIORITISED,
        1,
        Buffer.concat([Buffer.of(2), priority(0), block([OK]), Buffer.alloc(2)]),
      ),
      frame('DATA', PADDED | END_STREAM, 1, Buffer.from('\x03a\0\0\0', 'latin1')),
    ],
    expect: ignored,
    client: { status: 200, body: 'a' },
  },
  {
    id: 'response-to-head',
    section: '8.1.1',
    method: 'HEAD',
    answer: [respond(['content-length', '5'])],
    expect: ignored,
    client: { status: 200, body: '' },
  },
  {
    id: 'response-not-modified',
    section: '8.1.1',
    answer: [
      headers(
        1,
        [
          [':status', '304'],
          ['content-length', '5'],
        ],
        WHOLE,
      ),
    ],
    expect: ignored,
    client: { status: 304, body: '' },
  },
  {
    id: 'response-no-content',
    section: '8.1',
    answer: [headers(1, [[':status', '204']], END_HEADERS), lastData(1, '')],
    expect: ignored,
    client: { status: 204, body: '' },
  },
  {
    id: 'response-after-reset-of-nothing',
    section: '8.1',
    answer: [begin(), lastData(1, 'a'), reset(1, 'NO_ERROR')],
    expect: ignored,
    client: { status: 200, body: 'a' },
    why: 'the server wants no more of the request',
  },
  malformedHead('status-missing', '8.3.2', ['x-a', 'b']),
  malformedHead('status-twice', '8.3.2', OK, OK),
  malformedHead('status-last', '8.3.2', ['x-a', 'b'], OK),
  malformedHead('status-and-path', '8.3.2', OK, [':path', '/']),
  malformedHead('status-unknown-pseudo', '8.3', OK, [':x', 'a']),
  ...['', '20', '2000', 'abc', '+20', '099', '2 0'].map((text, i) =>
    malformedHead(`status-wrong-${i}`, '8.3.2', [':status', text]),
  ),
  {
    ...malformedHead('status-switching', '8.6', [':status', '101']),
    answer: [headers(1, [[':status', '101']], END_HEADERS)],
  },
  malformedHead('status-interim-that-ends', '8.1', [':status', '103']),
  malformedHead('response-upper-case', '8.2.1', OK, ['X-a', 'b']),
  malformedHead('response-name', '8.2.1', OK, ['x a', 'b']),
  malformedHead('response-value', '8.2.1', OK, ['x-a', 'b\r\nx-c: d']),
  malformedHead('response-connection', '8.2.2', OK, ['connection', 'close']),
  malformedHead('response-transfer-encoding', '8.2.2', OK, ['transfer-encoding', 'chunked']),
  malformedHead('response-upgrade', '8.2.2', OK, ['upgrade', 'h2c']),
  malformedHead('response-length-and-nothing', '8.1.1', OK, ['content-length', '1']),
  malformedHead('response-length-twice', '8.1.1', OK, ['content-length', '0'], ['content-length', '1']),
  malformedHead('response-length-wrong', '8.1.1', OK, ['content-length', '+1']),
  {
    id: 'response-too-short',
    section: '8.1.1',
    answer: [begin(['content-length', '3']), lastData(1, 'ab')],
    expect: [PROTOCOL, ignored],
    client: ['broken', 'failed'],
    why: 'the stream has ended for both: nothing is left to be reset',
  },
  {
    id: 'response-too-long',
    section: '8.1.1',
    answer: [begin(['content-length', '1']), lastData(1, 'ab')],
    expect: PROTOCOL,
    client: ['broken', 'failed'],
  },
  {
    id: 'response-no-content-with-content',
    section: '8.1.1',
    answer: [headers(1, [[':status', '204']], END_HEADERS), lastData(1, 'a')],
    expect: [PROTOCOL, ignored],
    client: ['broken', 'failed', { status: 204, body: '' }],
  },
  {
    id: 'response-to-head-with-content',
    section: '8.1.1',
    method: 'HEAD',
    answer: [begin(), lastData(1, 'a')],
    expect: [PROTOCOL, ignored],
    client: ['broken', 'failed', { status: 200, body: '' }],
  },
  {
    id: 'content-before-response',
    section: '8.1',
    answer: [lastData(1, 'a')],
    expect: [PROTOCOL, DOWN],
    client: 'failed',
  },
  {
    id: 'content-after-interim',
    section: '8.1',
    answer: [headers(1, [[':status', '103']], END_HEADERS), lastData(1, 'a')],
    expect: [PROTOCOL, DOWN],
    client: 'failed',
  },
  {
    id: 'response-trailers-pseudo',
    section: '8.1',
    answer: [begin(), data(1, 'a'), headers(1, [OK], WHOLE)],
    expect: PROTOCOL,
    client: ['broken', 'failed'],
  },
  {
    id: 'response-trailers-without-end',
    section: '8.1',
    answer: [begin(), data(1, 'a'), headers(1, [['x-after', 'b']], END_HEADERS)],
    expect: PROTOCOL,
    client: ['broken', 'failed'],
  },
  {
    id: 'response-after-its-end',
    section: '5.1',
    answer: [respond(), data(1, 'a')],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED'), DOWN, ignored],
    client: GOOD,
  },
  {
    id: 'reset-cancel',
    section: '8.1',
    answer: [reset(1, 'CANCEL')],
    expect: ignored,
    client: 'failed',
  },
  {
    id: 'reset-in-content',
    section: '8.1',
    answer: [begin(), data(1, 'a'), reset(1, 'INTERNAL_ERROR')],
    expect: ignored,
    client: ['broken', 'failed'],
  },
  {
    id: 'reset-refused',
    section: '8.7',
    answer: [reset(1, 'REFUSED_STREAM')],
    expect: ignored,
    client: GOOD,
    why: 'it was not processed: it is sent again, whatever its method',
  },
  {
    id: 'goaway-not-processed',
    section: '6.8',
    answer: [frame('GOAWAY', 0, 0, Buffer.alloc(8))],
    expect: { kind: 'closed' },
    client: GOOD,
    why: 'sent again elsewhere',
  },
  {
    id: 'goaway-processed',
    section: '6.8',
    answer: [frame('GOAWAY', 0, 0, Buffer.concat([uint32(1), uint32(0)])), begin(), lastData(1, 'a')],
    expect: { kind: 'closed' },
    client: { status: 200, body: 'a' },
  },
  {
    id: 'goaway-in-two-steps',
    section: '6.8',
    answer: [
      frame('GOAWAY', 0, 0, Buffer.concat([uint32(2 ** 31 - 1), uint32(0)])),
      begin(),
      frame('GOAWAY', 0, 0, Buffer.concat([uint32(1), uint32(0)])),
      lastData(1, 'a'),
    ],
    expect: { kind: 'closed' },
    client: { status: 200, body: 'a' },
  },
  {
    id: 'server-settings-first',
    section: '3.4',
    bare: [frame('PING', 0, 0, '12345678')],
    answer: [respond()],
    expect: DOWN,
    client: 'failed',
  },
  {
    id: 'server-speaks-http1',
    section: '3.4',
    bare: [Buffer.from('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')],
    answer: [],
    expect: [DOWN, connection('FRAME_SIZE_ERROR')],
    client: 'failed',
  },
  {
    id: 'server-settings-late',
    section: '3.4',
    bare: [],
    answer: [settings(), respond()],
    expect: ignored,
    client: GOOD,
    why: 'a client need not wait for them',
  },
  {
    id: 'settings-push-by-server',
    section: '6.5.2',
    bare: [settings([SETTING.ENABLE_PUSH, 1])],
    answer: [respond()],
    expect: DOWN,
    client: ['failed', GOOD],
    why: 'a server may send 0 only',
  },
  {
    id: 'settings-acknowledged',
    section: '6.5.3',
    answer: [settings([SETTING.MAX_CONCURRENT_STREAMS, 7]), respond()],
    expect: { kind: 'ack', of: 'SETTINGS', count: 2 },
    client: GOOD,
  },
  {
    id: 'settings-streams-none-then-some',
    section: '6.5.2',
    answer: [
      settings([SETTING.MAX_CONCURRENT_STREAMS, 0]),
      respond(),
      settings([SETTING.MAX_CONCURRENT_STREAMS, 1]),
    ],
    expect: ignored,
    client: GOOD,
  },
  {
    id: 'settings-no-table-for-requests',
    section: '6.5.2, RFC 7541 4.2',
    bare: [settings([SETTING.HEADER_TABLE_SIZE, 0])],
    answer: [respond()],
    expect: ignored,
    client: GOOD,
    why: 'the next request must begin with the update of the size, or the reader of the test says so',
  },
  falls(
    'push-promise-by-server',
    '8.4',
    DOWN,
    frame('PUSH_PROMISE', END_HEADERS, 1, Buffer.concat([uint32(2), block([OK])])),
  ),
  falls('headers-on-idle', '5.1', DOWN, headers(99, [OK], WHOLE)),
  falls('headers-on-even', '5.1.1', DOWN, headers(2, [OK], WHOLE)),
  falls('headers-on-0', '6.2', DOWN, headers(0, [OK], WHOLE)),
  falls('data-on-idle', '5.1', DOWN, data(99, 'a')),
  falls('reset-on-idle', '5.1', DOWN, reset(99)),
  falls('window-on-idle', '5.1', DOWN, windowUpdate(99, 1)),
  falls('data-on-0', '6.1', DOWN, data(0, 'a')),
  falls('padding-too-long', '6.1', DOWN, frame('HEADERS', WHOLE | PADDED, 1, Buffer.of(9, 0x88))),
  falls('frame-too-large', '4.2', connection('FRAME_SIZE_ERROR'), sized('HEADERS', 1, 16_385, WHOLE)),
  falls(
    'settings-wrong',
    '6.5.2',
    connection('FLOW_CONTROL_ERROR'),
    settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31]),
  ),
  falls('settings-size-wrong', '6.5', connection('FRAME_SIZE_ERROR'), sized('SETTINGS', 0, 7)),
  falls('settings-ack-wrong', '6.5', connection('FRAME_SIZE_ERROR'), sized('SETTINGS', 0, 6, ACK)),
  falls('ping-wrong', '6.7', connection('FRAME_SIZE_ERROR'), sized('PING', 0, 9)),
  falls('goaway-wrong', '6.8', connection('FRAME_SIZE_ERROR'), sized('GOAWAY', 0, 4)),
  falls('window-zero-by-server', '6.9', DOWN, windowUpdate(0, 0)),
  falls('window-overflow-by-server', '6.9.1', connection('FLOW_CONTROL_ERROR'), windowUpdate(0, 2 ** 31 - 1)),
  {
    ...falls('window-zero-of-stream', '6.9', [stream('PROTOCOL_ERROR'), DOWN], windowUpdate(1, 0)),
    why: 'the request had not ended for the server, which may still say so',
  },
  falls('block-broken', '6.10', DOWN, frame('HEADERS', END_STREAM, 1, block([OK])), data(1, 'a')),
  falls(
    'hpack-index',
    'RFC 7541 2.3.3',
    connection('COMPRESSION_ERROR'),
    frame('HEADERS', WHOLE, 1, indexed(99)),
  ),
  falls(
    'hpack-size',
    'RFC 7541 6.3',
    connection('COMPRESSION_ERROR'),
    frame('HEADERS', WHOLE, 1, tableSize(99_999)),
  ),
];
