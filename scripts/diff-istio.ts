/**
 * `npm run diff:istio [-- --seed N | --seeds K] [--keep]`: random policies, requests and manifests, decided by Istio's own
 * code and a real Envoy, then by Outrider. Ends with 1 on any difference that test/policy/stricter.ts does not list.
 * Where something that it needs is missing, or the tool cannot be built, it says so and ends with 0.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { stricterBehaviour } from '../test/policy/stricter.ts';
import { describeDifference } from './difference.ts';
import { compareCases, type Difference } from './istio-cases.ts';
import { buildOracle, type Oracle, oracleFolder, whatIsMissing } from './istio-oracle.ts';

const ROOT = join(import.meta.dirname, '..');
const SHOWN = 20; // a fault in one field shows in a hundred requests

const { values: flags } = parseArgs({
  options: {
    seed: { type: 'string', multiple: true },
    seeds: { type: 'string', default: '3' },
    keep: { type: 'boolean', default: false },
  },
});

const tool = oracleFolder(ROOT);
const missing = whatIsMissing(tool);
if (missing.length > 0) say(`skipped, for want of ${missing.join('; ')}`);
else process.exitCode = await run(seeds());

function seeds(): number[] {
  const given =
    flags.seed?.map(Number) ?? Array.from({ length: Number(flags.seeds) }, () => randomInt(1, 2 ** 31));
  if (given.length > 0 && given.every(seed => Number.isSafeInteger(seed) && seed >= 0)) return given;
  throw new Error('--seed and --seeds want whole numbers');
}

async function run(wanted: readonly number[]): Promise<0 | 1> {
  const oracle = buildOracle(tool, say);
  if (typeof oracle === 'string') {
    say(`skipped, for want of the tool, which cannot be built: ${oracle}`);
    return 0;
  }
  const folder = mkdtempSync(join(oracle.scratch, 'run-'));
  let faults = 0;
  for (const seed of wanted) faults += await compareSeed(oracle, seed, join(folder, String(seed)));
  if (flags.keep) say(`kept: ${folder}`);
  else rmSync(folder, { recursive: true });
  say(faults === 0 ? 'no difference' : `${faults} differences`);
  return faults === 0 ? 0 : 1;
}

/** One seed's cases: says what is equal, what is excused by which entry, and each difference; gives their number. */
async function compareSeed(oracle: Oracle, seed: number, folder: string): Promise<number> {
  const started = Date.now();
  for (const line of (await oracle.fuzz(folder, seed)).split('\n')) say(line);
  const { requests, misspelt, manifests, differences } = await compareCases(join(folder, 'Z'));
  const excused = new Map<string, number>();
  const faults = differences.filter(difference => !excuse(difference, excused));
  for (const difference of faults.slice(0, SHOWN)) say(describeDifference(seed, difference, oracle.scratch));
  if (faults.length > SHOWN) say(`… and ${faults.length - SHOWN} more`);
  const stricter = [...excused].map(([id, count]) => `${count} ${id}`).join(', ') || 'none';
  const unequal = differences.reduce((sum, one) => sum + (one.kind === 'folder' ? one.cases : 1), 0);
  say(
    `seed ${seed}: ${requests + manifests - unequal} of ${requests + manifests} equal ` +
      `(${requests} requests, ${manifests} manifests); ` +
      `not compared: ${misspelt}; stricter on purpose: ${stricter}; different: ${faults.length}; ` +
      `${Math.round((Date.now() - started) / 1000)} s`,
  );
  return faults.length;
}

function excuse(difference: Difference, counts: Map<string, number>): boolean {
  const stricter = difference.kind === 'explain' ? stricterBehaviour(difference) : null;
  if (stricter === null) return false;
  counts.set(stricter.id, (counts.get(stricter.id) ?? 0) + 1);
  return true;
}

function say(line: string): void {
  console.log(`diff:istio: ${line}`);
}
