/** Rows for RFC 9113 sections 3 to 7: the connection, its frames and its streams. */

import {
  ACK,
  END_HEADERS,
  END_STREAM,
  frame,
  PADDED,
  PREFACE,
  PRIORITISED,
  SETTING,
  settings,
  uint32,
} from '../h2-frame.ts';
import { block, tableSize } from '../hpack.ts';
import {
  closed,
  connection,
  data,
  fieldsOf,
  get,
  type H2Case,
  headers,
  ignored,
  lastData,
  ok,
  post,
  priority,
  reset,
  sized,
  stream,
  windowUpdate,
} from './h2-case.ts';

/** No request to it is ever answered, and nothing of its content is read. */
const HOLD = { ':path': '/hold' };
const MAX = 2 ** 31 - 1;
const HEAD = block(fieldsOf());
const POST = block(fieldsOf({ ':method': 'POST' }));
const SPLIT = [HEAD.subarray(0, 5), HEAD.subarray(5, 20), HEAD.subarray(20)] as const;
const padded = (content: string | Buffer, padding: number): Buffer =>
  Buffer.concat([Buffer.of(padding), Buffer.from(content as string), Buffer.alloc(padding)]);

export const PREFACE_CASES: readonly H2Case[] = [
  { id: 'preface', section: '3.4', send: [get(1)], expect: ok({ method: 'GET', url: '/', body: '' }) },
  {
    id: 'preface-with-settings',
    section: '3.4',
    bare: true,
    send: [PREFACE, settings([SETTING.ENABLE_PUSH, 0], [SETTING.INITIAL_WINDOW_SIZE, 65_535]), get(1)],
    expect: ok(),
  },
  {
    id: 'preface-then-no-settings',
    section: '3.4',
    bare: true,
    send: [PREFACE, frame('PING', 0, 0, '12345678')],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'preface-then-headers',
    section: '3.4',
    bare: true,
    send: [PREFACE, get(1)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'preface-then-settings-ack',
    section: '3.4',
    bare: true,
    send: [PREFACE, frame('SETTINGS', ACK, 0)],
    expect: connection('PROTOCOL_ERROR'),
    why: 'the preface needs SETTINGS, and this acknowledges some that cannot have been read',
  },
  {
    id: 'preface-last-byte',
    section: '3.4',
    bare: true,
    send: [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r'), settings(), get(1)],
    expect: [closed, connection('PROTOCOL_ERROR')],
  },
  {
    id: 'preface-first-half',
    section: '3.4',
    bare: true,
    send: [Buffer.from('PRI * HTTP/2.0\r\nhost: a\r\n\r\n')],
    expect: [closed, connection('PROTOCOL_ERROR')],
  },
];

export const FRAME_CASES: readonly H2Case[] = [
  { id: 'unknown-type', section: '4.1', send: [frame(0xfa, 0xff, 0, 'anything')], expect: ignored },
  { id: 'unknown-type-idle', section: '4.1', send: [frame(0x20, 0, 5, 'anything')], expect: ignored },
  {
    id: 'unknown-type-within-stream',
    section: '4.1',
    send: [post(1), data(1, 'a'), frame(0x21, 1, 1, 'anything'), lastData(1, 'b')],
    expect: ok({ body: 'ab' }),
  },
  {
    id: 'unknown-flags',
    section: '4.1',
    send: [
      frame('HEADERS', END_HEADERS | 0xd2, 1, POST),
      frame('DATA', 0xf6, 1, 'a'),
      frame('DATA', 0xf6 | END_STREAM, 1, 'b'),
    ],
    expect: ok({ body: 'ab' }),
  },
  {
    id: 'reserved-bit',
    section: '4.1',
    send: [
      headers(2 ** 31 + 1, fieldsOf({ ':method': 'POST' }), END_HEADERS),
      lastData(2 ** 31 + 1, 'a'),
      windowUpdate(2 ** 31 + 1, 2 ** 31 + 1),
      frame('PING', 0, 2 ** 31, '12345678'),
    ],
    expect: ok({ body: 'a' }),
  },
  {
    id: 'frame-size-max',
    section: '4.2',
    send: [post(1), data(1, Buffer.alloc(16_384, 'a')), lastData(1, '')],
    expect: ok({ body: 'a'.repeat(16_384) }),
  },
  {
    id: 'frame-size-data',
    section: '4.2',
    send: [post(1, HOLD), data(1, Buffer.alloc(16_385))],
    expect: [stream('FRAME_SIZE_ERROR'), connection('FRAME_SIZE_ERROR')],
  },
  {
    id: 'frame-size-headers',
    section: '4.2',
    send: [get(1, { 'x-a': 'a'.repeat(16_384) })],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'frame-size-unknown',
    section: '4.2',
    send: [sized(0xfa, 0, 16_385)],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'frame-size-huge',
    section: '4.2',
    send: [Buffer.of(0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0)],
    expect: [connection('FRAME_SIZE_ERROR'), connection('PROTOCOL_ERROR')],
    why: 'its header is enough to see it; DATA on stream 0 at that',
  },
  {
    id: 'data-empty',
    section: '4.2',
    send: [post(1), data(1, ''), data(1, 'a'), data(1, ''), lastData(1, '')],
    expect: ok({ body: 'a' }),
  },
];

export const STATE_CASES: readonly H2Case[] = [
  { id: 'idle-data', section: '5.1', send: [data(1, 'a')], expect: connection('PROTOCOL_ERROR') },
  { id: 'idle-reset', section: '5.1', send: [reset(1)], expect: connection('PROTOCOL_ERROR') },
  { id: 'idle-window', section: '5.1', send: [windowUpdate(1, 1)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'idle-priority',
    section: '5.1',
    send: [frame('PRIORITY', 0, 1, priority(0)), get(3)],
    expect: ok({}, 3),
  },
  {
    id: 'idle-data-above',
    section: '5.1',
    send: [get(1), data(3, 'a')],
    expect: connection('PROTOCOL_ERROR'),
  },
  { id: 'idle-data-even', section: '5.1', send: [data(2, 'a')], expect: connection('PROTOCOL_ERROR') },
  { id: 'idle-reset-even', section: '5.1', send: [reset(2)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'idle-window-even',
    section: '5.1',
    send: [windowUpdate(2, 1)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'half-closed-data',
    section: '5.1',
    send: [get(1, HOLD), data(1, 'a')],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED')],
  },
  {
    id: 'half-closed-headers',
    section: '5.1',
    send: [get(1, HOLD), get(1)],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED')],
  },
  { id: 'half-closed-window', section: '5.1', send: [get(1, HOLD), windowUpdate(1, 1)], expect: ignored },
  {
    id: 'half-closed-priority',
    section: '5.1',
    send: [get(1, HOLD), frame('PRIORITY', 0, 1, priority(0))],
    expect: ignored,
  },
  {
    id: 'half-closed-after-content',
    section: '5.1',
    send: [post(1, HOLD), lastData(1, 'a'), data(1, 'b')],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED')],
  },
  {
    id: 'closed-by-reset-data',
    section: '5.1',
    send: [post(1, HOLD), reset(1), data(1, 'a')],
    expect: [ignored, stream('STREAM_CLOSED'), connection('STREAM_CLOSED')],
  },
  {
    id: 'closed-by-reset-headers',
    section: '5.1',
    send: [post(1, HOLD), reset(1), get(1)],
    expect: [stream('STREAM_CLOSED'), connection('STREAM_CLOSED'), connection('PROTOCOL_ERROR'), ignored],
  },
  { id: 'closed-by-reset-reset', section: '5.1', send: [post(1, HOLD), reset(1), reset(1)], expect: ignored },
  {
    id: 'closed-by-reset-window',
    section: '5.1',
    send: [post(1, HOLD), reset(1), windowUpdate(1, 9)],
    expect: ignored,
  },
  {
    id: 'closed-by-reset-priority',
    section: '5.1',
    send: [post(1, HOLD), reset(1), frame('PRIORITY', 0, 1, priority(0))],
    expect: ignored,
  },
  { id: 'stream-even', section: '5.1.1', send: [get(2)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'stream-lower',
    section: '5.1.1',
    send: [get(5, HOLD), get(3)],
    expect: [connection('PROTOCOL_ERROR'), connection('STREAM_CLOSED')],
    why: 'stream 3 was closed when 5 was opened',
  },
  {
    id: 'stream-skipped-data',
    section: '5.1.1',
    send: [get(5, HOLD), data(3, 'a')],
    expect: [connection('PROTOCOL_ERROR'), connection('STREAM_CLOSED'), stream('STREAM_CLOSED', 3), ignored],
    why: 'closed too, and never opened',
  },
  { id: 'stream-highest', section: '5.1.1', send: [get(MAX)], expect: ok({}, MAX), last: true },
  {
    id: 'streams-interleaved',
    section: '5.1.2',
    send: [post(1), post(3), data(3, 'c'), data(1, 'a'), lastData(1, 'b'), lastData(3, 'd')],
    expect: ok({ body: 'cd' }, 3),
  },
  {
    id: 'streams-too-many',
    section: '5.1.2',
    send: Array.from({ length: 257 }, (_, i) => get(2 * i + 1, HOLD)),
    expect: [stream('REFUSED_STREAM', 513), connection('PROTOCOL_ERROR')],
    why: '256 at a time',
    last: true,
  },
];

export const TYPE_CASES: readonly H2Case[] = [
  { id: 'data-stream-0', section: '6.1', send: [data(0, 'a')], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'data-padded',
    section: '6.1',
    send: [post(1), data(1, padded('a', 7), PADDED), data(1, padded('b', 255), PADDED | END_STREAM)],
    expect: ok({ body: 'ab' }),
  },
  {
    id: 'data-padded-by-nothing',
    section: '6.1',
    send: [post(1), data(1, padded('a', 0), PADDED | END_STREAM)],
    expect: ok({ body: 'a' }),
  },
  {
    id: 'data-only-padding',
    section: '6.1',
    send: [post(1), data(1, padded('', 9), PADDED), data(1, padded('', 0), PADDED), lastData(1, 'a')],
    expect: ok({ body: 'a' }),
  },
  {
    id: 'data-padding-too-long',
    section: '6.1',
    send: [post(1, HOLD), data(1, Buffer.of(5, 1, 2, 3, 4), PADDED)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'data-padding-without-length',
    section: '6.1',
    send: [post(1, HOLD), data(1, '', PADDED)],
    expect: [connection('FRAME_SIZE_ERROR'), connection('PROTOCOL_ERROR'), stream('FRAME_SIZE_ERROR')],
  },
  { id: 'headers-stream-0', section: '6.2', send: [get(0)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'headers-padded',
    section: '6.2',
    send: [frame('HEADERS', END_HEADERS | END_STREAM | PADDED, 1, padded(HEAD, 200))],
    expect: ok(),
  },
  {
    id: 'headers-prioritised',
    section: '6.2',
    send: [
      frame(
        'HEADERS',
        END_HEADERS | END_STREAM | PRIORITISED,
        1,
        Buffer.concat([priority(2 ** 31 + 3), HEAD]),
      ),
    ],
    expect: ok(),
  },
  {
    id: 'headers-padded-and-prioritised',
    section: '6.2',
    send: [
      frame(
        'HEADERS',
        END_HEADERS | END_STREAM | PADDED | PRIORITISED,
        1,
        padded(Buffer.concat([priority(0), HEAD]), 3),
      ),
    ],
    expect: ok(),
  },
  {
    id: 'headers-padding-too-long',
    section: '6.2',
    send: [frame('HEADERS', END_HEADERS | END_STREAM | PADDED, 1, Buffer.concat([Buffer.of(250), HEAD]))],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'headers-padding-over-priority',
    section: '6.2',
    send: [
      frame('HEADERS', END_HEADERS | END_STREAM | PADDED | PRIORITISED, 1, Buffer.of(2, 0, 0, 0, 0, 1, 0)),
    ],
    expect: [connection('PROTOCOL_ERROR'), connection('FRAME_SIZE_ERROR')],
  },
  {
    id: 'headers-priority-cut',
    section: '6.2',
    send: [frame('HEADERS', END_HEADERS | END_STREAM | PRIORITISED, 1, Buffer.of(0, 0, 0))],
    expect: [connection('FRAME_SIZE_ERROR'), connection('PROTOCOL_ERROR')],
  },
  {
    id: 'priority-on-itself',
    section: '6.3',
    send: [frame('PRIORITY', 0, 1, priority(1)), get(3)],
    expect: ok({}, 3),
    why: 'RFC 9113 has no priorities: what they say means nothing',
  },
  {
    id: 'priority-stream-0',
    section: '6.3',
    send: [frame('PRIORITY', 0, 0, priority(1))],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'priority-size',
    section: '6.3',
    send: [post(1, HOLD), frame('PRIORITY', 0, 1, Buffer.alloc(4))],
    expect: [stream('FRAME_SIZE_ERROR'), connection('FRAME_SIZE_ERROR')],
  },
  { id: 'reset-stream-0', section: '6.4', send: [reset(0)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'reset-size',
    section: '6.4',
    send: [get(1, HOLD), frame('RST_STREAM', 0, 1, Buffer.alloc(5))],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'reset-unknown-code',
    section: '7',
    send: [get(1, HOLD), frame('RST_STREAM', 0, 1, uint32(0xfffffff0))],
    expect: ignored,
  },
  {
    id: 'settings-ack',
    section: '6.5.3',
    send: [settings(), settings([SETTING.MAX_FRAME_SIZE, 20_000])],
    expect: { kind: 'ack', of: 'SETTINGS', count: 3 },
  },
  {
    id: 'settings-unknown',
    section: '6.5.2',
    send: [settings([0x0f0f, 7], [0, 1], [0xffff, 0xffffffff])],
    expect: { kind: 'ack', of: 'SETTINGS', count: 2 },
  },
  {
    id: 'settings-twice',
    section: '6.5.3',
    send: [
      settings([SETTING.INITIAL_WINDOW_SIZE, 0], [SETTING.INITIAL_WINDOW_SIZE, 70_000]),
      get(1, { ':path': '/sized' }),
    ],
    expect: ok(),
    why: 'the last one holds: with the first the content would not come',
  },
  {
    id: 'settings-stream',
    section: '6.5',
    send: [frame('SETTINGS', 0, 1)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'settings-size',
    section: '6.5',
    send: [sized('SETTINGS', 0, 5)],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'settings-ack-size',
    section: '6.5',
    send: [sized('SETTINGS', 0, 6, ACK)],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'settings-push',
    section: '6.5.2',
    send: [settings([SETTING.ENABLE_PUSH, 2])],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'settings-window',
    section: '6.5.2',
    send: [settings([SETTING.INITIAL_WINDOW_SIZE, 2 ** 31])],
    expect: connection('FLOW_CONTROL_ERROR'),
  },
  {
    id: 'settings-frame-size-low',
    section: '6.5.2',
    send: [settings([SETTING.MAX_FRAME_SIZE, 16_383])],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'settings-frame-size-high',
    section: '6.5.2',
    send: [settings([SETTING.MAX_FRAME_SIZE, 2 ** 24])],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'settings-extremes',
    section: '6.5.2',
    send: [
      settings(
        [SETTING.HEADER_TABLE_SIZE, 2 ** 32 - 1],
        [SETTING.ENABLE_PUSH, 0],
        [SETTING.MAX_CONCURRENT_STREAMS, 0],
        [SETTING.INITIAL_WINDOW_SIZE, MAX],
        [SETTING.MAX_FRAME_SIZE, 2 ** 24 - 1],
        [SETTING.MAX_HEADER_LIST_SIZE, 2 ** 32 - 1],
      ),
      get(1),
    ],
    expect: ok(),
    why: 'how many streams the server may open is nothing to it that opens none',
  },
  {
    id: 'settings-no-table',
    section: '6.5.2, RFC 7541 4.2',
    send: [settings([SETTING.HEADER_TABLE_SIZE, 0]), get(1), get(3)],
    expect: ok({}, 3),
    why: 'the response begins with the update of the table size, or the reader of the test says so',
  },
  {
    id: 'settings-table-down-and-up',
    section: '6.5.2, RFC 7541 4.2',
    send: [
      settings([SETTING.HEADER_TABLE_SIZE, 0]),
      settings([SETTING.HEADER_TABLE_SIZE, 4_096]),
      get(1),
      get(3),
    ],
    expect: ok({}, 3),
  },
  {
    id: 'push-promise',
    section: '6.6',
    send: [get(1, HOLD), frame('PUSH_PROMISE', END_HEADERS, 1, Buffer.concat([uint32(2), HEAD]))],
    expect: connection('PROTOCOL_ERROR'),
    why: 'a client cannot push',
  },
  {
    id: 'ping',
    section: '6.7',
    send: [frame('PING', 0xfe, 0, '\0\xff345678')],
    expect: { kind: 'ack', of: 'PING', payload: '\0\xff345678' },
  },
  { id: 'ping-ack-of-nothing', section: '6.7', send: [frame('PING', ACK, 0, '12345678')], expect: ignored },
  {
    id: 'ping-stream',
    section: '6.7',
    send: [frame('PING', 0, 1, '12345678')],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'ping-size',
    section: '6.7',
    send: [frame('PING', 0, 0, '1234567')],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'goaway',
    section: '6.8',
    send: [
      post(1),
      frame('GOAWAY', 0, 0, Buffer.concat([uint32(0), uint32(0), Buffer.from('bye')])),
      lastData(1, 'a'),
    ],
    expect: ok({ body: 'a' }),
    why: 'what was begun ends as it should',
    last: true,
  },
  {
    id: 'goaway-stream',
    section: '6.8',
    send: [frame('GOAWAY', 0, 1, Buffer.alloc(8))],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'goaway-size',
    section: '6.8',
    send: [sized('GOAWAY', 0, 7)],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'window-zero-stream',
    section: '6.9',
    send: [get(1, HOLD), windowUpdate(1, 0)],
    expect: [stream('PROTOCOL_ERROR'), connection('PROTOCOL_ERROR')],
  },
  { id: 'window-zero', section: '6.9', send: [windowUpdate(0, 0)], expect: connection('PROTOCOL_ERROR') },
  {
    id: 'window-size',
    section: '6.9',
    send: [frame('WINDOW_UPDATE', 0, 0, Buffer.of(0, 0, 1))],
    expect: connection('FRAME_SIZE_ERROR'),
  },
  {
    id: 'window-most',
    section: '6.9.1',
    send: [windowUpdate(0, MAX - 65_535), get(1), windowUpdate(1, 1)],
    expect: ok(),
    last: true,
  },
  {
    id: 'window-overflow',
    section: '6.9.1',
    send: [windowUpdate(0, MAX - 65_534)],
    expect: connection('FLOW_CONTROL_ERROR'),
  },
  {
    id: 'window-overflow-stream',
    section: '6.9.1',
    send: [get(1, HOLD), windowUpdate(1, MAX - 65_534)],
    expect: [stream('FLOW_CONTROL_ERROR'), connection('FLOW_CONTROL_ERROR')],
  },
  {
    id: 'window-overflow-by-settings',
    section: '6.9.2',
    send: [get(1, HOLD), windowUpdate(1, 65_535), settings([SETTING.INITIAL_WINDOW_SIZE, MAX])],
    expect: connection('FLOW_CONTROL_ERROR'),
  },
];

export const CONTINUATION_CASES: readonly H2Case[] = [
  {
    id: 'continuation',
    section: '6.10',
    send: [
      frame('HEADERS', END_STREAM, 1, SPLIT[0]),
      frame('CONTINUATION', 0, 1, SPLIT[1]),
      frame('CONTINUATION', END_HEADERS, 1, SPLIT[2]),
    ],
    expect: ok({ body: '' }),
  },
  {
    id: 'continuation-of-nothing',
    section: '6.10',
    send: [
      frame('HEADERS', END_STREAM, 1),
      frame('CONTINUATION', 0, 1, HEAD),
      frame('CONTINUATION', END_HEADERS, 1),
    ],
    expect: ok(),
  },
  {
    id: 'continuation-then-content',
    section: '6.10',
    send: [
      frame('HEADERS', 0, 1, POST),
      frame('CONTINUATION', END_HEADERS | END_STREAM, 1),
      lastData(1, 'a'),
    ],
    expect: ok({ body: 'a' }),
    why: 'CONTINUATION has no END_STREAM',
  },
  {
    id: 'continuation-padded-headers',
    section: '6.10',
    send: [
      frame('HEADERS', END_STREAM | PADDED, 1, padded(SPLIT[0], 4)),
      frame('CONTINUATION', END_HEADERS | PADDED, 1, Buffer.concat([SPLIT[1], SPLIT[2]])),
    ],
    expect: ok(),
    why: 'and no padding',
  },
  {
    id: 'continuation-of-trailers',
    section: '6.10',
    send: [
      post(1),
      data(1, 'a'),
      frame('HEADERS', END_STREAM, 1),
      frame('CONTINUATION', END_HEADERS, 1, block([['x-trailer', 'b']])),
    ],
    expect: ok({ body: 'a', trailers: { 'x-trailer': 'b' } }),
  },
  ...(
    [
      ['ping', frame('PING', 0, 0, '12345678')],
      ['data', data(1, 'a')],
      ['settings', settings()],
      ['headers', get(3)],
      ['priority', frame('PRIORITY', 0, 1, priority(0))],
      ['reset', reset(1)],
      ['window', windowUpdate(0, 1)],
      ['unknown', frame(0xfa, 0, 1, 'a')],
      ['goaway', sized('GOAWAY', 0, 8)],
      ['other-stream', frame('CONTINUATION', END_HEADERS, 3, SPLIT[1])],
    ] as const
  ).map(
    ([name, between]): H2Case => ({
      id: `continuation-broken-by-${name}`,
      section: '6.10',
      send: [frame('HEADERS', END_STREAM, 1, SPLIT[0]), between],
      expect: connection('PROTOCOL_ERROR'),
    }),
  ),
  {
    id: 'continuation-alone',
    section: '6.10',
    send: [frame('CONTINUATION', END_HEADERS, 1, HEAD)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'continuation-after-the-end',
    section: '6.10',
    send: [get(1, HOLD), frame('CONTINUATION', END_HEADERS, 1, HEAD)],
    expect: connection('PROTOCOL_ERROR'),
  },
  {
    id: 'continuation-stream-0',
    section: '6.10',
    send: [frame('CONTINUATION', END_HEADERS, 0, tableSize(0))],
    expect: connection('PROTOCOL_ERROR'),
  },
];
