/** What a row of the HTTP/2 table is made of: frames to send, and the reactions that are right. */

import { type Code, codeBytes, END_HEADERS, END_STREAM, type FrameType, frame, uint32 } from '../h2-frame.ts';
import { block, type Field } from '../hpack.ts';

/** What the app behind the proxy must have received, as far as it is named. */
export interface Seen {
  readonly method?: string;
  readonly url?: string;
  readonly host?: string;
  readonly body?: string;
  /** Values by name, those of repeated fields joined by `, `; null = it came without. */
  readonly fields?: Readonly<Record<string, string | null>>;
  readonly trailers?: Readonly<Record<string, string>>;
}

export type Expectation =
  /** GOAWAY with this code, and the connection ends. */
  | { readonly kind: 'connection'; readonly code: Code }
  /** The connection ends, in whatever words: what came was not HTTP/2 yet. */
  | { readonly kind: 'closed' }
  /** RST_STREAM with this code; the connection goes on. */
  | { readonly kind: 'stream'; readonly stream: number; readonly code: Code }
  /** RST_STREAM with PROTOCOL_ERROR, or a response 400 (RFC 9113 8.1.1); the app gets no whole request, unless `late`. */
  | { readonly kind: 'malformed'; readonly stream: number; readonly late?: true }
  /** A whole response. */
  | { readonly kind: 'status'; readonly stream: number; readonly status: number; readonly seen: Seen }
  /** Nothing happens; the connection goes on. */
  | { readonly kind: 'ignored' }
  /** PING or SETTINGS are acknowledged, PING with this payload. */
  | { readonly kind: 'ack'; readonly of: 'PING'; readonly payload: string }
  | { readonly kind: 'ack'; readonly of: 'SETTINGS'; readonly count: number };

export interface H2Case {
  readonly id: string;
  /** Of RFC 9113, where no other RFC is named. */
  readonly section: string;
  /** After the preface and an empty SETTINGS, unless `bare`. */
  readonly send: readonly Buffer[];
  /** Any of them is right. */
  readonly expect: Expectation | readonly Expectation[];
  /** These are to happen besides. */
  readonly also?: readonly Expectation[];
  readonly why?: string;
  readonly bare?: true;
  /** No stream can be opened after it on this connection: the next request comes on another. */
  readonly last?: true;
}

export function expectationsOf({ expect }: H2Case): readonly Expectation[] {
  return 'kind' in expect ? [expect] : expect;
}

export const connection = (code: Code): Expectation => ({ kind: 'connection', code });
export const stream = (code: Code, id = 1): Expectation => ({ kind: 'stream', stream: id, code });
export const malformed = (id = 1): Expectation => ({ kind: 'malformed', stream: id });
export const ok = (seen: Seen = {}, id = 1): Expectation => ({
  kind: 'status',
  stream: id,
  status: 200,
  seen,
});
export const status = (code: number, id = 1): Expectation => ({
  kind: 'status',
  stream: id,
  status: code,
  seen: {},
});
export const ignored: Expectation = { kind: 'ignored' };
export const closed: Expectation = { kind: 'closed' };

export type Changes = Readonly<Record<string, string | null>>;

/** A request's fields; `changes` replace fields in their place, take them away (null), or come behind. */
export function fieldsOf(changes: Changes = {}): Field[] {
  const base: Record<string, string> = {
    ':method': 'GET',
    ':scheme': 'http',
    ':authority': 'app.test',
    ':path': '/',
  };
  return Object.entries({ ...base, ...changes }).filter(
    (field): field is [string, string] => field[1] !== null,
  );
}

/** A whole request without content. */
export function get(id: number, changes: Changes = {}): Buffer {
  return headers(id, fieldsOf(changes), END_HEADERS | END_STREAM);
}

/** The head of a request whose content follows. */
export function post(id: number, changes: Changes = {}): Buffer {
  return headers(id, fieldsOf({ ':method': 'POST', ...changes }), END_HEADERS);
}

export function headers(id: number, fields: readonly Field[], flags: number): Buffer {
  return frame('HEADERS', flags, id, block(fields));
}

export function data(id: number, text: string | Buffer, flags = 0): Buffer {
  return frame('DATA', flags, id, text);
}

/** The last DATA of a stream. */
export function lastData(id: number, text: string | Buffer): Buffer {
  return data(id, text, END_STREAM);
}

export function reset(id: number, code: Code = 'CANCEL'): Buffer {
  return frame('RST_STREAM', 0, id, codeBytes(code));
}

export function windowUpdate(id: number, increment: number): Buffer {
  return frame('WINDOW_UPDATE', 0, id, uint32(increment));
}

/** PRIORITY fields: the stream depended on, and the weight's byte. */
export function priority(on: number, weight = 15): Buffer {
  return Buffer.concat([uint32(on), Buffer.of(weight)]);
}

/** A request's head whose field block is these bytes; more fields may have gone before. */
export function coded(id: number, bytes: Buffer, flags = END_HEADERS | END_STREAM): Buffer {
  return frame('HEADERS', flags, id, Buffer.concat([block(fieldsOf()), bytes]));
}

/** A frame of any type and size. */
export function sized(type: FrameType | number, id: number, bytes: number, flags = 0): Buffer {
  return frame(type, flags, id, Buffer.alloc(bytes));
}
