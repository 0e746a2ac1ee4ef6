import { play } from './play.ts';
import { WEBSOCKET_ROWS } from './websocket-rows.ts';

play(WEBSOCKET_ROWS);
