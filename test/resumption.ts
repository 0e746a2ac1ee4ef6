/** A sidecar as a server and as a client of resumed sessions, and a clock that a test sets. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { type IdentityPems, temporaryFolder, temporaryIdentity } from './certificates.ts';
import { dialTls, get, startApp, startTlsPeer, type TlsPeer, wirePlain } from './peers.ts';
import { service } from './proxy/services.ts';
import { type Sidecar, startSidecar } from './sidecar.ts';

export const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
export type Version = (typeof VERSIONS)[number];

type Teardown = { teardown(fn: () => unknown): unknown };

/** What became of one connection. */
export interface Attempt {
  /** The answer's status, or `refused`: closed before one came. */
  readonly outcome: number | 'refused';
  readonly resumed: boolean;
  /** The last session that the client was given. */
  readonly session: Buffer | undefined;
}

/** In every thread Date.now is as much later as a file says: handshakes read it, OpenSSL does not. */
const CLOCK = `
import { readFileSync } from 'node:fs';
const now = Date.now;
Date.now = () => now() + Number(readFileSync(process.env.TEST_CLOCK, 'utf8'));
`;

export interface World {
  readonly sidecar: Sidecar;
  /** The folder of its certificates. */
  readonly certs: string;
  /** Moves its clock to so many milliseconds from the real time. */
  later(ms: number): void;
}

export interface Start {
  readonly pems: IdentityPems;
  readonly manifests?: string;
  readonly workers?: number;
}

export async function startWorld(t: Teardown, { pems, manifests = '', workers = 1 }: Start): Promise<World> {
  const clock = join(temporaryFolder(t), 'clock');
  const later = (ms: number): void => writeFileSync(clock, String(ms));
  later(0);
  const certs = temporaryIdentity(t, pems);
  const sidecar = await startSidecar(t, {
    certs,
    app: (await startApp(t)).port,
    manifests: `kind: MeshConfig\n${manifests}`,
    flags: ['--workers', String(workers)],
    nodeFlags: ['--import', `data:text/javascript,${encodeURIComponent(CLOCK)}`],
    environment: { TEST_CLOCK: clock },
  });
  return { sidecar, certs, later };
}

/** Waits until every worker has the certificates and lists that were just written. */
export async function rotated({ sidecar }: World): Promise<void> {
  await sidecar.log.take(line => line.msg === 'certificates replaced');
  await sidecar.metric('outrider_workers');
}

export interface Call {
  readonly pems: IdentityPems | null;
  readonly version: Version;
  readonly session?: Buffer | undefined;
  readonly servername?: string;
}

/** One request to a sidecar's inbound port, on a connection of its own. */
export async function call(t: Teardown, port: number, { pems, version, ...more }: Call): Promise<Attempt> {
  const options: ConnectionOptions = {
    minVersion: version,
    maxVersion: version,
    servername: 'first.foo',
    ...more,
  };
  const wire = dialTls(t, port, pems, options);
  let session: Buffer | undefined;
  let resumed = false;
  wire.socket.on('session', given => {
    session = given;
  });
  wire.socket.on('secureConnect', () => {
    resumed = wire.socket.isSessionReused();
  });
  const outcome = await wire.ask(get('/', 'connection: close')).then(
    reply => reply.status,
    () => 'refused' as const,
  );
  await wire.rest();
  wire.socket.destroy();
  return { outcome, resumed, session };
}

/** The session of a client that asks the server for any name: OpenSSL's own asks for the one it was made for. */
export function renamed(session: Buffer | undefined, from: string, to: string): Buffer {
  const copy = Buffer.from(session ?? '');
  copy.write(to, copy.indexOf(from), 'latin1');
  return copy;
}

/** A server of one version that answers each request on a connection of its own, and resumes whatever it sealed once. */
export interface Server extends TlsPeer {
  readonly host: string;
  readonly version: Version;
  /** Of each connection so far. */
  readonly resumed: readonly boolean[];
}

/** Of all servers of a test, at all times: none of them forgets a session for its own reasons. */
const TICKET_KEYS = Buffer.alloc(48, 7);

export async function startServer(t: Teardown, pems: IdentityPems, version: Version): Promise<Server> {
  const resumed: boolean[] = [];
  const answer = (socket: TLSSocket): void => {
    resumed.push(socket.isSessionReused());
    socket.once('data', () =>
      socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
    );
  };
  const options = { ticketKeys: TICKET_KEYS, minVersion: version, maxVersion: version };
  const peer = await startTlsPeer(t, pems, answer, options);
  return { ...peer, version, resumed, host: `${version.toLowerCase().replaceAll('.', '-')}.foo` };
}

/** The manifests of these servers; `endpoint` instead of their own. */
export function services(servers: readonly Server[], policy: string, endpoints?: readonly number[]): string {
  return servers
    .map(({ host, port }, i) => service({ host, endpoints: [endpoints?.[i] ?? port], policy }))
    .join('');
}

/** One request through the sidecar to the server. */
export async function visit(t: Teardown, { sidecar }: World, server: Server): Promise<Attempt> {
  const before = server.resumed.length;
  const wire = await wirePlain(t, sidecar.ports.outbound);
  const { status } = await wire.ask(get('/').replace('app.example', server.host));
  wire.socket.destroy();
  await server.quiet();
  const resumed = server.resumed.slice(before).includes(true);
  return { outcome: status === 503 ? 'refused' : status, resumed, session: undefined };
}
