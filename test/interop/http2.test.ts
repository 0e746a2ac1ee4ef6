import { HTTP2_ROWS } from './http2-rows.ts';
import { playEnvoy } from './play.ts';

playEnvoy(HTTP2_ROWS);
