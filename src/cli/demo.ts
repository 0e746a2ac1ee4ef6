/** `outrider demo`: a whole small mesh on this machine, its story told once, then left to whoever wants to try it. */
import { readEnvironment } from '../config/environment.ts';
import type { DemoSettings } from './command-flags.ts';
import { follow } from './demo-follow.ts';
import { introduce, invite } from './demo-guide.ts';
import { makeFolder, removeFolder, startMesh } from './demo-mesh.ts';
import { Paper } from './demo-paper.ts';
import { Processes } from './demo-process.ts';
import { tellStory } from './demo-story.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What the demo holds while it runs. */
interface Stage {
  readonly folder: string;
  readonly paper: Paper;
  readonly processes: Processes;
  readonly startedAt: number;
}

/**
 * Runs the demo until a signal, or with `once` until the story is told. Its processes and its folder are gone
 * afterwards, whichever way it ends.
 * @returns the exit code: 0; 1 when a part failed, or with `once` when the story went another way
 */
export async function runDemo({ once }: DemoSettings): Promise<number> {
  const startedAt = performance.now();
  const environment = readEnvironment();
  const paper = new Paper(process.stdout, environment);
  const processes = new Processes(environment);
  const stopped = signalled(() => processes.kill());
  const folder = makeFolder();
  // For the ends that no `finally` sees.
  process.on('exit', () => {
    processes.kill();
    removeFolder(folder);
  });
  const stage: Stage = { folder, paper, processes, startedAt };
  const story = once ? playOnce(stage) : play(stage);
  story.catch(() => {}); // a signal cuts it short, and it fails as its sidecars end
  try {
    return await Promise.race([story, stopped]);
  } catch (error) {
    process.stderr.write(`outrider: demo: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    paper.close();
    await processes.stop();
    removeFolder(folder);
  }
}

async function playOnce({ folder, paper, processes }: Stage): Promise<number> {
  const mesh = await startMesh(folder, processes);
  introduce(paper, mesh);
  const surprises = await tellStory(mesh, paper);
  return surprises.length === 0 ? 0 : 1;
}

/** Fails when a process of the mesh ends by itself; else goes on until a signal. */
async function play(stage: Stage): Promise<number> {
  const { folder, paper, processes, startedAt } = stage;
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => {}); // before it is waited for
  processes.onLoss = (name, lastWords) => lost.reject(new Error(`${name} ended: ${lastWords.join(' ')}`));
  const mesh = await startMesh(folder, processes);
  introduce(paper, mesh);
  await tellStory(mesh, paper);
  invite(paper, mesh, performance.now() - startedAt);
  follow(paper, mesh);
  return lost.promise;
}

/** Resolves with exit code 0 at the first signal; `again` is called at every further one. */
function signalled(again: () => void): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let first = true;
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (!first) again();
      first = false;
      resolve(0);
    });
  }
  return promise;
}
