import { playEnvoy } from './play.ts';
import { TCP_ROWS } from './tcp-rows.ts';

playEnvoy(TCP_ROWS);
