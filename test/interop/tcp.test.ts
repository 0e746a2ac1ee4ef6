import { play } from './play.ts';
import { TCP_ROWS } from './tcp-rows.ts';

play(TCP_ROWS);
