/** `outrider run`: the sidecar, with a line on standard error when it is ready. */
import { runSidecar } from '../app.ts';
import type { RunSettings } from '../config/settings.ts';
import { VERSION } from './version.ts';

export function runRun(settings: RunSettings): Promise<number> {
  return runSidecar(settings, {
    version: VERSION,
    announce: line => process.stderr.write(`${line}\n`),
  });
}
