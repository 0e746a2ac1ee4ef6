import { play } from './play.ts';
import { REFUSAL_ROWS } from './refusal-rows.ts';

play(REFUSAL_ROWS);
