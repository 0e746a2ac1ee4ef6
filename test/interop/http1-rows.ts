/** HTTP/1.1, by every kind of port that Istio knows and every name that it is offered under. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { startApp, valuesOf, type Wire, wirePlain } from '../peers.ts';
import {
  envoyToOutrider,
  HOST,
  HTTPBIN,
  outriderToEnvoy,
  type Pair,
  type PairOptions,
  SLEEP,
  SNI,
} from './pair.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const MIB = 1024 * 1024;
const BIG = 'x'.repeat(MIB);
/** What the app is told of the client, in Istio's form. */
export const XFCC = new RegExp(`^By=${HTTPBIN};Hash=[0-9a-f]{64};Subject="";URI=${SLEEP}$`);

type Options = Partial<PairOptions>;

export const HTTP1_ROWS: readonly Row[] = [
  ...[
    ['a port declared http', {}],
    ['a port that declares nothing', { declared: 'auto' }],
    ['a PERMISSIVE port', { mode: 'PERMISSIVE' }],
    ['a PERMISSIVE port that declares nothing', { mode: 'PERMISSIVE', declared: 'auto' }],
  ].flatMap(([what, options]) => bothWays(what as string, options as Options)),
  toOutrider('offered as istio-http/1.0, istio, http/1.0', { spoken: 'http/1.0' }),
  toOutrider('offered as istio-http/1.1 and istio only', { offers: ['istio-http/1.1', 'istio'] }),
  toOutrider('offered as http/1.1, without a name of Istio', { offers: ['http/1.1'] }),
  toOutrider('offered without ALPN', { offers: [] }),
];

function bothWays(what: string, options: Options): Row[] {
  return [toOutrider(what, options), toEnvoy(what, options)];
}

function toOutrider(what: string, options: Options): Row {
  return row(TO_OUTRIDER, what, async stage => {
    const pair = await envoyToOutrider(stage, await withApp(stage, options));
    await askAll(await wirePlain(stage, pair.entry));
    await seenByOutrider(pair);
  });
}

function toEnvoy(what: string, options: Options): Row {
  return row(TO_ENVOY, what, async stage => {
    const pair = await outriderToEnvoy(stage, await withApp(stage, options));
    await askAll(await wirePlain(stage, pair.entry));
    await seenByEnvoy(pair, 'mtls-http');
  });
}

function row(direction: string, what: string, run: Row['run']): Row {
  return { peer: 'Envoy', protocol: 'HTTP/1.1', direction, what, run };
}

async function withApp(stage: Stage, options: Options): Promise<PairOptions> {
  return { app: (await startApp(stage)).port, spoken: 'http/1.1', ...options };
}

/** As an app does, one after the other on one connection: bodies of each framing, both ways, and what has none. */
export async function askAll(wire: Wire): Promise<void> {
  const first = (await ask(wire, 'GET', '/first?x=1', 'x-one: 1', 'x-one: 2')).received();
  deepEqual([first.method, first.url, valuesOf(first, 'host')], ['GET', '/first?x=1', [HOST]]);
  equal(valuesOf(first, 'x-one').join().replaceAll(' ', ''), '1,2');
  const [element = ''] = valuesOf(first, 'x-forwarded-client-cert');
  match(element, XFCC);
  deepEqual(
    first.rawHeaders.filter(name => /^x-envoy-peer-metadata/i.test(name)),
    [],
  );

  const length = await ask(wire, 'POST', '/length', `content-length: ${MIB}`, BIG);
  ok(length.received().body === BIG);
  const chunks = 'c\r\nin pieces, a\r\n4\r\nll !\r\n0\r\n\r\n';
  const chunked = await ask(wire, 'PUT', '/chunked', 'transfer-encoding: chunked', chunks);
  equal(chunked.received().body, 'in pieces, all !');
  wire.send(head('HEAD', '/head'));
  equal((await wire.reply({ bodiless: true })).status, 200);
  equal((await ask(wire, 'DELETE', '/last')).received().method, 'DELETE');
}

/** The last argument is the body when there are header lines that announce one. */
async function ask(wire: Wire, method: string, path: string, ...rest: readonly string[]) {
  const announced = /^(?:content-length|transfer-encoding)/.test(rest[0] ?? '');
  const lines = announced ? rest.slice(0, -1) : rest;
  const reply = await wire.ask(head(method, path, ...lines) + (announced ? rest.at(-1) : ''));
  equal(reply.status, 200, `${method} ${path}: ${reply.head}\n${reply.body.slice(0, 500)}`);
  return reply;
}

export function head(method: string, path: string, ...lines: readonly string[]): string {
  return `${[`${method} ${path} HTTP/1.1`, `host: ${HOST}`, ...lines].join('\r\n')}\r\n\r\n`;
}

/** Outrider knows the client by its certificate, and what it asked for in TLS; Envoy found the server that it expects. */
export async function seenByOutrider({ outrider, envoy }: Pair, path = '/first?x=1', status = 200) {
  const line = await outrider.access.take(l => l.path === path);
  deepEqual(
    [line.source_principal, line.requested_server_name, line.connection_security_policy, line.response_code],
    [SLEEP, SNI, 'mutual_tls', status],
  );
  equal((await envoy.access.take(l => l.path === path)).server, HTTPBIN);
}

/** The same, the other way round; `chain` is which of Istio's filter chains took the connection. */
export async function seenByEnvoy(
  { outrider, envoy }: Pair,
  chain: string,
  path = '/first?x=1',
  status = 200,
) {
  const line = await envoy.access.take(l => l.path === path);
  deepEqual([line.client, line.sni, line.chain, line.status], [SLEEP, SNI, chain, status]);
  equal((await outrider.access.take(l => l.path === path)).response_code, status);
  return line;
}
