/**
 * `node scripts/interop-doc.ts`: plays the interop suite and writes the table of docs/INTEROP.md from its results. Wants
 * the peers that the suite wants, and ends with 1 when one of them is missing or a row fails that should pass.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Result } from '../test/interop/play.ts';
import { nameOf, type Row } from '../test/interop/stage.ts';
import { ROWS } from '../test/interop/suite.ts';

const ROOT = join(import.meta.dirname, '..');
export const INTEROP_DOC = join(ROOT, 'docs/INTEROP.md');
const TABLE = /^(\| peer .*\n\| -.*\n)((?:\|.*\n)*)/m;

/** A line of the table. */
export interface Entry {
  readonly peer: string;
  readonly version: string;
  readonly protocol: string;
  readonly direction: string;
  readonly what: string;
  readonly result: string;
}

/** The table's lines. @throws Error when the page has no table */
export function entriesOf(page: string): Entry[] {
  const lines = TABLE.exec(page)?.[2];
  if (lines === undefined) throw new Error('no table');
  return lines.split('\n').flatMap(line => {
    const cells = line.split('|').map(cell => cell.trim());
    const [, peer = '', version = '', protocol = '', direction = '', what = '', result = ''] = cells;
    return line === '' ? [] : [{ peer, version, protocol, direction, what, result }];
  });
}

function withResults(page: string, results: ReadonlyMap<string, Result>): string {
  const lines = ROWS.map(row => `| ${cellsOf(row, results.get(nameOf(row))).join(' | ')} |\n`);
  return page.replace(TABLE, (_, head: string) => head + lines.join(''));
}

function cellsOf(row: Row, result: Result | undefined): string[] {
  if (result === undefined) throw new Error(`no result of: ${nameOf(row)}`);
  const { peer, protocol, direction, what } = row;
  return [peer, result.version, protocol, direction, what, result.passed ? 'passes' : 'fails'];
}

/** Plays the suite. @returns the results by name, and whether its tests are content with them */
function playSuite(): { results: ReadonlyMap<string, Result>; content: boolean } {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-interop-'));
  const file = join(folder, 'results.jsonl');
  writeFileSync(file, '');
  const tests = globSync('test/interop/*.test.ts', { cwd: ROOT }).filter(path => !path.includes('-doc.'));
  const { status } = spawnSync(process.execPath, ['--test', ...tests], {
    cwd: ROOT,
    env: { ...process.env, OUTRIDER_INTEROP_RESULTS: file },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const lines = readFileSync(file, 'utf8').trim().split('\n').filter(Boolean);
  rmSync(folder, { recursive: true });
  const results = lines.map(line => JSON.parse(line) as Result);
  return { results: new Map(results.map(result => [result.name, result])), content: status === 0 };
}

if (import.meta.main) {
  const { results, content } = playSuite();
  const page = readFileSync(INTEROP_DOC, 'utf8');
  const fresh = withResults(page, results);
  writeFileSync(INTEROP_DOC, fresh);
  console.log(fresh === page ? 'interop-doc: nothing changed' : 'interop-doc: written anew');
  if (!content) process.exitCode = 1;
}
