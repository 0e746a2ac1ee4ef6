/** Rotations in a row in every hostile way under load, and what is counted of it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { type IdentityPems, temporaryFolder, testAuthority, testIdentity } from './certificates.ts';
import { HOSTILE_WRITERS, type IdentityWriter } from './identity-writers.ts';
import { deadPort, startApp, startTcpApp, startTlsPeer } from './peers.ts';
import { mutual, service } from './proxy/services.ts';
import { RotationLoad, SerialsInForce } from './rotation-load.ts';
import { type Sidecar, startSidecar } from './sidecar.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

export interface TortureOptions {
  readonly rotations: number;
  /** Told after each rotation. */
  readonly onRotation?: (done: number, memory: readonly number[]) => void;
}

export interface TortureReport {
  readonly rotations: number;
  readonly requests: number;
  readonly handshakes: number;
  readonly resumed: number;
  /** Different certificates that new connections saw. */
  readonly seen: number;
  readonly failed: readonly string[];
  readonly wrong: readonly string[];
  /** States of the folder that were refused, by reason; both sidecars together. */
  readonly refused: Readonly<Record<string, number>>;
  /** Threads that died. */
  readonly restarts: number;
  /** Growth of resident memory, MiB; one a sidecar, null when there were too few rotations to say. */
  readonly growth: readonly (number | null)[];
  readonly milliseconds: number;
}

const IDENTITY = 'foo/httpbin';
const ID = `spiffe://cluster.local/ns/foo/sa/httpbin`;
const BETWEEN = 3; // identities that a writer may put in force on the way
const WARM_UP = 0.3; // of the rotations: code is compiled and caches fill until then
const WINDOW = 0.1; // of the rotations: the median of a window stands for it, whatever moment of the collector it met
const FEWEST_FOR_GROWTH = 200;

/** @throws Error when a rotation does not come into force, or a sidecar ends */
export async function torture(t: Teardown, options: TortureOptions): Promise<TortureReport> {
  const began = performance.now();
  const authority = await testAuthority();
  const spare = await testAuthority({ name: 'another root of the bundle' });
  const bundles = [authority.rootPem, authority.rootPem + spare.rootPem];
  const issue = async (at: number): Promise<IdentityPems> => ({
    ...(await testIdentity(authority, IDENTITY)),
    rootPem: bundles[at % 2] ?? authority.rootPem,
  });
  const serials = new SerialsInForce();
  const dir = join(temporaryFolder(t), 'certs');
  const first = await issue(0);
  HOSTILE_WRITERS[0]?.[1](dir, first);
  serials.written(first);
  const client = await testIdentity(authority, 'foo/sleep');
  const world = await startWorld(t, dir, client);
  const load = new RotationLoad({ serials, client, ...world.targets });
  t.teardown(() => load.end());
  const memory: number[][] = world.sidecars.map(() => []);
  for (let done = 0; done < options.rotations; done++) {
    const [name, write] = HOSTILE_WRITERS[done % HOSTILE_WRITERS.length] as (typeof HOSTILE_WRITERS)[number];
    const between = await Promise.all(Array.from({ length: BETWEEN }, () => issue(done)));
    await rotate({ world, serials, dir, write, pems: await issue(done), between });
    const serial = await load.newInbound();
    if (!serials.handshake()(serial)) load.wrong.push(`${serial} right after ${name}`);
    for (const [at, sidecar] of world.sidecars.entries()) memory[at]?.push(residentMiB(sidecar.pid));
    options.onRotation?.(
      done + 1,
      memory.map(samples => samples.at(-1) ?? 0),
    );
  }
  await load.end();
  return {
    rotations: options.rotations,
    requests: load.requests,
    handshakes: load.handshakes,
    resumed: load.resumed,
    seen: load.seen.size,
    failed: load.failed,
    wrong: load.wrong,
    refused: await refusals(world.sidecars),
    restarts: await sum(world.sidecars, 'outrider_worker_restarts_total'),
    growth: memory.map(growthOf),
    milliseconds: Math.round(performance.now() - began),
  };
}

export interface Rotation {
  readonly world: World;
  readonly serials: SerialsInForce;
  readonly dir: string;
  readonly write: IdentityWriter;
  readonly pems: IdentityPems;
  /** Identities that may come into force on the way. */
  readonly between?: readonly IdentityPems[];
}

/** Writes one identity and waits until every thread of every sidecar has it. */
export async function rotate({ world, serials, dir, write, pems, between = [] }: Rotation): Promise<void> {
  for (const one of between) serials.written(one);
  const serial = serials.written(pems);
  await write(dir, pems, between);
  for (const sidecar of world.sidecars) {
    await sidecar.log.take(line => line.msg === 'certificates replaced' && line.serial === serial);
    await handledByAll(sidecar);
  }
  serials.settled();
}

/**
 * Every worker has handled what was sent before. Asked on a small page: half a megabyte of metrics a rotation, which
 * nobody scrapes twice a second, would hide what rotations do to memory.
 */
async function handledByAll(sidecar: Sidecar): Promise<void> {
  const { status } = await sidecar.get('admin', '/connections');
  if (status !== 200) throw new Error(`/connections answers ${status}`);
}

export interface World {
  readonly sidecars: readonly Sidecar[];
  readonly targets: {
    readonly httpInbound: number;
    readonly tcpInbound: number;
    readonly outbound: number;
    readonly hosts: { readonly http: string; readonly witness: string; readonly echo: string };
  };
}

/** Two sidecars on one folder: HTTP behind the one, TCP behind the other; and a peer that tells what it was shown. */
export async function startWorld(t: Teardown, certs: string, witnessIdentity: IdentityPems): Promise<World> {
  const app = await startApp(t, (_received, response) => response.end('ok'));
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const witness = await startTlsPeer(t, witnessIdentity, answerWithSerial);
  const [httpInbound, tcpInbound] = await Promise.all([deadPort(), deadPort()]);
  const manifests = [
    'kind: MeshConfig',
    service({ host: 'http.foo', endpoints: [httpInbound], policy: mutual(ID) }),
    service({
      host: 'witness.foo',
      endpoints: [witness.port],
      policy: mutual('spiffe://cluster.local/ns/foo/sa/sleep'),
    }),
    service({ host: 'echo.foo', endpoints: [tcpInbound], port: 9000, protocol: 'TCP', policy: mutual(ID) }),
  ].join('');
  const quiet = ['--access-log', 'off'];
  const http = await startSidecar(t, {
    certs,
    app: app.port,
    manifests,
    flags: ['--inbound', `127.0.0.1:${httpInbound}`, '--workers', '2', ...quiet],
  });
  const tcp = await startSidecar(t, {
    certs,
    app: echo.port,
    flags: ['--inbound', `127.0.0.1:${tcpInbound}`, '--protocol', `${echo.port}=tcp`, ...quiet],
  });
  const hosts = { http: 'http.foo', witness: 'witness.foo', echo: 'echo.foo:9000' };
  return {
    sidecars: [http, tcp],
    targets: { httpInbound, tcpInbound, outbound: http.ports.outbound, hosts },
  };
}

/** One request a connection, so that the next one shows its certificate again. */
function answerWithSerial(socket: TLSSocket): void {
  socket.once('data', () => {
    const serial = socket.getPeerX509Certificate()?.serialNumber ?? 'none';
    socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${serial.length}\r\nconnection: close\r\n\r\n${serial}`);
  });
}

/** VmRSS of a process, MiB. */
function residentMiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) / 1024;
}

/** From the window after the warm-up to the last one. */
function growthOf(samples: readonly number[]): number | null {
  if (samples.length < FEWEST_FOR_GROWTH) return null;
  const window = Math.floor(samples.length * WINDOW);
  const start = Math.floor(samples.length * WARM_UP);
  return median(samples.slice(-window)) - median(samples.slice(start, start + window));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

async function refusals(sidecars: readonly Sidecar[]): Promise<Record<string, number>> {
  const refused: Record<string, number> = {};
  for (const sidecar of sidecars) {
    for (const { msg, reason } of sidecar.log.all) {
      if (msg !== 'certificates refused, the last good ones stay in force') continue;
      refused[String(reason)] = (refused[String(reason)] ?? 0) + 1;
    }
  }
  return refused;
}

async function sum(sidecars: readonly Sidecar[], name: string): Promise<number> {
  const values = await Promise.all(sidecars.map(sidecar => sidecar.metric(name)));
  return values.reduce((total, value) => total + value, 0);
}
