/** Plays rows as tests; with OUTRIDER_INTEROP_RESULTS each result is a line of JSON at the end of that file. */
import { appendFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { installedEnvoy } from './install-envoy.ts';
import { NOT_YET } from './not-yet.ts';
import { nameOf, type Row, type Stage } from './stage.ts';

/** Longer than any row takes on a busy machine. */
const ROW_MS = 60_000;

export interface Result {
  readonly name: string;
  readonly version: string;
  readonly passed: boolean;
}

/** One test a row, in order; all are skipped where the peer is not installed. `source`: what installs it. */
export function play(rows: readonly Row[], peer: { readonly version: string } | null, source: string): void {
  const skip = peer === null && `the peer is not installed: ${source}`;
  t.setTimeout(rows.length * ROW_MS);
  for (const row of rows)
    t.test(nameOf(row), { timeout: 2 * ROW_MS, skip }, t => playRow(t, row, peer?.version ?? ''));
}

/** The rows beside Envoy. */
export function playEnvoy(rows: readonly Row[]): void {
  play(rows, installedEnvoy(), '`npm run envoy`');
}

async function playRow(t: Test, row: Row, version: string): Promise<void> {
  const name = nameOf(row);
  const expected = NOT_YET.includes(name);
  const fault = await faultOf(t, row, expected);
  note({ name, version, passed: fault === null });
  if (expected) t.ok(fault, 'it passes: take it from test/interop/not-yet.ts');
  else if (fault === null) t.pass('it works');
  else throw fault;
}

/** What went wrong; null when it works. What the processes said goes into the test's output unless it was expected. */
async function faultOf(t: Test, row: Row, expected: boolean): Promise<Error | null> {
  const shown: (() => string)[] = [];
  const stage: Stage = {
    teardown: fn => t.teardown(fn),
    show: (name, text) => shown.push(() => `--- ${name}\n${text()}`),
  };
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not done after ${ROW_MS} ms`)), ROW_MS);
  try {
    await Promise.race([row.run(stage), late.promise]);
    return null;
  } catch (error) {
    if (!expected) t.comment(shown.map(show => show()).join('\n'));
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    clearTimeout(timer);
  }
}

function note(result: Result): void {
  const file = process.env.OUTRIDER_INTEROP_RESULTS;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(result)}\n`);
}
