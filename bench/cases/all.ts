/** Every case, in the order of the table. */
import { BULK_CASES } from './bulk.ts';
import type { Case } from './case.ts';
import { FLAT_CASE } from './flat.ts';
import { HTTP2_CASES } from './h2.ts';
import { ATTACK_CASES } from './h2-attacks.ts';
import { HANDSHAKES_CASE, RESUMED_CASE } from './handshakes.ts';
import { HTTP_CASES } from './http.ts';
import { IDLE_CASE } from './idle.ts';
import { HTTP2_PAIR_CASES, PAIR_CASE } from './pair.ts';
import { RATE_CASE } from './rate.ts';
import { START_CASE } from './start.ts';

export const CASES: readonly Case[] = [
  ...HTTP_CASES,
  PAIR_CASE,
  ...HTTP2_CASES,
  ...HTTP2_PAIR_CASES,
  ...ATTACK_CASES,
  RATE_CASE,
  ...BULK_CASES,
  HANDSHAKES_CASE,
  RESUMED_CASE,
  IDLE_CASE,
  START_CASE,
  FLAT_CASE,
];

/** What --quick runs. */
export const QUICK_CASES = ['h1-in', 'h1-out', 'h2-in', 'handshakes', 'start'];
