/** Two hosts on one wire, as network namespaces of this machine: programs run in them, and the wire can be listened to. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
export const OUTRIDER_COMMAND = [process.execPath, MAIN];
const PATIENCE_MS = 20_000;
/** The sidecar's user and group; the app's is anybody else's. */
export const OUTRIDER = 1337;
const NOBODY = 65_534;

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly uid?: number;
  readonly input?: string;
}

/** Why namespaces cannot be made here; null when they can. */
export function missingForHosts(...tools: readonly string[]): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  for (const tool of ['ip', 'setpriv', ...tools]) if (!isInstalled(tool)) return `${tool} is not installed`;
  const name = `outrider-probe-${process.pid}`;
  try {
    execFileSync('ip', ['netns', 'add', name], { stdio: 'pipe' });
    execFileSync('ip', ['netns', 'del', name], { stdio: 'pipe' });
    removeLeftovers();
    return null;
  } catch (error) {
    return `network namespaces cannot be made: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`;
  }
}

/** Of runs that were killed before they could clean up. */
function removeLeftovers(): void {
  for (const line of execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).split('\n')) {
    const [, name, pid] = /^(outrider-[cs]-(\d+)-\d+)(?: |$)/.exec(line) ?? [];
    if (name !== undefined && !existsSync(`/proc/${pid}`)) execFileSync('ip', ['netns', 'del', name]);
  }
}

function isInstalled(tool: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$1"', 'sh', tool], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export class Host {
  readonly name: string;
  readonly four: string;
  readonly six: string;
  readonly #children = new Set<ChildProcess>();

  constructor(name: string, four: string, six: string) {
    this.name = name;
    this.four = four;
    this.six = six;
  }

  /** What starts a program here, as this user; without root's powers but those that are named. */
  launcher(uid: number, ...capabilities: readonly string[]): readonly string[] {
    const kept = capabilities.map(name => `+${name}`).join();
    const powers = kept === '' ? [] : [`--inh-caps=${kept}`, `--ambient-caps=${kept}`];
    const user = ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...powers];
    return ['ip', 'netns', 'exec', this.name, ...(uid === 0 ? [] : user)];
  }

  /** Runs a program to its end. */
  run(command: readonly string[], { uid = 0, input = '' }: RunOptions = {}): Promise<Outcome> {
    const [program = '', ...args] = [...this.launcher(uid), ...command];
    return new Promise(resolve => {
      const child = execFile(program, args, { timeout: PATIENCE_MS }, (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code ?? -1);
        resolve({ code, stdout, stderr });
      });
      child.stdin?.on('error', () => {});
      child.stdin?.end(input);
    });
  }

  /** Runs one that must succeed; @returns its standard output. */
  async must(...command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command);
    if (code !== 0) throw new Error(`${command.join(' ')}: ${code} ${stderr}`);
    return stdout;
  }

  /** What the app's own client does. */
  curl(...args: readonly string[]): Promise<Outcome> {
    return this.run(['curl', '-sS', '-m', '15', ...args], { uid: NOBODY });
  }

  outrider(...args: readonly string[]): Promise<Outcome> {
    return this.run([...OUTRIDER_COMMAND, ...args]);
  }

  /** Starts one that stays until the hosts go; resolves when it says that it is there. */
  async start(command: readonly string[], isThere: RegExp): Promise<ChildProcess> {
    const [program = '', ...args] = [...this.launcher(0), ...command];
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.add(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${command[0]} says only: ${said}`)), PATIENCE_MS);
      const hear = (chunk: Buffer): void => {
        said += chunk;
        if (!isThere.test(said)) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
      child.once('exit', code => reject(new Error(`${command[0]} ended with ${code}: ${said}`)));
    });
    return child;
  }

  async stop(child: ChildProcess): Promise<void> {
    this.#children.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await once(child, 'exit');
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#children].map(child => this.stop(child)));
  }
}

export interface Hosts {
  readonly client: Host;
  readonly server: Host;
  /** Listens to the wire; @returns what stops it and gives all packets that passed. */
  listen(): Promise<() => Promise<Buffer>>;
}

let made = 0;

/** They are gone when the test ends. */
export async function startHosts(t: Test, folder: string): Promise<Hosts> {
  const mark = `${process.pid}-${++made}`;
  const client = new Host(`outrider-c-${mark}`, '10.99.0.1', 'fd00:99::1');
  const server = new Host(`outrider-s-${mark}`, '10.99.0.2', 'fd00:99::2');
  t.teardown(async () => {
    for (const host of [client, server]) {
      await host.close();
      execFileSync('ip', ['netns', 'del', host.name]);
    }
  });
  for (const host of [client, server]) execFileSync('ip', ['netns', 'add', host.name]);
  await client.must(
    'ip',
    'link',
    'add',
    'wire',
    'type',
    'veth',
    'peer',
    'name',
    'wire',
    'netns',
    server.name,
  );
  for (const { four, six, ...host } of [client, server].map(host => ({
    four: host.four,
    six: host.six,
    must: host.must.bind(host),
  }))) {
    await host.must('ip', 'link', 'set', 'lo', 'up');
    await host.must('ip', 'addr', 'add', `${four}/24`, 'dev', 'wire');
    await host.must('ip', 'addr', 'add', `${six}/64`, 'dev', 'wire', 'nodad');
    await host.must('ip', 'link', 'set', 'wire', 'up');
  }
  // Services have addresses that nobody answers for: without a route nothing would even begin.
  await client.must('ip', 'route', 'add', 'default', 'via', server.four);
  await client.must('ip', '-6', 'route', 'add', 'default', 'via', server.six);
  return { client, server, listen: () => listen(client, `${folder}/wire.pcap`) };
}

async function listen(host: Host, file: string): Promise<() => Promise<Buffer>> {
  const tcpdump = [
    'tcpdump',
    '-i',
    'wire',
    '-s',
    '0',
    '-U',
    '--immediate-mode',
    '-Z',
    'root',
    '-w',
    file,
    'tcp',
  ];
  const child = await host.start(tcpdump, /listening on/);
  return async () => {
    await host.stop(child);
    return readFileSync(file);
  };
}
