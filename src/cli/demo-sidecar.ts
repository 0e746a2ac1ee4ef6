/** One sidecar of the demo: the real `outrider run` as a process of its own, heard through its logs and admin port. */
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import type { AccessLogFields } from '../telemetry/access-log.ts';
import { Feed } from './demo-feed.ts';
import type { Processes } from './demo-process.ts';

/** A line of the sidecar's own log. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The `ready` line: `host:port` of every listener. */
export interface Addresses {
  readonly inbound: string;
  readonly outbound: string;
  readonly admin: string;
  readonly health: string;
  readonly telemetry: string;
  readonly id: string;
}

export interface SidecarPlan {
  readonly name: string;
  readonly configs: readonly string[];
  readonly certs: string;
  /** The app's port; null = this workload only calls others. */
  readonly appPort: number | null;
}

// A checkout runs TypeScript as it is; the bundle has its JavaScript beside it.
const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : './main.js', import.meta.url),
);
const LOOPBACK = '127.0.0.1:0';

export class DemoSidecar {
  readonly name: string;
  readonly accessLog = new Feed<AccessLogFields>();
  readonly log = new Feed<LogLine>();
  readonly appPort: number | null;
  #addresses: Addresses | null = null;

  constructor(plan: SidecarPlan) {
    this.name = plan.name;
    this.appPort = plan.appPort;
  }

  /** @throws Error before it is ready */
  get addresses(): Addresses {
    if (this.#addresses === null) throw new Error(`the sidecar of ${this.name} is not ready`);
    return this.#addresses;
  }

  /** Starts it; resolves when it is ready. @throws Error with its last words when it ends before */
  async start(plan: SidecarPlan, processes: Processes): Promise<void> {
    const ready = this.log.next(`ready line of ${plan.name}`, line => line.msg === 'ready');
    const spawned = processes.spawn({
      name: `the sidecar of ${plan.name}`,
      args: [MAIN, ...runLine(plan)],
      channel: false,
      onOutput: line => feed(this.accessLog, line),
      onError: line => feed(this.log, line),
    });
    const ended = spawned.ended.then(() => {
      throw new Error(`the sidecar of ${plan.name} does not start: ${spawned.lastWords.join(' ')}`);
    });
    ended.catch(() => {}); // its end after the start is somebody else's news
    this.#addresses = (await Promise.race([ready, ended])) as unknown as Addresses;
  }

  /** Asks the admin port; `body` makes it a POST. @returns the text of the answer */
  async ask(path: string, body?: string): Promise<string> {
    const answer = await request(`http://${this.addresses.admin}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      ...(body !== undefined && { body }),
    });
    return answer.body.text();
  }
}

function runLine({ name, configs, certs, appPort }: SidecarPlan): string[] {
  return [
    'run',
    ...configs.flatMap(path => ['--config', path]),
    ...['--certs', certs],
    ...(appPort === null ? [] : ['--app', `127.0.0.1:${appPort}`]),
    ...['inbound', 'outbound', 'admin', 'health', 'telemetry'].flatMap(flag => [`--${flag}`, LOOPBACK]),
    ...['--dev', '--workers', '1', '--drain-seconds', '1'],
    ...['--labels', `app=${name}`],
  ];
}

/** Lines that are no JSON are of no use to the demo; a process that fails shows them as its last words. */
function feed<T>(to: Feed<T>, line: string): void {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return;
  }
  to.push(value as T);
}
