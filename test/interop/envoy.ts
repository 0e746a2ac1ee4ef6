/** A real Envoy for tests: one worker, ports of its own choice, its access log as lines that can be waited for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Lines } from '../sidecar.ts';
import { installedEnvoy } from './install-envoy.ts';
import type { Stage } from './stage.ts';

export type Json = Readonly<Record<string, unknown>>;

const READY_MS = 30_000;
const SHOWN_LINES = 30;
const FLUSH_MS = '10'; // of the access log; Envoy's own is 10 s

/** What Envoy says of a finished request or connection; null or '-' where there is nothing. */
export interface EnvoyAccess {
  readonly path: string | null;
  readonly protocol: string | null;
  readonly upstream_protocol: string | null;
  readonly status: number;
  readonly flags: string;
  readonly details: string | null;
  readonly chain: string | null;
  readonly sni: string | null;
  readonly client: string | null;
  readonly server: string | null;
  readonly client_refused: string | null;
  readonly server_refused: string | null;
  readonly received: number;
}

const ACCESS_FORMAT: Readonly<Record<keyof EnvoyAccess, string>> = {
  path: '%REQ(:PATH)%',
  protocol: '%PROTOCOL%',
  upstream_protocol: '%UPSTREAM_PROTOCOL%',
  status: '%RESPONSE_CODE%',
  flags: '%RESPONSE_FLAGS%',
  details: '%RESPONSE_CODE_DETAILS%',
  chain: '%FILTER_CHAIN_NAME%',
  sni: '%REQUESTED_SERVER_NAME%',
  client: '%DOWNSTREAM_PEER_URI_SAN%',
  server: '%UPSTREAM_PEER_URI_SAN%',
  client_refused: '%DOWNSTREAM_TRANSPORT_FAILURE_REASON%',
  server_refused: '%UPSTREAM_TRANSPORT_FAILURE_REASON%',
  received: '%BYTES_RECEIVED%',
};

/** The access log of a listener or of one of its filters. */
export const ACCESS_LOG: Json = {
  name: 'envoy.access_loggers.stdout',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog',
    log_format: { json_format: ACCESS_FORMAT },
  },
};

export class Envoy {
  readonly access = new Lines<EnvoyAccess>();
  readonly #log = new Lines<string>();
  readonly #child: ChildProcess;
  #ports: ReadonlyMap<string, number> = new Map();

  constructor(stage: Stage, command: string, bootstrap: Json) {
    const folder = mkdtempSync(join(tmpdir(), 'outrider-envoy-'));
    const file = join(folder, 'envoy.json');
    writeFileSync(file, JSON.stringify(bootstrap, null, 2));
    const args = ['-c', file, '--concurrency', '1', '--use-dynamic-base-id', '-l', 'info'];
    this.#child = spawn(command, [...args, '--file-flush-interval-msec', FLUSH_MS], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH },
    });
    const ended = new Promise(resolve => this.#child.once('close', resolve));
    this.#child.once('close', (code, signal) => {
      for (const lines of [this.access, this.#log]) lines.end(`Envoy ended with ${signal ?? code}`);
    });
    eachLine(this.#child.stdout, line => {
      if (line.startsWith('{')) this.access.push(JSON.parse(line));
    });
    eachLine(this.#child.stderr, line => this.#log.push(line));
    stage.teardown(async () => {
      this.#child.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    });
    stage.show('Envoy', () =>
      [...this.#log.all.filter(isTelling), ...this.access.all.map(line => JSON.stringify(line))]
        .slice(-SHOWN_LINES)
        .join('\n'),
    );
  }

  /** Waits until it listens. Its main thread opens the listeners before it answers the question that comes after. */
  async ready(): Promise<void> {
    const admin = await this.#log.take(line => line.includes('admin address: '));
    const at = /admin address: (\S+)/.exec(admin)?.[1];
    await this.#log.take(line => line.includes('starting workers'));
    const answer = await fetch(`http://${at}/listeners?format=json`, {
      signal: AbortSignal.timeout(READY_MS),
    });
    const { listener_statuses: all } = (await answer.json()) as { listener_statuses: ListenerStatus[] };
    this.#ports = new Map(all.map(one => [one.name, one.local_address.socket_address.port_value]));
  }

  /** The port of a listener. */
  port(listener: string): number {
    const port = this.#ports.get(listener);
    if (port === undefined) throw new Error(`Envoy has no listener ${listener}`);
    return port;
  }
}

interface ListenerStatus {
  readonly name: string;
  readonly local_address: { readonly socket_address: { readonly port_value: number } };
}

/** Starts one and waits until it listens; it is killed when the stage is left. */
export async function startEnvoy(
  stage: Stage,
  { listeners, clusters }: { listeners: readonly Json[]; clusters: readonly Json[] },
): Promise<Envoy> {
  const program = installedEnvoy();
  if (program === null) throw new Error('Envoy is not installed');
  const envoy = new Envoy(stage, program.command, {
    admin: { address: address(0) },
    static_resources: { listeners, clusters },
  });
  await envoy.ready();
  return envoy;
}

export function address(port: number): Json {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}

/** Its start is not of interest. */
function isTelling(line: string): boolean {
  return !/\]\[info\]\[(?:main|config|upstream|runtime|init)\]|^ {2}\S+: /.test(line);
}

function eachLine(stream: Readable | null, take: (line: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
}
