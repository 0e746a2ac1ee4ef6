/** Names of RFC 9113: frame types, flags, error codes, settings, and the limits that Outrider announces. */

/** RFC 9113 3.4. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export const FRAME_HEADER_BYTES = 9;
/** Largest payload that is taken and sent (SETTINGS_MAX_FRAME_SIZE as it begins, RFC 9113 6.5.2): fair to other streams. */
export const MAX_FRAME_BYTES = 16_384;

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** Of DATA and HEADERS. */
export const END_STREAM = 0x1;
/** Of SETTINGS and PING. */
export const ACK = 0x1;
export const END_HEADERS = 0x4;
export const PADDED = 0x8;
export const WITH_PRIORITY = 0x20;

/** RFC 9113 7. */
export const NO_ERROR = 0;
export const PROTOCOL_ERROR = 1;
export const INTERNAL_ERROR = 2;
export const FLOW_CONTROL_ERROR = 3;
export const STREAM_CLOSED = 5;
export const FRAME_SIZE_ERROR = 6;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const COMPRESSION_ERROR = 9;
export const CONNECT_ERROR = 10;
export const ENHANCE_YOUR_CALM = 11;
export const HTTP_1_1_REQUIRED = 13;

/** RFC 9113 6.5.2, RFC 8441 3. */
export const HEADER_TABLE_SIZE = 1;
export const ENABLE_PUSH = 2;
export const MAX_CONCURRENT_STREAMS = 3;
export const INITIAL_WINDOW_SIZE = 4;
export const MAX_FRAME_SIZE = 5;
export const MAX_HEADER_LIST_SIZE = 6;
export const ENABLE_CONNECT_PROTOCOL = 8;

/** Both windows as they begin (RFC 9113 6.9.2). */
export const DEFAULT_WINDOW = 65_535;
/** Largest a window may become (RFC 9113 6.9.1). */
export const MAX_WINDOW = 0x7fff_ffff;
/** What one stream may have sent and we have not passed on. */
export const STREAM_WINDOW = 256 * 1024;
/** And all streams of a connection together. */
export const CONNECTION_WINDOW = 16 * 1024 * 1024;
/** Our decoder's table (RFC 7541 6.3); the default. */
export const TABLE_BYTES = 4_096;
/** Streams that a client may have open. */
export const MAX_STREAMS = 256;

/** Why Outrider ends a connection or a stream that the peer would have gone on with; words of the metric. */
export type H2EndReason =
  | 'h2_rapid_reset'
  | 'h2_continuation_flood'
  | 'h2_control_flood'
  | 'h2_header_list_too_large'
  | 'h2_malformed'
  | 'h2_protocol_error'
  | 'h2_frame_size'
  | 'h2_flow_control'
  | 'h2_compression'
  | 'h2_stream_closed'
  | 'h2_refused_stream'
  | 'h2_stalled'
  | 'h2_header_timeout';

/** Told of each, once. */
export type H2Report = (reason: H2EndReason) => void;
