/**
 * `npm run smoke`: packs the package, installs the tarball into an empty folder, and runs what was installed,
 * with every Node that is at hand: this one, and the one that started npm, however old.
 */

import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const NPM_TIMEOUT_MS = 300_000;
const COMMAND_TIMEOUT_MS = 30_000;

// Anything else in the tarball is a mistake; above all a source, a test, or a key.
const PUBLISHED =
  /^(?:bin\/outrider\.js|dist\/(?:[^/]+\.js|THIRD_PARTY_LICENSES\.txt)|config\/.+\.(?:ya?ml|jsonl?|md|mjs|service|socket|conf|env)|package\.json|LICENSE|README\.md|CHANGELOG\.md)$/;
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

  await mkdir(join(folder, 'config'));
  await writeFile(join(folder, 'config/strict.yaml'), STRICT);

  for (const node of nodes()) {
    const version = run(node, ['--version'], folder).stdout.trim();
    const say = (...args: string[]) => run(node, [outrider, ...args], folder);
    const expectSaid = (args: string[], status: number, stdout: RegExp, stderr = /^$/) =>
      expect(`${version}: outrider ${args.join(' ')}`, () =>
        faults(say(...args), { status, stdout, stderr }),
      );

    expectSaid(['--version'], 0, /^outrider \d+\.\d+\.\d+ \(node v\d+[.\d]+, OpenSSL [.\d]+\)\n$/);
    expectSaid(['--help'], 0, /^usage: outrider /);
    expectSaid(['no-such-command'], 2, /^$/, /^outrider: [^\n]+\n$/);
    expectSaid(['healthcheck', '--port', '1'], 1, /^$/, /^not ready: [^\n]+\n$/);
    await rm(join(folder, 'certs'), { recursive: true, force: true });
    expectSaid(['certs', 'init'], 0, /^made /);
    expectSaid(['certs', 'issue'], 0, /^issued spiffe:/);
    expectSaid(['check', 'config', 'certs'], 0, /^$/, /no faults/);
    const explain = ['explain', '--config', 'config', '--port', '80', '--expect', 'deny'];
    expectSaid(explain, 0, /mtls_required/);
    expectSaid(['demo', '--once'], 0, /RBAC: access denied/);
    const lived = await live(node, outrider, folder);
    expect(`${version}: outrider run, ready, healthy, ended`, () => lived);
  }
}

const STRICT = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
`;

/** Runs a sidecar until it is ready, asks after its health, and ends it; what went wrong on the way. */
async function live(node: string, outrider: string, cwd: string): Promise<string[]> {
  const listeners = ['inbound', 'outbound', 'admin', 'health', 'telemetry'].flatMap(name => [
    `--${name}`,
    '0',
  ]);
  const args = [outrider, 'run', '--config', 'config', '--app', '1', '--workers', '1', ...listeners];
  const child = spawn(node, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  const deadline = setTimeout(() => child.kill('SIGKILL'), COMMAND_TIMEOUT_MS);
  const found: string[] = [];
  const closed = once(child, 'close');
  let log = '';
  let port = '';
  for await (const chunk of child.stderr.setEncoding('utf8')) {
    log += chunk;
    if (port !== '') continue;
    port = /"msg":"ready".*"health":"[\d.]+:(\d+)".*\n/.exec(log)?.[1] ?? '';
    if (port === '') continue;
    const health = run(node, [outrider, 'healthcheck', '--port', port], cwd);
    found.push(...faults(health, { status: 0, stdout: /^ready\n$/, stderr: /^$/ }));
    child.kill('SIGTERM');
  }
  const [code, signal] = await closed;
  clearTimeout(deadline);
  if (port === '') found.push('never ready');
  if (code !== 0) found.push(`exit ${code ?? signal}`);
  return found.length === 0 ? [] : [...found, log];
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

interface Expected {
  readonly status: number;
  readonly stdout: RegExp;
  readonly stderr: RegExp;
}

/** What differs from the exit code and the texts that are meant. */
function faults(result: SpawnSyncReturns<string>, { status, stdout, stderr }: Expected): string[] {
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
