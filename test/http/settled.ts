import { setImmediate as turn } from 'node:timers/promises';

/** Waits until `progress` has not changed for a few turns of the event loop: everything in memory has run its course. */
export async function settled(progress: () => number): Promise<void> {
  let before = Number.NaN;
  for (let still = 0; still < 4; ) {
    await turn();
    const now = progress();
    still = now === before ? still + 1 : 0;
    before = now;
  }
}
