/** Runs the rows of h2-cases-responses.ts: plays the client of a proxy, and the HTTP/2 server behind it. */
import { createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { END_HEADERS, END_STREAM, uint32 } from '../h2-frame.ts';
import { firstOf, H2Peer } from '../h2-peer.ts';
import { listenUntilEnd } from '../peers.ts';
import { type Expectation, get, headers } from './h2-case.ts';
import type { H2ResponseCase, Outcome } from './h2-cases-responses.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

const PATIENCE_MS = 8_000;

/** The server behind the proxy: answers the row's request as the row says, and every other with 200. */
export class CaseServer {
  port = 0;
  readonly peers: H2Peer[] = [];
  /** The connection that carried the row's request. */
  about: H2Peer | null = null;
  #row: H2ResponseCase | null = null;

  begin(row: H2ResponseCase): void {
    this.#row = row;
    this.about = null;
  }

  accept(socket: Socket): void {
    const bare = this.peers.length === 0 ? this.#row?.bare : undefined;
    // Its acknowledgement would be the first frame where SETTINGS belong.
    const peer: H2Peer = new H2Peer(
      socket,
      'server',
      bare === undefined ? {} : { settings: null, acks: false },
    );
    if (bare !== undefined) peer.send(...bare);
    this.peers.push(peer);
    socket.on('error', () => {});
    void this.#serve(peer).catch(() => {});
  }

  async #serve(peer: H2Peer): Promise<void> {
    for (;;) {
      const { stream, fields } = await peer.take('HEADERS');
      if (this.#row === null || firstOf(fields, ':path') !== '/' || this.about !== null) {
        peer.headers(stream, [[':status', '200']], END_HEADERS | END_STREAM);
        continue;
      }
      await peer.done(stream);
      this.about = peer;
      peer.send(...this.#row.answer);
    }
  }

  /** Ends what is open, as a server that goes away. */
  async clear(): Promise<void> {
    for (const peer of this.peers.splice(0)) {
      if (peer.ended === null) {
        peer.frame('GOAWAY', 0, 0, Buffer.concat([uint32(2 ** 31 - 1), uint32(0)]));
        await peer.closed().catch(() => {});
      }
      peer.socket.destroy();
    }
  }
}

export async function startCaseServer(t: Teardown): Promise<CaseServer> {
  const cases = new CaseServer();
  cases.port = await listenUntilEnd(
    t,
    createServer({ noDelay: true, allowHalfOpen: true }, socket => cases.accept(socket)),
  );
  return cases;
}

export interface ResponseRoute {
  /** A client connection to the proxy, which speaks HTTP/2. */
  open(): Promise<Duplex>;
  readonly server: CaseServer;
}

/** Runs one row. @returns its faults; none = it passed */
export async function runResponseCase(route: ResponseRoute, row: H2ResponseCase): Promise<string[]> {
  const { server } = route;
  server.begin(row);
  const client = new H2Peer(await route.open(), 'client');
  client.send(get(1, { ':method': row.method ?? 'POST' }));
  const end = performance.now() + PATIENCE_MS;
  const wait = async (peer: H2Peer, reached: () => boolean): Promise<void> => {
    while (!reached() && peer.ended === null && performance.now() < end)
      await peer.change(Math.min(100, end - performance.now()));
  };
  await wait(client, () => client.on(1).ended || client.on(1).reset !== null);
  const expected = 'kind' in row.expect ? [row.expect] : row.expect;
  const { about } = server;
  const falls = expected.some(({ kind }) => kind === 'connection' || kind === 'closed');
  if (about !== null)
    await wait(
      about,
      () =>
        expected.some(one => one.kind !== 'ignored' && seen(one, about)) ||
        (!falls && expected.some(({ kind }) => kind === 'ignored')),
    );
  client.send(
    headers(
      3,
      [
        [':method', 'GET'],
        [':scheme', 'http'],
        [':authority', 'app.test'],
        [':path', '/witness'],
      ],
      END_HEADERS | END_STREAM,
    ),
  );
  await wait(client, () => client.on(3).ended || client.on(3).reset !== null);
  const faults = [...clientFaults(row, client), ...serverFaults(expected, about), ...client.faults];
  for (const peer of server.peers) faults.push(...peer.faults.map(fault => `to the server: ${fault}`));
  client.socket.destroy();
  await server.clear();
  return faults.length === 0
    ? []
    : [...faults, `client: ${client.describe()}`, `server: ${about?.describe()}`];
}

function clientFaults(row: H2ResponseCase, client: H2Peer): string[] {
  const outcomes = Array.isArray(row.client) ? (row.client as readonly Outcome[]) : [row.client as Outcome];
  const faults: string[] = [];
  if (!outcomes.some(one => came(one, client)))
    faults.push(
      `the client got ${client.status(1)}, ${JSON.stringify(client.on(1).body.toString())}, RST_STREAM ${client.on(1).reset}`,
    );
  if (client.status(3) !== 200) faults.push(`the next request got ${client.status(3)}`);
  return faults;
}

function came(outcome: Outcome, client: H2Peer): boolean {
  const { ended, reset, body, heads } = client.on(1);
  const status = client.status(1);
  if (outcome === 'failed') return ended && (status === 502 || status === 503);
  if (outcome === 'broken') return !ended && status > 0 && reset !== null && reset !== 'NO_ERROR';
  if (!ended || (reset !== null && reset !== 'NO_ERROR') || status !== outcome.status) return false;
  if (outcome.body !== undefined && body.toString() !== outcome.body) return false;
  const trailers = heads.at(-1) ?? [];
  return Object.entries(outcome.trailers ?? {}).every(([name, value]) => firstOf(trailers, name) === value);
}

function seen(one: Expectation, server: H2Peer): boolean {
  if (one.kind === 'connection') return server.goaway?.code === one.code && server.ended !== null;
  if (one.kind === 'closed')
    return server.ended !== null && (server.goaway?.code ?? 'NO_ERROR') === 'NO_ERROR';
  const alive = server.ended === null && server.goaway === null;
  if (one.kind === 'stream') return alive && server.on(one.stream).reset === one.code;
  if (one.kind === 'ack')
    return (
      server.frames.filter(({ type, flags }) => type === 'SETTINGS' && flags & 1).length >=
      (one.of === 'SETTINGS' ? one.count : 1)
    );
  const { reset } = server.on(1);
  return alive && (reset === null || reset === 'NO_ERROR' || reset === 'CANCEL');
}

function serverFaults(expected: readonly Expectation[], about: H2Peer | null): string[] {
  if (about === null)
    return expected.some(({ kind }) => kind === 'connection') ? [] : ['the request did not come'];
  return expected.some(one => seen(one, about))
    ? []
    : [`the server did not see ${JSON.stringify(expected[0])}`];
}
