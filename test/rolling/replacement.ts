/** Two replicas of a service behind a client's sidecar, replaced one after the other under load in every order. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Authority, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Exit, type Sidecar, startSidecar } from '../sidecar.ts';
import { type LoadOptions, RollingLoad } from './load.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

const APP = fileURLToPath(new URL('./app.ts', import.meta.url));
const HOSTS = { http1: 'shop.foo', http2: 'calls.foo' };
const SERVER = 'foo/shop';
const SERVER_ID = 'spiffe://cluster.local/ns/foo/sa/shop';
const STRICT = `kind: MeshConfig
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`;

/** When the client's sidecar learns that an endpoint is gone: before it is told to end, at that moment, after it ended. */
export const ORDERS = ['before', 'together', 'after'] as const;
export type Order = (typeof ORDERS)[number];

/**
 * How a replica ends. `signal`: SIGTERM to the sidecar, and the app when that is gone. `command`: SIGTERM to `run -- APP`,
 * where the app dies of the signal. `native`: as in a pod with a native sidecar: `/drain` by the preStop hook of the
 * sidecar, SIGTERM to the app when its own preStop hook has let the drain go by, and to the sidecar when the app is gone.
 */
export const ENDINGS = ['signal', 'command', 'native'] as const;
export type Ending = (typeof ENDINGS)[number];

export interface RollingOptions extends Pick<LoadOptions, 'perSecond' | 'slowestMs' | 'slowEvery'> {
  /** Both replicas are replaced once for each. */
  readonly rounds: readonly (readonly [Order, Ending])[];
  /** Of the replicas' sidecars, s. */
  readonly drainSeconds: number;
  readonly onReplaced?: (line: string) => void;
}

export interface RollingReport {
  readonly requests: number;
  readonly failures: number;
  /** In words, the first of them. */
  readonly told: readonly string[];
  readonly seconds: number;
  /** What requests took beyond what the app let them wait, ms. */
  readonly took: { readonly median: number; readonly p99: number; readonly most: number };
  /** The slowest, in words. */
  readonly slowest: string;
  readonly replacements: number;
  /** Attempts of the client's sidecar that found no connection, and were made elsewhere. */
  readonly refused: number;
  /** The longest from the first signal to the end of a sidecar, ms. */
  readonly longestEndMs: number;
  /** How the replicas' sidecars ended. */
  readonly exits: readonly Exit[];
}

export async function rollingReplacement(t: Teardown, options: RollingOptions): Promise<RollingReport> {
  const { rounds, onReplaced, ...how } = options;
  const world = await World.start(t, { ...how, ending: rounds[0]?.[1] ?? 'signal' });
  const load = await RollingLoad.start(t, { ...how, port: world.client.ports.outbound, hosts: HOSTS });
  for (const [number, [order, ending]] of rounds.entries()) {
    const then = rounds[number + 1]?.[1] ?? 'signal';
    for (const at of [0, 1]) {
      // A new port, and the new one before the old one goes, as a Deployment has it; then the old port, as a StatefulSet.
      await world.replace(at, { order, then, moves: at === 0 });
      onReplaced?.(`${order}, ${ending}: ${load.requests} requests, ${load.failures} failed`);
    }
  }
  const seconds = await load.end();
  const { requests, failures, told, slowest } = load;
  const took = { median: load.quantile(0.5), p99: load.quantile(0.99), most: load.quantile(1) };
  const { exits, longestEndMs } = world;
  const refused = await world.refused();
  return {
    requests,
    failures,
    told,
    seconds,
    took,
    slowest,
    replacements: exits.length,
    refused,
    longestEndMs,
    exits,
  };
}

/** A sidecar and its app. */
class Replica {
  readonly sidecar: Sidecar;
  readonly ending: Ending;
  /** Null where the sidecar started it. */
  readonly #app: AppProcess | null;

  constructor(sidecar: Sidecar, ending: Ending, app: AppProcess | null) {
    this.sidecar = sidecar;
    this.ending = ending;
    this.#app = app;
  }

  get port(): number {
    return this.sidecar.ports.inbound;
  }

  async end(): Promise<Exit> {
    if (this.ending === 'native') {
      await this.sidecar.get('admin', '/drain', { method: 'POST' });
      while ((await this.sidecar.metric('outrider_connections_open', { direction: 'inbound' })) > 0);
      await this.#app?.end();
      return this.sidecar.stop();
    }
    const exit = await this.sidecar.stop();
    await this.#app?.end();
    return exit;
  }
}

class World {
  readonly client: Sidecar;
  readonly exits: Exit[] = [];
  longestEndMs = 0;
  readonly #t: Teardown;
  readonly #certs: string;
  readonly #drainSeconds: number;
  #replicas: Replica[] = [];
  /** Ports that the client's sidecar knows. */
  #known: number[] = [];

  private constructor(t: Teardown, client: Sidecar, certs: string, drainSeconds: number) {
    this.#t = t;
    this.client = client;
    this.#certs = certs;
    this.#drainSeconds = drainSeconds;
  }

  static async start(
    t: Teardown,
    { drainSeconds, ending }: { readonly drainSeconds: number; readonly ending: Ending },
  ): Promise<World> {
    const authority: Authority = await testAuthority();
    const certs = temporaryIdentity(t, await testIdentity(authority, SERVER));
    const client = await startSidecar(t, {
      certs: temporaryIdentity(t, await testIdentity(authority, 'foo/web')),
      manifests: 'kind: MeshConfig',
      flags: ['--access-log', 'off'],
    });
    const world = new World(t, client, certs, drainSeconds);
    for (const _ of [0, 1]) world.#replicas.push(await world.#replica(ending, 0));
    await world.#know(world.#replicas.map(replica => replica.port));
    return world;
  }

  /** @param port of its sidecar; 0 = any */
  async #replica(ending: Ending, port: number): Promise<Replica> {
    const command = ending === 'command';
    const app = command ? null : await startAppProcess(this.#t, ending === 'native');
    const appPort = app?.port ?? (await deadPort());
    const sidecar = await startSidecar(this.#t, {
      certs: this.#certs,
      manifests: STRICT,
      app: appPort,
      flags: [
        ...['--inbound', `127.0.0.1:${port}`, '--access-log', 'off'],
        ...['--drain-seconds', String(this.#drainSeconds)],
      ],
      ...(command && { command: [process.execPath, APP, String(appPort)] }),
    });
    if (command) await sidecar.other.take(line => line === String(appPort)); // it listens
    return new Replica(sidecar, ending, app);
  }

  /** @param how `then`: the ending of the one that comes; `moves`: to another port, before the old one ends */
  async replace(
    at: number,
    { order, then, moves }: { readonly order: Order; readonly then: Ending; readonly moves: boolean },
  ): Promise<void> {
    const old = this.#replicas[at] as Replica;
    const others = this.#known.filter(port => port !== old.port);
    const early = moves ? await this.#replica(then, 0) : null;
    if (early !== null) await this.#know([...this.#known, early.port]);
    await this.#end(old, order, early === null ? others : [...others, early.port]);
    const replica = early ?? (await this.#replica(then, old.port));
    this.#replicas[at] = replica;
    if (early === null) await this.#know([...others, replica.port]);
  }

  async #end(old: Replica, order: Order, stay: readonly number[]): Promise<void> {
    if (order === 'before') await this.#know(stay);
    const began = performance.now();
    const ended = old.end();
    if (order === 'together') await this.#know(stay);
    this.exits.push(await ended);
    this.longestEndMs = Math.max(this.longestEndMs, performance.now() - began);
    if (order === 'after') await this.#know(stay);
  }

  async #know(endpoints: readonly number[]): Promise<void> {
    this.#known = [...endpoints];
    const at = { endpoints, policy: mutual(SERVER_ID) };
    await this.client.configure(`kind: MeshConfig
${service({ ...at, host: HOSTS.http1, protocol: 'HTTP' })}
${service({ ...at, host: HOSTS.http2, protocol: 'GRPC' })}`);
  }

  async refused(): Promise<number> {
    const all = await this.client.metric('outrider_upstream_connects_total', { direction: 'outbound' });
    const labels = { direction: 'outbound', result: 'success' };
    return all - (await this.client.metric('outrider_upstream_connects_total', labels));
  }
}

interface AppProcess {
  readonly port: number;
  /** SIGTERM, and waits for the end. */
  end(): Promise<void>;
}

async function startAppProcess(t: Teardown, graceful: boolean): Promise<AppProcess> {
  const child = spawn(process.execPath, [APP, '0', graceful ? 'graceful' : 'plain'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  return {
    port: Number(line),
    end: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}
