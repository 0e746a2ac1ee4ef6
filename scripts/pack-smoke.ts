/**
 * `npm run smoke`: packs the package, installs the tarball into an empty folder, and runs what was installed,
 * with every Node that is at hand: this one, and the one that started npm, however old.
 */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const NPM_TIMEOUT_MS = 300_000;
const COMMAND_TIMEOUT_MS = 30_000;

// Anything else in the tarball is a mistake; above all a source, a test, or a key.
const PUBLISHED =
  /^(?:bin\/outrider\.js|dist\/(?:[^/]+\.js|THIRD_PARTY_LICENSES\.txt)|config\/.+\.(?:ya?ml|json|md)|package\.json|LICENSE|README\.md|CHANGELOG\.md)$/;
const FORBIDDEN = /\.ts$|(?:^|\/)(?:test|src|bench|certs|node_modules)\/|\.(?:pem|key)$/;

async function smoke(folder: string): Promise<void> {
  const [packed] = JSON.parse(
    npm(['pack', '--json', '--pack-destination', folder], ROOT).stdout.replace(/^[^[]*/, ''),
  );
  const paths: string[] = packed.files.map((file: { path: string }) => file.path);
  expect('only published files are in the tarball', () =>
    paths.filter(path => !PUBLISHED.test(path) || FORBIDDEN.test(path)),
  );

  await writeFile(join(folder, 'package.json'), '{ "private": true }\n');
  npm(['install', '--no-audit', '--no-fund', join(folder, packed.filename)], folder);
  const outrider = join(folder, 'node_modules/.bin/outrider');

  for (const node of nodes()) {
    const version = run(node, ['--version'], folder).stdout.trim();
    const say = (args: string[]) => run(node, [outrider, ...args], folder);
    expect(`${version}: --version`, () =>
      faults(say(['--version']), 0, /^outrider \d+\.\d+\.\d+ \(node v\d+[.\d]+, OpenSSL [.\d]+\)\n$/),
    );
    expect(`${version}: --help`, () => faults(say(['--help']), 0, /^usage: outrider /));
    expect(`${version}: an unknown command`, () =>
      faults(say(['no-such-command']), 2, /^$/, /^outrider: [^\n]+\n$/),
    );
    expect(`${version}: healthcheck without a sidecar`, () =>
      faults(say(['healthcheck', '--port', '1']), 1, /^$/, /^not ready: [^\n]+\n$/),
    );
  }
}

/** This Node, npm's, and the first in the path that the package's own does not stand in for. */
function nodes(): Set<string> {
  const own = join(ROOT, 'node_modules');
  const elsewhere = (process.env.PATH ?? '')
    .split(delimiter)
    .filter(folder => !folder.startsWith(own))
    .map(folder => join(folder, 'node'))
    .find(path => existsSync(path));
  const all = [process.execPath, process.env.npm_node_execpath, elsewhere];
  return new Set(all.filter(path => path !== undefined));
}

/** What differs from the exit code and the texts that are meant. */
function faults(result: SpawnSyncReturns<string>, status: number, stdout: RegExp, stderr = /^$/): string[] {
  const found: string[] = [];
  if (result.status !== status) found.push(`exit ${result.status ?? result.signal}, not ${status}`);
  if (!stdout.test(result.stdout)) found.push(`stdout ${JSON.stringify(result.stdout)} is not ${stdout}`);
  if (!stderr.test(result.stderr)) found.push(`stderr ${JSON.stringify(result.stderr)} is not ${stderr}`);
  return found;
}

function npm(args: string[], cwd: string): SpawnSyncReturns<string> {
  const result = spawnSync('npm', args, { cwd, encoding: 'utf8', timeout: NPM_TIMEOUT_MS });
  if (result.status !== 0) throw new Error(`npm ${args[0]} failed:\n${result.stderr}`);
  return result;
}

function run(command: string, args: string[], cwd: string): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd, encoding: 'utf8', timeout: COMMAND_TIMEOUT_MS });
}

let failed = 0;

function expect(what: string, check: () => string[]): void {
  const found = check();
  console.log(
    `smoke: ${found.length === 0 ? 'ok' : 'FAILED'}  ${what}${found.map(fault => `\n         ${fault}`).join('')}`,
  );
  if (found.length > 0) failed++;
}

const folder = await mkdtemp(join(tmpdir(), 'outrider-smoke-'));
try {
  await smoke(folder);
} finally {
  await rm(folder, { recursive: true });
}
process.exitCode = failed === 0 ? 0 : 1;
