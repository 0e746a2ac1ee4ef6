/** Where Outrider's own time goes in a case: V8's sampling profiler on every thread, self time by function. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Bench } from './bench.ts';
import type { Case } from './cases/case.ts';
import type { Peer } from './peers/peer.ts';

const ROWS = 25;
/** Waiting for the next event, and V8's own mark for it. */
const IDLE = new Set(['(idle)', '(root)']);

/** The parts of a .cpuprofile that say how long each function was on top of the stack; times in µs. */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/**
 * Runs the case once more with the profiler on and gives a Markdown table. The case's numbers are not kept; the profiles
 * themselves, one a thread, are where `keepIn` names a folder for them.
 */
export async function profileCase(
  bench: Bench,
  one: Case,
  { peer, keepIn }: { peer: Peer; keepIn: string | undefined },
): Promise<string> {
  const folder = mkdtempSync(join(bench.folder, 'profile-'));
  await one.measure(bench, profiled(peer, folder));
  const files = readdirSync(folder).filter(file => file.endsWith('.cpuprofile'));
  const profiles = files.map(file => JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile);
  if (keepIn) for (const file of files) copyFileSync(join(folder, file), join(keepIn, `${one.name}.${file}`));
  return `Profile of ${one.name}, all threads of ${peer.name}, share of the time that they were not idle:\n\n${selfTimes(profiles)}\n`;
}

function profiled(peer: Peer, folder: string): Peer {
  const plan: Peer['plan'] = input => {
    const { files, args } = peer.plan(input);
    return { files, args: ['--cpu-prof', `--cpu-prof-dir=${folder}`, ...args] };
  };
  return { ...peer, plan };
}

/** Self time of every function over all profiles, largest first; native code counts to the function that called it. */
export function selfTimes(profiles: readonly CpuProfile[]): string {
  const times = new Map<string, number>();
  for (const { nodes, samples, timeDeltas } of profiles) {
    const names = new Map(nodes.map(node => [node.id, nameOf(node.callFrame)]));
    samples.forEach((id, index) => {
      const name = names.get(id) ?? '?';
      times.set(name, (times.get(name) ?? 0) + (timeDeltas[index] ?? 0));
    });
  }
  for (const name of IDLE) times.delete(name);
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  const rows = [...times].sort(([, a], [, b]) => b - a).slice(0, ROWS);
  const lines = rows.map(([name, time]) => `| ${((time / total) * 100).toFixed(1)} % | ${name} |`);
  return ['| self | function |', '| --- | --- |', ...lines].join('\n');
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  return url === '' ? name : `${name} ${basename(url)}:${lineNumber + 1}`;
}
