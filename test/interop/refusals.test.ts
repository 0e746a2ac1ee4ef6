import { playEnvoy } from './play.ts';
import { REFUSAL_ROWS } from './refusal-rows.ts';

playEnvoy(REFUSAL_ROWS.filter(({ protocol }) => protocol !== 'HTTP/2'));
