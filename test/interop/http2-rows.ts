/** HTTP/2 on the wire, for apps that speak it and, upgraded between the sidecars, for apps that speak HTTP/1.1. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import {
  type ClientHttp2Session,
  connect,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Server } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { listenUntilEnd, startApp, wirePlain } from '../peers.ts';
import { askAll } from './http1-rows.ts';
import { envoyToOutrider, HOST, outriderToEnvoy, type PairOptions } from './pair.ts';
import { seenByEnvoy, seenByOutrider, XFCC } from './seen.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const MIB = 1024 * 1024;
const STREAMS = 40;

type Options = Partial<PairOptions>;

export const HTTP2_ROWS: readonly Row[] = [
  ...bothWays('a port declared http2', {}),
  ...bothWays('a port that declares nothing', { declared: 'auto' }),
  ...bothWays('a PERMISSIVE port', { mode: 'PERMISSIVE' }),
  ...bothWays('TLS 1.2', { tls12: true }),
  ...bothWays('connections of five requests each, ended by GOAWAY', { requestsPerConnection: 5 }),
  toOutrider('offered as h2, without a name of Istio', { offers: ['h2'] }),
  toOutrider('offered as istio-h2, istio, h2, http/1.1', { offers: ['istio-h2', 'istio', 'h2', 'http/1.1'] }),
  upgradedToOutrider('between apps that speak HTTP/1.1', {}),
  upgradedToEnvoy('between apps that speak HTTP/1.1', {
    entryProtocol: 'HTTP',
    traffic: 'connectionPool: {http: {h2UpgradePolicy: UPGRADE}}',
  }),
  ...bothWays('cleartext by prior knowledge, to a PERMISSIVE port', { plain: true, mode: 'PERMISSIVE' }),
];

function bothWays(what: string, options: Options): Row[] {
  return [toOutrider(what, options), toEnvoy(what, options)];
}

function toOutrider(what: string, options: Options): Row {
  return row(TO_OUTRIDER, what, async stage => {
    const pair = await envoyToOutrider(stage, await withApp(stage, options));
    await useSession(stage, pair.entry, options.plain ? /^nothing$/ : XFCC);
    if (options.plain !== true) await seenByOutrider(pair, { protocol: 'HTTP/2' });
  });
}

function toEnvoy(what: string, options: Options): Row {
  return row(TO_ENVOY, what, async stage => {
    const pair = await outriderToEnvoy(stage, await withApp(stage, options));
    await useSession(stage, pair.entry, options.plain ? /^nothing$/ : XFCC);
    if (options.plain !== true) await seenByEnvoy(pair, { protocol: 'HTTP/2' });
  });
}

function upgradedToOutrider(what: string, options: Options): Row {
  return row(TO_OUTRIDER, what, async stage => {
    const app = (await startApp(stage)).port;
    const pair = await envoyToOutrider(stage, { app, spoken: 'http2', appSpeaks: 'http/1.1', ...options });
    await askAll(await wirePlain(stage, pair.entry));
    await seenByOutrider(pair, { protocol: 'HTTP/2' });
  });
}

function upgradedToEnvoy(what: string, options: Options): Row {
  return row(TO_ENVOY, what, async stage => {
    const app = (await startApp(stage)).port;
    const pair = await outriderToEnvoy(stage, { app, spoken: 'http2', appSpeaks: 'http/1.1', ...options });
    await askAll(await wirePlain(stage, pair.entry));
    await seenByEnvoy(pair, { protocol: 'HTTP/2' });
  });
}

function row(direction: string, what: string, run: Row['run']): Row {
  return { peer: 'Envoy', protocol: 'HTTP/2', direction, what, run };
}

async function withApp(stage: Stage, options: Options): Promise<PairOptions> {
  return { app: await startEcho(stage), spoken: 'http2', ...options };
}

/** An app that speaks HTTP/2 in cleartext: sends back fields, body and trailers. */
export async function startEcho(stage: Stage): Promise<number> {
  const server: Http2Server = createServer();
  server.on('session', session => session.on('error', () => {}));
  server.on('stream', echo);
  return listenUntilEnd(stage, server as unknown as Server);
}

function echo(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  let trailers: OutgoingHttpHeaders = {};
  stream.on('error', () => {});
  stream.on('trailers', given => {
    trailers = { 'x-back': given['x-end'] };
  });
  stream.respond(
    {
      ':status': 200,
      'x-method': headers[':method'],
      'x-path': headers[':path'],
      'x-authority': headers[':authority'],
      'x-cookie': headers.cookie,
      'x-told': headers['x-forwarded-client-cert'] ?? 'nothing',
      'set-cookie': ['a=1', 'b=2'],
    },
    { waitForTrailers: true },
  );
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.pipe(stream);
}

/**
 * As an app does: one after the other, many at a time, large both ways, with trailers, and one that it gives up. `told` is
 * what the other app is told of the client.
 */
export async function useSession(stage: Stage, entry: number, told: RegExp): Promise<void> {
  const session = openSession(stage, entry);

  const first = await ask(session, { ':path': '/first?x=1', cookie: ['a=b', 'c=d'] });
  const { headers } = first;
  deepEqual(
    [headers[':status'], headers['x-method'], headers['x-path'], headers['x-authority'], headers['x-cookie']],
    [200, 'GET', '/first?x=1', HOST, 'a=b; c=d'],
  );
  deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
  match(String(headers['x-told']), told);

  const given = await ask(
    session,
    { ':path': '/trailers', ':method': 'POST' },
    'with more to come',
    'the end',
  );
  deepEqual([given.body.toString(), given.trailers['x-back']], ['with more to come', 'the end']);

  const large = Buffer.alloc(MIB, 'large ');
  const abandoned = session.request({ ':authority': HOST, ':path': '/abandoned', ':method': 'POST' });
  abandoned.on('error', () => {});
  abandoned.write(large.subarray(0, 10_000));
  const answers = await Promise.all(
    Array.from({ length: STREAMS }, (_, i) =>
      ask(session, { ':path': `/${i}`, ':method': 'POST' }, i % 10 === 0 ? large : `body ${i}`),
    ),
  );
  abandoned.close(8); // CANCEL
  for (const [i, { body, headers }] of answers.entries()) {
    equal(headers['x-path'], `/${i}`);
    ok(body.equals(i % 10 === 0 ? large : Buffer.from(`body ${i}`)), `body ${i}`);
  }
  equal((await ask(session, { ':path': '/last' })).headers[':status'], 200);
}

/** An app's connection to its sidecar, which it knows to speak HTTP/2. */
export function openSession(stage: Stage, entry: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${entry}`);
  session.on('error', () => {});
  stage.teardown(() => session.destroy());
  return session;
}

interface Answer {
  readonly headers: IncomingHttpHeaders & { readonly ':status'?: number | undefined };
  readonly body: Buffer;
  readonly trailers: IncomingHttpHeaders;
}

export async function ask(
  session: ClientHttp2Session,
  fields: OutgoingHttpHeaders,
  body?: string | Buffer,
  trailer?: string,
): Promise<Answer> {
  const given = { ':authority': HOST, ...fields };
  const stream = session.request(given, {
    endStream: body === undefined,
    waitForTrailers: trailer !== undefined,
  });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': trailer }));
  let headers: Answer['headers'] = {};
  let trailers: IncomingHttpHeaders = {};
  stream.on('response', came => {
    headers = came;
  });
  stream.on('trailers', came => {
    trailers = came;
  });
  if (body !== undefined) stream.end(body);
  return { body: await buffer(stream), headers, trailers };
}
