/** HTTP/1.1, by every kind of port that Istio knows and every name that it is offered under. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { startApp, valuesOf, type Wire, wirePlain } from '../peers.ts';
import { envoyToOutrider, HOST, outriderToEnvoy, type PairOptions } from './pair.ts';
import { seenByEnvoy, seenByOutrider, XFCC } from './seen.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const MIB = 1024 * 1024;
const BIG = 'x'.repeat(MIB);

type Options = Partial<PairOptions>;

const EITHER_WAY: readonly (readonly [string, Options])[] = [
  ['a port declared http', {}],
  ['a port that declares nothing', { declared: 'auto' }],
  ['a PERMISSIVE port', { mode: 'PERMISSIVE' }],
  ['a PERMISSIVE port that declares nothing', { mode: 'PERMISSIVE', declared: 'auto' }],
  ['TLS 1.2', { tls12: true }],
  ['connections of two requests each', { requestsPerConnection: 2 }],
];

export const HTTP1_ROWS: readonly Row[] = [
  ...EITHER_WAY.flatMap(([what, options]) => [toOutrider(what, options), toEnvoy(what, options)]),
  toOutrider('offered as istio-http/1.0, istio, http/1.0', { spoken: 'http/1.0' }),
  toOutrider('offered as istio-http/1.1 and istio only', { offers: ['istio-http/1.1', 'istio'] }),
  toOutrider('offered as http/1.1, without a name of Istio', { offers: ['http/1.1'] }),
  toOutrider('offered without ALPN', { offers: [] }),
];

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
    await seenByEnvoy(pair);
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
