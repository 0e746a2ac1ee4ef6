/**
 * Lays out the root file system of the container image: `node scripts/image-root.ts FOLDER`.
 * The Node that runs this script, the shared libraries it is linked with, the bundle; no shell, no package
 * manager, nothing that could be upgraded or abused in place. The Dockerfile copies the folder into an empty image.
 * Whatever was built when: times are SOURCE_DATE_EPOCH's (s since 1970, default 0), modes are two, so that the same sources
 * and the same base make the same layer.
 */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, readdir, realpath, utimes, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Where the image has what. The Dockerfile's ENTRYPOINT and HEALTHCHECK name the same paths. */
export const NODE_PATH = '/usr/local/bin/node';
export const APP_PATH = '/opt/outrider';

/** Istio's proxy has this number too: firewall rules that let the sidecar's own traffic pass match on it. */
const UID = 1337;

// package.json makes the .js files modules; the rest is what the licences ask to be handed on.
const APP_FILES = ['bin', 'package.json', 'LICENSE', 'config/inject'];

// Debian's packages of the libraries that Node is linked with; their licences go along with them.
const LIBRARY_PACKAGES = ['libc6', 'libgcc-s1', 'libstdc++6', 'libatomic1'];

/** Fills `folder` (made when missing) with the image's files. `dist` is the bundle to put in, `seconds` every file's time. */
export async function layImageRoot(
  folder: string,
  dist = join(ROOT, 'dist'),
  seconds = secondsOf(process.env.SOURCE_DATE_EPOCH),
): Promise<void> {
  const node = await realpath(process.execPath);
  await put(node, join(folder, NODE_PATH));
  await put(join(dirname(node), '../LICENSE'), join(folder, '/usr/share/doc/node/LICENSE'));
  for (const library of sharedLibraries(node)) await put(library, join(folder, library));
  for (const name of LIBRARY_PACKAGES) {
    const copyright = join('/usr/share/doc', name, 'copyright');
    if (existsSync(copyright)) await put(copyright, join(folder, copyright));
  }

  const app = join(folder, APP_PATH);
  for (const file of APP_FILES) await put(join(ROOT, file), join(app, file));
  await put(dist, join(app, 'dist'));

  await mkdir(join(folder, 'etc'), { recursive: true });
  await writeFile(join(folder, 'etc/passwd'), `outrider:x:${UID}:${UID}::/nonexistent:/sbin/nologin\n`);
  await writeFile(join(folder, 'etc/group'), `outrider:x:${UID}:\n`);
  await writeFile(join(folder, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  await settle(folder, seconds);
}

/** Times and modes that do not tell who built it, when, and under which umask. */
async function settle(folder: string, seconds: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const stat = await lstat(path);
    if (stat.isDirectory()) await settle(path, seconds);
    else {
      await chmod(path, (stat.mode & 0o111) === 0 ? 0o644 : 0o755);
      await utimes(path, seconds, seconds);
    }
  }
  await chmod(folder, 0o755);
  await utimes(folder, seconds, seconds);
}

function secondsOf(said = '0'): number {
  if (!/^\d{1,12}$/.test(said)) throw new Error('SOURCE_DATE_EPOCH is a whole number of seconds');
  return Number(said);
}

/** The files that the dynamic linker loads for a binary, and the linker itself. */
function sharedLibraries(binary: string): string[] {
  const listing = execFileSync('ldd', [binary], { encoding: 'utf8' });
  return [...new Set(listing.match(/\/\S+(?= \(0x)/g))];
}

/** Copies what a path stands for, links followed. */
async function put(source: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  await cp(await realpath(source), target, { recursive: true, dereference: true });
}

if (import.meta.main) {
  const folder = process.argv[2];
  if (folder === undefined) throw new Error('usage: node scripts/image-root.ts FOLDER');
  await layImageRoot(resolve(folder));
}
