/** A real sidecar for tests: `outrider run` as a child process, port 0 everywhere, its lines gathered and waited for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { ListenFd } from '../src/config/listen-fds.ts';
import type { AccessLogFields } from '../src/telemetry/access-log.ts';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
/** Longer than anything takes on a busy machine, shorter than the runner's patience: a failure names its line. */
const PATIENCE_MS = 60_000;
const FREE_PORTS = ['inbound', 'outbound', 'admin', 'health', 'telemetry'] as const;

type Teardown = { teardown(fn: () => unknown): unknown };
type LogLine = Record<string, unknown> & { readonly msg: string };
type Ports = Readonly<Record<(typeof FREE_PORTS)[number], number>>;

export interface SidecarOptions {
  /** The identity folder; none when flags or the environment say where the identity comes from. */
  readonly certs?: string;
  /** The app's port. */
  readonly app?: number;
  /** Manifests, YAML; written to a folder that is watched. */
  readonly manifests?: string;
  readonly flags?: readonly string[];
  /** `-- CMD ARG…` */
  readonly command?: readonly string[];
  /** A program that starts Node, with its arguments: `ip netns exec`, `setpriv`. */
  readonly launcher?: readonly string[];
  /** Listening sockets that it is started with, as by systemd: descriptors of this process. */
  readonly listenFds?: readonly ListenFd[];
  /** Flags of Node itself. */
  readonly nodeFlags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Lines as they come; `take` waits for one, and each can be taken once. */
export class Lines<T> {
  readonly all: T[] = [];
  #left: T[] = [];
  #wake = new Set<() => void>();
  #ended: string | null = null;

  push(line: T): void {
    this.all.push(line);
    this.#left.push(line);
    for (const wake of this.#wake) wake();
  }

  end(why: string): void {
    this.#ended = why;
    for (const wake of this.#wake) wake();
  }

  take(match: (line: T) => boolean): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.#wake.delete(look);
        settle();
      };
      const seen = (): string =>
        this.all
          .slice(-12)
          .map(line => JSON.stringify(line).slice(0, 400))
          .join('\n');
      const look = (): void => {
        const at = this.#left.findIndex(match);
        const found = this.#left[at];
        if (found !== undefined) {
          this.#left.splice(at, 1);
          finish(() => resolve(found));
        } else if (this.#ended !== null) {
          const why = this.#ended;
          finish(() => reject(new Error(`${why} before the line ${match} came\n${seen()}`)));
        }
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`no line ${match} came\n${seen()}`))),
        PATIENCE_MS,
      );
      this.#wake.add(look);
      look();
    });
  }
}

export class Sidecar {
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  /** The finished requests and connections. */
  readonly access = new Lines<AccessLogFields>();
  /** Outrider's own log, the `ready` line too. */
  readonly log = new Lines<LogLine>();
  /** Everything else on standard output and standard error: the app's, or a crash. */
  readonly other = new Lines<string>();
  /** Resolves with the ports when it is ready. */
  readonly ready: Promise<Ports>;
  readonly manifests: string | null;
  #ports: Ports | null = null;

  constructor(t: Teardown, options: SidecarOptions) {
    this.manifests = options.manifests === undefined ? null : writeManifests(t, options.manifests);
    const { listenFds = [] } = options;
    const [program = process.execPath, ...launch] = [
      ...(options.launcher ?? []),
      ...(listenFds.length > 0 ? ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'] : []),
      process.execPath,
    ];
    this.child = spawn(
      program,
      [...launch, ...(options.nodeFlags ?? []), MAIN, ...argsOf(options, this.manifests)],
      {
        stdio: ['ignore', 'pipe', 'pipe', ...listenFds.map(({ descriptor }) => descriptor)],
        env: {
          PATH: process.env.PATH,
          ...(listenFds.length > 0 && {
            LISTEN_FDS: String(listenFds.length),
            LISTEN_FDNAMES: listenFds.map(({ name }) => name).join(':'),
          }),
          ...options.environment,
        },
      },
    );
    this.exited = new Promise(resolve => {
      this.child.once('close', (code, signal) => {
        const why = `the sidecar ended with ${signal ?? code}`;
        for (const lines of [this.access, this.log, this.other]) lines.end(why);
        resolve({ code, signal });
      });
    });
    this.#gather(this.child.stdout as Readable, line => this.access.push(line as AccessLogFields));
    this.#gather(this.child.stderr as Readable, line => this.log.push(line as LogLine));
    this.ready = this.log.take(line => line.msg === 'ready').then(line => this.#readPorts(line));
    this.ready.catch(() => {}); // a sidecar that is meant not to start
    t.teardown(async () => {
      this.child.kill('SIGKILL');
      await this.exited;
    });
  }

  /** Not by readline: it may hand over the last lines after the process is gone. */
  #gather(stream: Readable, push: (line: unknown) => void): void {
    let rest = '';
    stream.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#sort(line, push);
    });
  }

  #sort(text: string, push: (line: unknown) => void): void {
    try {
      const line: unknown = JSON.parse(text);
      if (typeof line !== 'object' || line === null) throw new Error('not a line of Outrider');
      push(line);
    } catch {
      this.other.push(text);
    }
  }

  #readPorts(line: LogLine): Ports {
    const ports = FREE_PORTS.map(name => [name, Number(/:(\d+)$/.exec(String(line[name]))?.[1])]);
    this.#ports = Object.fromEntries(ports) as Ports;
    return this.#ports;
  }

  get ports(): Ports {
    if (this.#ports === null) throw new Error('the sidecar is not ready');
    return this.#ports;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Answers of the admin, health and telemetry ports. */
  async get(port: 'admin' | 'health' | 'telemetry', path: string, init: RequestInit = {}) {
    const response = await fetch(`http://127.0.0.1:${this.ports[port]}${path}`, init);
    return { status: response.status, body: await response.text() };
  }

  /** The sum of all series of a metric that have these labels. Asks every worker: what was sent to them before is done. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    const { body } = await this.get('telemetry', '/stats/prometheus');
    let sum = 0;
    for (const line of body.split('\n')) {
      const [, series, text = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (series !== name) continue;
      const has = ([label, wanted]: [string, string]): boolean =>
        `,${text}`.includes(`,${label}=${JSON.stringify(wanted)}`);
      if (Object.entries(labels).every(has)) sum += Number(value);
    }
    return sum;
  }

  /** Replaces the manifests and waits until every worker decides by them. */
  async configure(manifests: string): Promise<void> {
    this.writeManifests(manifests);
    await this.log.take(line => line.msg === 'configuration replaced');
    await this.metric('outrider_workers');
  }

  writeManifests(manifests: string): void {
    if (this.manifests === null) throw new Error('the sidecar was started without manifests');
    writeFileSync(join(this.manifests, 'manifests.yaml'), manifests);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** SIGTERM, and waits for the end. */
  stop(): Promise<Exit> {
    this.child.kill('SIGTERM');
    return this.exited;
  }
}

/** Starts a sidecar and waits until it is ready; it is killed when the test ends. */
export async function startSidecar(t: Teardown, options: SidecarOptions): Promise<Sidecar> {
  const sidecar = new Sidecar(t, options);
  await sidecar.ready;
  return sidecar;
}

/** Starts one that may not become ready. */
export function spawnSidecar(t: Teardown, options: SidecarOptions): Sidecar {
  return new Sidecar(t, options);
}

function argsOf(options: SidecarOptions, manifests: string | null): string[] {
  const { certs, app, flags = [], command } = options;
  const args = ['run'];
  if (certs !== undefined) args.push('--certs', certs);
  for (const name of FREE_PORTS) if (!flags.includes(`--${name}`)) args.push(`--${name}`, '127.0.0.1:0');
  if (!flags.includes('--workers')) args.push('--workers', '1');
  if (app !== undefined) args.push('--app', String(app));
  if (manifests !== null) args.push('--config', manifests);
  args.push(...flags);
  return command === undefined ? args : [...args, '--', ...command];
}

function writeManifests(t: Teardown, manifests: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'outrider-manifests-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'manifests.yaml'), manifests);
  return dir;
}
