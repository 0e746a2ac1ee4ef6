/**
 * `npm run image:try [-- BUILD FLAGS]`: builds the container image and runs it as a pod would, with Docker or Podman.
 * ENGINE names another command, with its flags: `ENGINE='podman --runtime runc'`. Not part of `npm test`: it needs an engine, the
 * base image and a minute. Every step prints one line; the first one that fails ends it with exit code 1.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const IMAGE = 'outrider:try';
const COMMAND = ['/usr/local/bin/node', '/opt/outrider/bin/outrider.js'];
const BUILD_MS = 900_000; // npm's registry may be slow
const STEP_MS = 60_000;
/** What a sidecar in a pod has, and no network but its own localhost. */
const CONFINED = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges', '--network=none'];

type Result = SpawnSyncReturns<string>;

class Engine {
  readonly #words: readonly string[];

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  get name(): string {
    return this.#words.join(' ');
  }

  /** What the command did; never throws. */
  ask(args: readonly string[], timeout = STEP_MS): Result {
    const [command = '', ...flags] = this.#words;
    return spawnSync(command, [...flags, ...args], { cwd: ROOT, encoding: 'utf8', timeout });
  }

  /** What the command said on standard output. @throws Error with the end of what it said otherwise */
  do(args: readonly string[], timeout = STEP_MS): string {
    const { status, stdout, stderr, error } = this.ask(args, timeout);
    if (status === 0) return stdout.trim();
    const said = `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trim().split('\n').slice(-10);
    throw new Error(`${this.name} ${args.join(' ')}\n${said.join('\n')}`);
  }
}

/** The engine of ENGINE, else the first one that answers. */
function findEngine(): Engine | null {
  const named = process.env.ENGINE?.split(' ').filter(word => word !== '');
  const engines = (named ? [named] : [['docker'], ['podman']]).map(words => new Engine(words));
  return engines.find(engine => engine.ask(['version']).status === 0) ?? null;
}

function build(engine: Engine, flags: readonly string[]): string {
  // Podman's own format has no health check.
  const format = engine.name.includes('podman') ? ['--format=docker'] : [];
  engine.do(['build', '-t', IMAGE, ...format, ...flags, '.'], BUILD_MS);
  return engine.do(['image', 'inspect', IMAGE, '--format', '{{.Size}} bytes, {{.RootFS.Layers}}']);
}

function hasNoShell(engine: Engine): string {
  const { status } = engine.ask(['run', '--rm', ...CONFINED, '--entrypoint=/bin/sh', IMAGE, '-c', 'true']);
  if (status === 0) throw new Error('it has a shell');
  return 'none';
}

/** As the init container of a pod: root with two capabilities, in a network of its own. */
function capture(engine: Engine): string {
  const user = ['--user=0:0', '--cap-add=NET_ADMIN', '--cap-add=NET_RAW'];
  engine.do(['run', '--rm', ...CONFINED, ...user, IMAGE, 'capture', 'apply']);
  return 'in force';
}

/** A sidecar with a development certificate: ready for its own health check, and gone with code 0 when told. */
function sidecar(engine: Engine): string {
  const certs = mkdtempSync(join(tmpdir(), 'outrider-try-'));
  chmodSync(certs, 0o777); // whoever the image's user is outside
  const mount = ['-v', `${certs}:/certs`];
  let container = '';
  try {
    const certsCommand = ['run', '--rm', ...CONFINED, ...mount, IMAGE, 'certs'];
    engine.do([...certsCommand, 'init', '/certs/ca']);
    engine.do([
      ...certsCommand,
      'issue',
      'spiffe://cluster.local/ns/try/sa/app',
      '/certs/app',
      '--ca',
      '/certs/ca',
    ]);
    const run = ['run', '--app', '8080', '--certs', '/certs/app', '--workers', '1'];
    container = engine.do(['run', '-d', ...CONFINED, ...mount, IMAGE, ...run]);
    const health = engine.do(['exec', container, ...COMMAND, 'healthcheck', '--wait=30']);
    engine.do(['stop', container]);
    const code = engine.do(['inspect', container, '--format', '{{.State.ExitCode}}']);
    if (code !== '0') throw new Error(`it ended with ${code}\n${engine.do(['logs', container])}`);
    return `${health}, and ended with 0 on SIGTERM`;
  } finally {
    if (container !== '') engine.ask(['rm', '-f', container]);
    rmSync(certs, { recursive: true, force: true });
  }
}

/** The steps in their order. @returns the exit code */
function tryImage(flags: readonly string[]): 0 | 1 {
  const engine = findEngine();
  if (engine === null) {
    console.error(
      'no container engine answers: install Docker or Podman, or name one: ENGINE="podman --remote"',
    );
    return 1;
  }
  const steps: readonly (readonly [string, () => string])[] = [
    ['engine', () => engine.name],
    ['image', () => build(engine, flags)],
    ['version', () => engine.do(['run', '--rm', ...CONFINED, IMAGE, '--version'])],
    ['shell', () => hasNoShell(engine)],
    ['capture', () => capture(engine)],
    ['sidecar', () => sidecar(engine)],
  ];
  for (const [name, step] of steps) {
    try {
      console.log(`${name.padEnd(8)} ${step()}`);
    } catch (error) {
      console.error(`${name.padEnd(8)} failed: ${error instanceof Error ? error.message : String(error)}`);
      return 1;
    }
  }
  return 0;
}

if (import.meta.main) process.exitCode = tryImage(process.argv.slice(2));
