/** Runs a program to its end, for the tests of what is published. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

const DEADLINE_MS = 60_000; // an end to a hung child, not a measure of speed

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts a program without standard input; `child` is for signals, `ended` resolves when it and its output are done. */
export function start(
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  const { promise, resolve, reject } = Promise.withResolvers<Pick<Ended, 'code' | 'signal'>>();
  child.on('error', reject);
  child.on('close', (code, signal) => resolve({ code, signal }));
  const ended = Promise.all([promise, text(child.stdout!), text(child.stderr!)])
    .then(([end, stdout, stderr]) => ({ ...end, stdout, stderr }))
    .finally(() => clearTimeout(deadline));
  return { child, ended };
}

/** Runs a program and gives its exit and all it wrote. */
export function run(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  return start(command, args, options).ended;
}
