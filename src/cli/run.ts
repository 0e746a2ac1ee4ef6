/** `outrider run`: the sidecar, with a line on standard error when it is ready. */
import { runSidecar } from '../app.ts';
import type { RunSettings } from '../config/settings.ts';
import type { Workers } from '../workers.ts';
import { VERSION } from './version.ts';

export function runRun(settings: RunSettings, workers: Workers): Promise<number> {
  return runSidecar(settings, workers, {
    version: VERSION,
    announce: line => process.stderr.write(`${line}\n`),
  });
}
