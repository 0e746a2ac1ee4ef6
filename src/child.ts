/** The app of `run -- CMD`: started when the sidecar is ready, sent its signals, its exit code ours. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

export interface AppProcess {
  /** The shell's convention: 128 + signal number when a signal ended it. */
  readonly exited: Promise<number>;
  signal(name: NodeJS.Signals): void;
}

/** Starts `command` with this process's standard streams; `exited` is 127 when it cannot be started. */
export function startApp(command: readonly string[], onError: (reason: string) => void): AppProcess {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: 'inherit' });
  const exited = new Promise<number>(resolve => {
    child.once('error', error => {
      onError(error.message);
      resolve(127);
    });
    child.once('exit', (code, signal) =>
      resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
  return { exited, signal: name => child.kill(name) };
}
