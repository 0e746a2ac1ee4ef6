import { HTTP1_ROWS } from './http1-rows.ts';
import { playEnvoy } from './play.ts';

playEnvoy(HTTP1_ROWS);
