/** How long a peer is loaded before it counts. A program that compiles itself as it runs is warm by work, not by time. */

const ENOUGH = 30_000; // answers; a machine that is busy with other things gives fewer in the usual time
const MOST_RUNS = 3;

/** Runs `once`, which says how many answers it got, until there were enough, at most three times. */
export async function warmUp(once: () => Promise<number>): Promise<void> {
  let answers = 0;
  for (let runs = 0; runs < MOST_RUNS && answers < ENOUGH; runs++) answers += await once();
}
