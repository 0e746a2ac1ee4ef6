import { playEnvoy } from './play.ts';
import { WEBSOCKET_ROWS } from './websocket-rows.ts';

playEnvoy(WEBSOCKET_ROWS);
