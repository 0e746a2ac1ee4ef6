/** Every row, in the order of docs/INTEROP.md. */
import { GRPC_ROWS } from './grpc-rows.ts';
import { HTTP1_ROWS } from './http1-rows.ts';
import { HTTP2_ROWS } from './http2-rows.ts';
import { NGHTTP2_ROWS } from './nghttp2-rows.ts';
import { REFUSAL_ROWS } from './refusal-rows.ts';
import type { Row } from './stage.ts';
import { TCP_ROWS } from './tcp-rows.ts';
import { WEBSOCKET_ROWS } from './websocket-rows.ts';

export const ROWS: readonly Row[] = [
  ...HTTP1_ROWS,
  ...HTTP2_ROWS,
  ...GRPC_ROWS,
  ...WEBSOCKET_ROWS,
  ...TCP_ROWS,
  ...REFUSAL_ROWS,
  ...NGHTTP2_ROWS,
];
