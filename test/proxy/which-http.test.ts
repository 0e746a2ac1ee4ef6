import t from 'tap';
import { parseRequest, type RequestHead } from '../../src/http/h1-parser.ts';
import { requestOf } from '../../src/http/h2-head.ts';
import { type Sharing, type Wants, wantsOf } from '../../src/proxy/h2-upstream.ts';
import { findService, routeSpec } from '../../src/proxy/route.ts';
import { loadText } from '../config/cases.ts';
import { listOf, type Pair } from '../http/header-lists.ts';
import { service } from './services.ts';

type Mesh = '' | 'UPGRADE' | 'DO_NOT_UPGRADE';
type Row = readonly [protocol: string, http: string, mesh: Mesh, spoken: string];

/** What a port was declared, what its DestinationRule says, what the mesh says; what is spoken. */
const ROWS: readonly Row[] = [
  ['HTTP', '', '', 'http1 shared'],
  ['HTTP_PROXY', '', '', 'http1 shared'],
  ['HTTP2', '', '', 'http2 shared'],
  ['GRPC', '', '', 'http2 shared'],
  ['GRPC-WEB', '', '', 'http2 shared'],
  ['""', '', '', 'client shared'],
  ['TCP', '', '', 'client shared'],
  ['HTTP', '', 'UPGRADE', 'http2 shared or http1'],
  ['GRPC', '', 'UPGRADE', 'http2 shared'],
  ['""', '', 'UPGRADE', 'client shared'],
  ['TCP', '', 'UPGRADE', 'client shared'],
  ['HTTP', '', 'DO_NOT_UPGRADE', 'http1'],
  ['HTTP2', '', 'DO_NOT_UPGRADE', 'http2'],
  ['HTTP', 'h2UpgradePolicy: UPGRADE', '', 'http2 shared or http1'],
  ['""', 'h2UpgradePolicy: UPGRADE', '', 'http2 shared or http1'],
  ['HTTP', 'h2UpgradePolicy: UPGRADE', 'DO_NOT_UPGRADE', 'http2 shared or http1'],
  ['HTTP', 'h2UpgradePolicy: DO_NOT_UPGRADE', '', 'http1'],
  ['HTTP', 'h2UpgradePolicy: DO_NOT_UPGRADE', 'UPGRADE', 'http1'],
  ['HTTP', 'h2UpgradePolicy: DEFAULT', 'UPGRADE', 'http2 shared or http1'],
  ['HTTP', 'useClientProtocol: true', '', 'client shared or http1'],
  ['HTTP', 'useClientProtocol: true, h2UpgradePolicy: UPGRADE', 'UPGRADE', 'client shared or http1'],
  ['HTTP2', 'useClientProtocol: true', '', 'client shared'],
];

function load(text: string) {
  const loaded = loadText(text);
  if (!loaded.ok) throw new Error('refused');
  return loaded;
}

function spokenTo([protocol, http, mesh]: Row): string {
  const policy = http === '' ? {} : { policy: `connectionPool: {http: {${http}}}` };
  const text = `kind: MeshConfig\n${mesh === '' ? '' : `h2UpgradePolicy: ${mesh}`}\n`;
  const { resources } = load(text + service({ host: 'a.foo', endpoints: [1], protocol, ...policy }));
  const found = findService(resources, 'a.foo', 80);
  if (found === null) throw new Error('no service');
  const workload = { namespace: 'foo', serviceAccount: 'a', labels: {} };
  const { speaks, shares, fallsBack } = routeSpec(resources, workload, 'a.foo', found).http;
  return `${speaks}${shares ? ' shared' : ''}${fallsBack ? ' or http1' : ''}`;
}

t.test('what is spoken to a port, by its declaration, its DestinationRule and the mesh', async t => {
  for (const row of ROWS) t.equal(spokenTo(row), row[3], row.slice(0, 3).join(' | '));
});

t.test('a setting for one port holds for that port', async t => {
  const levels = `portLevelSettings: [{port: {number: 80}, connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}]`;
  const both = `connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}, ${levels}`;
  const { resources } = load(service({ host: 'a.foo', endpoints: [1], policy: both }));
  const found = findService(resources, 'a.foo', 80);
  if (found === null) throw new Error('no service');
  const workload = { namespace: 'foo', serviceAccount: 'a', labels: {} };
  t.equal(routeSpec(resources, workload, 'a.foo', found).http.speaks, 'http2');
});

function http1(...lines: readonly string[]): RequestHead {
  const head = parseRequest(`${lines.join('\r\n')}\r\nHost: a\r\n\r\n`);
  if ('what' in head) throw new Error(head.what);
  return head;
}

function http2(memo: boolean, ...more: readonly Pair[]): RequestHead {
  const list = listOf([
    [':method', 'GET'],
    [':scheme', 'http'],
    [':authority', 'a'],
    [':path', '/'],
    ...more,
  ]);
  const head = requestOf(list, true, memo);
  if ('what' in head) throw new Error(head.what);
  return head;
}

const never = (): never => {
  throw new Error('no connection is wanted');
};

const GET = http1('GET / HTTP/1.1');
const OLD = http1('GET / HTTP/1.0');
const UPGRADE = http1('GET / HTTP/1.1', 'Connection: upgrade', 'Upgrade: websocket');
const CONNECT = http1('CONNECT a:1 HTTP/1.1');
const STREAM = http2(false);
const PASSED_ON = http2(true, ['outrider-http1', '1 Host']);

const WANTED: readonly (readonly [
  string,
  RequestHead,
  http1: Wants,
  shared: Wants,
  http2: Wants,
  client: Wants,
])[] = [
  ['HTTP/1.1', GET, 'http1-alone', 'http1', 'http2', 'http1'],
  ['HTTP/1.0', OLD, 'http1-alone', 'http1', 'http2', 'http1'],
  ['an upgrade', UPGRADE, 'http1-alone', 'http1-alone', 'http1-alone', 'http1-alone'],
  ['CONNECT', CONNECT, 'http1-alone', 'http1-alone', 'http1-alone', 'http1-alone'],
  ['HTTP/1.1 from another Outrider', PASSED_ON, 'http1-alone', 'http1', 'http2', 'http1'],
  ['HTTP/2', STREAM, 'http1-alone', 'http1-alone', 'http2', 'http2'],
];

t.test('what a request is sent on, where HTTP/1.1, shared HTTP/1.1, HTTP/2 or its own is spoken', async t => {
  const sharing: Sharing = { speaks: 'http1', memo: true, fallsBack: false, begin: never };
  for (const [name, head, alone, shared, streams, client] of WANTED) {
    t.equal(wantsOf(head, null), 'http1-alone', `${name}: nothing shared`);
    t.equal(wantsOf(head, { ...sharing, memo: false }), alone, `${name}: http1`);
    t.equal(wantsOf(head, sharing), shared, `${name}: shared`);
    t.equal(wantsOf(head, { ...sharing, speaks: 'http2' }), streams, `${name}: http2`);
    t.equal(wantsOf(head, { ...sharing, speaks: 'client' }), client, `${name}: client`);
  }
});
