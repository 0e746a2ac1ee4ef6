/** The published package as a folder outside the project, so that no module of the project's can be found from it. */

import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Metafile } from 'esbuild';
import { build } from '../../scripts/build.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Built {
  readonly folder: string;
  readonly launcher: string;
  readonly metafile: Metafile;
  remove(): Promise<void>;
}

/** Builds the bundle into a new folder, with the launcher and package.json beside it. */
export async function buildElsewhere(): Promise<Built> {
  const folder = await mkdtemp(join(tmpdir(), 'outrider-'));
  const remove = () => rm(folder, { recursive: true });
  const metafile = await build(join(folder, 'dist')).catch(async error => {
    await remove();
    throw error;
  });
  await cp(join(ROOT, 'bin'), join(folder, 'bin'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'));
  return {
    folder,
    launcher: join(folder, 'bin/outrider.js'),
    metafile,
    remove,
  };
}
