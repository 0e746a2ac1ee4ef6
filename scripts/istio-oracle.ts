/** Istio's own code and a real Envoy, as a tool that lies beside the project: found, built, and asked for random cases. */
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const BUILD_TIMEOUT_MS = 10 * 60_000; // 2 to 4 minutes the first time on two cores
const FUZZ_TIMEOUT_MS = 3 * 60_000; // about 10 seconds

/** Where the tool is looked for: ISTIO_REAL_DIR, else beside the checkout. */
export function oracleFolder(root: string): string {
  return resolve(root, process.env.ISTIO_REAL_DIR ?? '../shared/tools/istio-real');
}

/** Everything that is missing to run the tool, each with its name; empty when it can run. */
export function whatIsMissing(folder: string): string[] {
  const missing: string[] = [];
  if (process.platform !== 'linux') missing.push('Linux');
  if (!existsSync(join(folder, 'build.sh'))) {
    missing.push(`the tool (no build.sh in ${folder}; ISTIO_REAL_DIR names another folder)`);
  }
  if (!runs('go', ['version'])) missing.push('Go');
  if (!runs('python3', ['-c', 'import venv, ensurepip'])) missing.push('Python 3 with venv');
  if (!runs('ip', ['-V'])) missing.push('ip (iproute2)');
  if (!runs('unshare', [process.getuid?.() === 0 ? '-n' : '-Urn', 'true'])) {
    missing.push('a network namespace (unshare)');
  }
  return missing;
}

function runs(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore', timeout: 30_000 }).status === 0;
}

/** The tool, built: asks for cases. */
export interface Oracle {
  /** The folder for what is built and for what comes of a run. */
  readonly scratch: string;
  /**
   * Writes a folder of random manifests and requests with Istio's and Envoy's decisions: `Z/<n>-seed-<s>/cases.jsonl`
   * and `Z/checks/check.jsonl`.
   * @returns what the tool says in a line or two
   * @throws Error with the tool's last lines when it fails
   */
  readonly fuzz: (to: string, seed: number) => Promise<string>;
}

/**
 * Builds the tool once, into a scratch folder that later runs find again. A download that fails is tried again once.
 * @returns the builder's last lines when it cannot be built: what it wants to download cannot be had, or takes too long
 */
export function buildOracle(folder: string, say: (line: string) => void): Oracle | string {
  const scratch = join(tmpdir(), 'outrider-istio-real');
  mkdirSync(scratch, { recursive: true });
  forgetOtherBuild(folder, scratch);
  if (!existsSync(join(scratch, 'istio-real', 'venv'))) {
    say(`building Istio's code and fetching Envoy into ${scratch}, once; this takes some minutes`);
  }
  const build = () =>
    spawnSync('bash', [join(folder, 'build.sh')], {
      encoding: 'utf8',
      env: { ...process.env, SCRATCH: scratch },
      timeout: BUILD_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  let built = build();
  if (built.status !== 0 && built.error === undefined) built = build();
  if (built.status !== 0) return lastLines(built);
  const variables = Object.fromEntries(
    [...built.stdout.matchAll(/\b([A-Z_]+)='([^']*)'/g)].map(([, name, value]) => [name, value]),
  );
  const env = { ...process.env, ...variables, SCRATCH: scratch };
  return { scratch, fuzz: (to, seed) => fuzz(folder, env, to, seed) };
}

/** The builder keeps what it finds: what was built from other sources must go. */
function forgetOtherBuild(folder: string, scratch: string): void {
  const sources = readdirSync(folder).filter(name => /\.(?:go|mod|sum|sh)$/.test(name));
  const hash = createHash('sha256');
  for (const name of sources.sort()) hash.update(name).update(readFileSync(join(folder, name)));
  const digest = hash.digest('hex');
  const stamp = join(scratch, 'built-from');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  rmSync(join(scratch, 'istio-real'), { recursive: true, force: true });
  writeFileSync(stamp, digest);
}

function lastLines({ stderr, error }: SpawnSyncReturns<string>): string {
  return [error?.message, ...stderr.trim().split('\n').slice(-5)].filter(Boolean).join('\n  ');
}

async function fuzz(folder: string, env: NodeJS.ProcessEnv, to: string, seed: number): Promise<string> {
  const sizes = ['--folders', '20', '--cases', '50', '--checks', '300'];
  const args = [join(folder, 'fuzz.mjs'), '--out', to, '--seed', String(seed), ...sizes];
  const { code, stdout, stderr } = await runToEnd(process.execPath, args, {
    env,
    timeoutMs: FUZZ_TIMEOUT_MS,
  });
  if (code !== 0)
    throw new Error(`fuzz.mjs --seed ${seed} failed:\n${stderr.trim().split('\n').slice(-8).join('\n')}`);
  return stdout.trim();
}

export interface Ended {
  /** null = killed: it took too long. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a process until it ends or its time is over. */
export function runToEnd(
  command: string,
  args: readonly string[],
  { timeoutMs, env = process.env, cwd }: { timeoutMs: number; env?: NodeJS.ProcessEnv; cwd?: string },
): Promise<Ended> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, {
      env,
      ...(cwd && { cwd }),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', text => {
      stderr += text;
    });
    child.on('error', fail);
    child.on('close', code => done({ code, stdout, stderr }));
  });
}
