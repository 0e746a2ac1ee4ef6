/**
 * Runs rows of the HTTP/2 table against a server: its bytes, whole or in pieces, then a request that must be answered
 * where the connection has to go on; and says what was not as the row wants it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { ACK, PREFACE, settings } from '../h2-frame.ts';
import { firstOf, H2Peer } from '../h2-peer.ts';
import { type Expectation, expectationsOf, get, type H2Case, type Seen } from './h2-case.ts';

/** No row of a sound server takes it. */
const PATIENCE_MS = 8_000;
/** Above every stream of a row. */
const WITNESS = 0x1001;
const PING = Buffer.from('witness!', 'latin1');

interface AppRequest {
  readonly method: string;
  readonly url: string;
  readonly host: string;
  readonly body: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly trailers: Readonly<Record<string, string>>;
}

/** The app behind the server under test, for node:http and for node:http2. */
export class CaseApp {
  /** Targets of the requests that came whole. */
  whole: string[] = [];

  readonly onRequest = (
    request: IncomingMessage | Http2ServerRequest,
    response: ServerResponse | Http2ServerResponse,
  ): void => {
    request.on('error', () => {}); // reset by the row
    response.on('error', () => {});
    if (request.url !== '/hold') void this.#answer(request, response as ServerResponse).catch(() => {});
  };

  async #answer(request: IncomingMessage | Http2ServerRequest, response: ServerResponse): Promise<void> {
    const body = await text(request);
    this.whole.push(request.url ?? '');
    switch (request.url) {
      case '/none':
        response.writeHead(204).end();
        return;
      case '/unchanged':
        response.writeHead(304, { etag: '"a"' }).end();
        return;
      case '/sized':
        response.writeHead(200, { 'content-length': '5' }).end('sized');
        return;
      case '/early':
        response.writeEarlyHints({ link: '</a.css>; rel=preload' });
        break;
      case '/trailers':
        response.setHeader('trailer', 'x-after');
        response.writeHead(200).write('a');
        response.addTrailers({ 'x-after': 'b' });
        response.end();
        return;
    }
    const { ':authority': authority, host, ...headers } = request.headers;
    const seen: AppRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      host: String(authority ?? host),
      body,
      fields: joined(headers),
      trailers: joined(request.trailers),
    };
    response.end(JSON.stringify(seen));
  }
}

function joined(fields: IncomingMessage['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  );
}

/** A server under test: how to reach it, and the app behind it. */
export interface H2Route {
  open(): Promise<Duplex>;
  readonly app: CaseApp;
}

export interface RunOptions {
  /** The row's bytes go in pieces of this size. */
  readonly cut?: number;
  /** So many pieces at most; the last is the rest. */
  readonly parts?: number;
  readonly patienceMs?: number;
}

/** Runs one row. @returns its faults; none = it passed */
export async function runH2Case(
  route: H2Route,
  row: H2Case,
  { cut, parts, patienceMs = PATIENCE_MS }: RunOptions = {},
): Promise<string[]> {
  route.app.whole = [];
  const peer = new H2Peer(await route.open(), 'client', row.bare ? { settings: null } : {});
  const bytes = Buffer.concat(row.send);
  if (cut !== undefined) await peer.pieces(bytes, cut, parts);
  else peer.send(bytes);
  const expected = expectationsOf(row);
  const goesOn = !expected.every(({ kind }) => kind === 'connection' || kind === 'closed');
  if (goesOn) {
    peer.frame('PING', 0, 0, PING);
    if (row.last !== true) peer.send(get(WITNESS, { ':path': '/witness' }));
  }
  const witnessed = (): boolean =>
    row.last === true ? true : peer.pinged(PING) && peer.on(WITNESS).ended && peer.status(WITNESS) === 200;
  const reached = (): boolean =>
    peer.ended !== null ||
    (expected.some(one => met(one, peer) && (isEnd(one) || witnessed())) &&
      (row.also ?? []).every(one => met(one, peer)));
  const end = performance.now() + patienceMs;
  while (!reached() && performance.now() < end) await peer.change(end - performance.now());
  const faults = faultsOf(row, peer, witnessed(), route.app);
  peer.socket.destroy();
  if (row.last === true && goesOn) faults.push(...(await witnessFaults(route)));
  return faults;
}

function isEnd({ kind }: Expectation): boolean {
  return kind === 'connection' || kind === 'closed';
}

/** Whether this much has come already. */
function met(expected: Expectation, peer: H2Peer): boolean {
  switch (expected.kind) {
    case 'connection':
    case 'closed':
      return peer.ended !== null;
    case 'stream':
      return peer.on(expected.stream).reset !== null;
    case 'malformed':
      return peer.on(expected.stream).reset !== null || peer.on(expected.stream).ended;
    case 'status':
      return peer.on(expected.stream).ended || peer.on(expected.stream).reset !== null;
    case 'ignored':
      return peer.pinged(PING);
    case 'ack':
      if (expected.of === 'PING') return peer.pinged(Buffer.from(expected.payload, 'latin1'));
      return acknowledged(peer) >= expected.count;
  }
}

function acknowledged(peer: H2Peer): number {
  return peer.frames.filter(one => one.type === 'SETTINGS' && one.flags & ACK).length;
}

function faultsOf(row: H2Case, peer: H2Peer, witnessed: boolean, app: CaseApp): string[] {
  const expected = expectationsOf(row);
  const also = row.also ?? [];
  const sight: Sight = {
    peer,
    app,
    witnessed,
    mixed: expected.length > 1,
    mayEnd: row.last === true,
    meant: [...expected, ...also].flatMap(one => ('stream' in one ? [one.stream] : [])),
  };
  const tries = expected.map(one => unlike(one, sight));
  const found = tries.find(faults => faults.length === 0) ?? tries[0] ?? [];
  const faults = [...found, ...also.flatMap(one => unlike(one, sight)), ...peer.faults];
  return faults.length === 0 ? [] : [...faults, peer.describe()];
}

/** What was seen of one row. */
interface Sight {
  readonly peer: H2Peer;
  readonly app: CaseApp;
  /** The request behind the row was answered. */
  readonly witnessed: boolean;
  /** There is more than one right reaction. */
  readonly mixed: boolean;
  /** The connection may end well after the row. */
  readonly mayEnd: boolean;
  /** Streams that the row says something of. */
  readonly meant: readonly number[];
}

function unlike(one: Expectation, { peer, app, witnessed, mixed, mayEnd, meant }: Sight): string[] {
  const faults: string[] = [];
  const fault = (right: boolean, text: string): void => {
    if (!right) faults.push(text);
  };
  if (isEnd(one)) {
    fault(peer.ended !== null, 'the connection goes on');
    if (one.kind !== 'connection') return faults;
    const code = peer.goaway?.code;
    // A connection that was closed with bytes unread may lose its GOAWAY; only where that is not the point.
    fault(code === one.code || (mixed && peer.goaway === null), `GOAWAY ${code} in place of ${one.code}`);
    return faults;
  }
  const ended = peer.ended !== null || peer.goaway !== null;
  fault(!ended || (mayEnd && (peer.goaway?.code ?? 'NO_ERROR') === 'NO_ERROR'), 'the connection ended');
  fault(witnessed, 'the next request was not answered');
  const about = 'stream' in one ? one.stream : 0;
  for (const [id, { reset }] of peer.streams)
    fault(
      reset === null || reset === 'NO_ERROR' || meant.includes(id),
      `RST_STREAM ${reset} on stream ${id}`,
    );
  switch (one.kind) {
    case 'stream':
      fault(peer.on(about).reset === one.code, `RST_STREAM ${peer.on(about).reset} in place of ${one.code}`);
      break;
    case 'malformed': {
      const { reset } = peer.on(about);
      const refused =
        reset === 'PROTOCOL_ERROR' || (peer.status(about) === 400 && reset !== 'INTERNAL_ERROR');
      fault(refused, `malformed, and got ${peer.status(about)}, RST_STREAM ${reset}`);
      const passed = app.whole.filter(url => !['/witness', '/other'].includes(url));
      fault(passed.length === 0 || one.late === true, `the app got ${passed}`);
      break;
    }
    case 'status':
      faults.push(...statusFaults(one, peer));
      break;
    default:
      fault(met(one, peer), 'nothing came of it');
  }
  return faults;
}

function statusFaults(one: Expectation & { kind: 'status' }, peer: H2Peer): string[] {
  const { heads, body, ended, reset } = peer.on(one.stream);
  const found = peer.status(one.stream);
  if (found !== one.status || !ended || (reset !== null && reset !== 'NO_ERROR'))
    return [
      `status ${found} in place of ${one.status}, ${ended ? 'whole' : 'not whole'}, RST_STREAM ${reset}`,
    ];
  if (heads.filter(head => firstOf(head, ':status') >= '200').length !== 1) return ['not one final response'];
  if (Object.keys(one.seen).length === 0) return [];
  return seenFaults(one.seen, JSON.parse(body.toString()) as AppRequest);
}

function seenFaults(wanted: Seen, found: AppRequest): string[] {
  const faults: string[] = [];
  const check = (name: string, a: string | null, b: string | undefined): void => {
    if (a !== (b ?? null))
      faults.push(`the app saw ${name} ${JSON.stringify(b)} in place of ${JSON.stringify(a)}`);
  };
  for (const name of ['method', 'url', 'host', 'body'] as const) {
    const value = wanted[name];
    if (value !== undefined) check(name, value, found[name]);
  }
  for (const part of ['fields', 'trailers'] as const)
    for (const [name, value] of Object.entries(wanted[part] ?? {})) check(name, value, found[part][name]);
  return faults;
}

/** A request on a connection of its own. */
async function witnessFaults(route: H2Route): Promise<string[]> {
  const peer = new H2Peer(await route.open(), 'client');
  peer.send(get(1, { ':path': '/witness' }));
  const end = performance.now() + PATIENCE_MS;
  while (!peer.on(1).ended && peer.ended === null && performance.now() < end)
    await peer.change(end - performance.now());
  const found = peer.status(1);
  peer.socket.destroy();
  return found === 200 ? [] : [`a request on another connection got ${found}: ${peer.describe()}`];
}

/** What a row sends, for a person. */
export function bytesOf(row: H2Case): Buffer {
  return Buffer.concat([...(row.bare ? [] : [PREFACE, settings()]), ...row.send]);
}
