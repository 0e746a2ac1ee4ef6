import { HTTP1_ROWS } from './http1-rows.ts';
import { play } from './play.ts';

play(HTTP1_ROWS);
