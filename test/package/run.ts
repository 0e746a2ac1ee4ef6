/** Runs a program to its end, for the tests of what is published. */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

const DEADLINE_MS = 60_000; // an end to a hung child, not a measure of speed

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  /** Resolves when the program and its output are done. */
  readonly ended: Promise<Ended>;
  /** Resolves with the first match in what it writes to a stream; rejects when it ends without one. */
  said(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<RegExpExecArray>;
}

/** Starts a program without standard input; `descriptors` of this process are its own from 3 on. */
export function start(
  command: string,
  args: readonly string[],
  { descriptors = [], ...options }: SpawnOptions & { readonly descriptors?: readonly number[] } = {},
): Started {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe', ...descriptors] });
  const texts = { stdout: collect(child.stdout!), stderr: collect(child.stderr!) };
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  const { promise: ended, resolve, reject } = Promise.withResolvers<Ended>();
  child.on('error', reject);
  child.on('close', (code, signal) => {
    clearTimeout(deadline);
    resolve({ code, signal, stdout: texts.stdout(), stderr: texts.stderr() });
  });
  const said: Started['said'] = (stream, pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(texts[stream]());
        if (match !== null) resolve(match);
      };
      child[stream]!.on('data', look);
      look();
      ended.then(end => reject(new Error(`ended without ${pattern}: ${JSON.stringify(end)}`)), reject);
    });
  return { child, ended, said };
}

function collect(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

/** Runs a program and gives its exit and all it wrote. */
export function run(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Ended> {
  return start(command, args, options).ended;
}
