/** The demo's child processes: none outlives it, whichever way it goes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Environment } from '../config/environment.ts';

const STOP_MS = 4_000; // sidecars drain within one second here; what hangs is killed

export interface Spawned {
  readonly child: ChildProcess;
  /** The last lines of standard error, for saying why it ended. */
  readonly lastWords: readonly string[];
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
}

export interface SpawnRequest {
  readonly name: string;
  readonly args: readonly string[];
  /** A message channel: its end tells the child that the demo is gone. */
  readonly channel: boolean;
  onOutput?(line: string): void;
  onError?(line: string): void;
}

const LAST_WORDS = 5;

export class Processes {
  #alive = new Set<Spawned>();
  #environment: Record<string, string>;
  /** Called with the name of a process that ended by itself. */
  onLoss: ((name: string, lastWords: readonly string[]) => void) | null = null;
  #stopping = false;

  /** Children get `environment` without what would configure a sidecar in the demo's place. */
  constructor(environment: Environment) {
    this.#environment = {};
    for (const [name, value] of Object.entries(environment)) {
      if (value === undefined || name.startsWith('OUTRIDER_') || name === 'SPIFFE_ENDPOINT_SOCKET') continue;
      this.#environment[name] = value;
    }
  }

  /** For what must not happen any more once the demo is ending. @throws Error then */
  ensureRunning(): void {
    if (this.#stopping) throw new Error('the demo is ending');
  }

  /** Starts this Node with `args`. @throws Error when the demo is ending */
  spawn({ name, args, channel, onOutput, onError }: SpawnRequest): Spawned {
    this.ensureRunning();
    const child = spawn(process.execPath, [...args], {
      stdio: ['ignore', 'pipe', 'pipe', ...(channel ? (['ipc'] as const) : [])],
      env: this.#environment,
    });
    const lastWords: string[] = [];
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const spawned: Spawned = { child, lastWords, ended };
    this.#alive.add(spawned);
    read(child.stdout, line => onOutput?.(line));
    read(child.stderr, line => {
      lastWords.push(line);
      if (lastWords.length > LAST_WORDS) lastWords.shift();
      onError?.(line);
    });
    const gone = (): void => {
      if (!this.#alive.delete(spawned)) return;
      resolve();
      if (!this.#stopping) this.onLoss?.(name, lastWords);
    };
    child.on('error', error => {
      lastWords.push(error.message);
      gone();
    });
    child.on('close', gone);
    return spawned;
  }

  /** Asks all to end, and kills what has not after a few seconds. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const all = [...this.#alive];
    for (const { child } of all) child.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), STOP_MS);
    await Promise.all(all.map(({ ended }) => ended));
    clearTimeout(timer);
  }

  /** Kills all at once. */
  kill(): void {
    this.#stopping = true;
    for (const { child } of this.#alive) child.kill('SIGKILL');
  }
}

function read(stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void {
  if (stream === null) return;
  createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', onLine);
}
