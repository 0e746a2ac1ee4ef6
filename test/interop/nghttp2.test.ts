import { NGHTTP2_ROWS, nghttp2 } from './nghttp2-rows.ts';
import { play } from './play.ts';

play(NGHTTP2_ROWS, nghttp2(), "Debian's nghttp2-client, nghttp2-server and nghttp2-proxy");
