/**
 * Every process that the bench starts is started here and ended here: on normal exit, on an error and on SIGINT or
 * SIGTERM. Nothing else is ever signalled.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const END_WAIT_MS = 10_000; // longer than any shutdown here, short enough to notice one that hangs
const KEPT_OUTPUT = 8 * 1024;

/** What still runs, and whether it leads a process group. */
const running = new Map<ChildProcess, boolean>();

/** A child with the end of what it wrote, for the message when it dies. */
export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The last 8 KiB of standard output and standard error. */
  output(): string;
}

/**
 * Starts a program in a process group of its own, so that what it starts (nginx's worker) can be ended with it, and a
 * Ctrl-C in the terminal reaches the bench alone. Throws when it cannot be started.
 */
export async function start(command: string, args: readonly string[]): Promise<Child> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const adopted = adopt(child, true);
  await once(child, 'spawn');
  return adopted;
}

/** Starts one of the bench's own programs (a file of bench/programs/) with an IPC channel. */
export function startProgram(file: string, args: readonly string[] = []): Child {
  const path = fileURLToPath(new URL(`programs/${file}`, import.meta.url));
  return adopt(fork(path, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }), false);
}

/** Waits for the next message of a program; rejects when it ends first or says nothing for `timeoutMs`. */
export function nextMessage(child: Child, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const finish = (act: () => void) => {
      clearTimeout(timer);
      child.process.off('message', onMessage);
      child.process.off('exit', onExit);
      act();
    };
    const onMessage = (message: unknown) => finish(() => resolve(message));
    const onExit = (code: number | null, signal: string | null) =>
      finish(() => reject(new Error(`a bench program ended early (${code ?? signal}):\n${child.output()}`)));
    const timer = setTimeout(
      () => finish(() => reject(new Error(`no word from a bench program for ${timeoutMs} ms`))),
      timeoutMs,
    );
    child.process.once('message', onMessage);
    child.process.once('exit', onExit);
  });
}

/** Ends one child: SIGTERM, then SIGKILL after ten seconds. Resolves when it is gone. */
export async function end(child: Child): Promise<void> {
  const { process: ended } = child;
  if (ended.exitCode !== null || ended.signalCode !== null) return;
  const gone = once(ended, 'exit');
  const timer = setTimeout(
    () => (running.get(ended) ? killGroup(child.pid) : ended.kill('SIGKILL')),
    END_WAIT_MS,
  );
  ended.kill('SIGTERM');
  await gone;
  clearTimeout(timer);
}

/** Runs a program to its end and gives what it wrote to standard output; rejects on any exit code but 0. */
export async function run(command: string, args: readonly string[], timeoutMs: number): Promise<string> {
  const child = await start(command, args);
  let text = '';
  child.process.stdout?.on('data', chunk => {
    text += chunk;
  });
  const timer = setTimeout(() => child.process.kill('SIGKILL'), timeoutMs);
  const [code, signal] = await once(child.process, 'close');
  clearTimeout(timer);
  if (code !== 0) throw new Error(`${command} ended with ${code ?? signal}:\n${child.output()}`);
  return text;
}

/** Kills what still runs, with its group. For exit handlers: synchronous. */
export function killAll(): void {
  for (const [child, leads] of running) {
    if (leads && child.pid !== undefined) killGroup(child.pid);
    else child.kill('SIGKILL');
  }
  running.clear();
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Makes sure that no child outlives the bench. Call once, before the first child. */
export function endChildrenWithThisProcess(): void {
  process.on('exit', killAll);
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => process.exit(code));
  }
}

function adopt(child: ChildProcess, leads: boolean): Child {
  let kept = '';
  const keep = (chunk: Buffer) => {
    kept = (kept + chunk.toString()).slice(-KEPT_OUTPUT);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  running.set(child, leads);
  child.once('exit', () => running.delete(child));
  return { process: child, pid: child.pid ?? 0, output: () => kept.trim() };
}
