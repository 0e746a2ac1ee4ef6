/** Which core does what, where it matters who waits for whom. */
import { spawnSync } from 'node:child_process';
import { availableParallelism, constants, setPriority } from 'node:os';
import { onPath } from './peers/peer.ts';

/** What an attacked proxy shares a machine with. */
export interface Parts {
  readonly proxy: number;
  readonly witness: number;
  readonly app: number;
  readonly attacker: number;
}

/**
 * A core for the proxy alone; the others for those around it, in the order in which they matter. An attacker that shares
 * its core with the witness gives way to it: its priority is the lowest. Without taskset, priority is all that is set.
 *
 * @param pids of the parts
 */
export function keepApart({ proxy, witness, app, attacker }: Parts): void {
  setPriority(attacker, constants.priority.PRIORITY_LOW);
  const cores = availableParallelism();
  const taskset = onPath('taskset');
  if (taskset === null || cores < 2) return;
  for (const [wanted, pid] of [proxy, witness, app, attacker].entries()) {
    const core = Math.min(wanted, cores - 1);
    // -a: every thread; a fault leaves the part where it is.
    spawnSync(taskset, ['-a', '-c', '-p', String(core), String(pid)], { stdio: 'ignore' });
  }
}
