import { createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { listenUntilEnd, wirePlain } from '../peers.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { mutual, service } from './services.ts';

t.setTimeout(120_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');

interface RawApp {
  readonly port: number;
  /** What came, byte for byte. */
  readonly heads: string[];
}

/** An app of HTTP/1.1 that answers each head with bytes of the test's own. */
async function startRawApp(t: Test, answer: (head: string, socket: Socket) => void): Promise<RawApp> {
  const heads: string[] = [];
  const server = createServer(socket => {
    let text = '';
    socket.on('error', () => {});
    socket.on('data', chunk => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end + 4);
        text = text.slice(end + 4);
        heads.push(head);
        answer(head, socket);
      }
    });
  });
  return { port: await listenUntilEnd(t, server), heads };
}

interface Pair {
  readonly inbound: Sidecar;
  readonly outbound: Sidecar;
}

async function startPair(t: Test, app: number, { policy = '', mesh = '' } = {}): Promise<Pair> {
  const inbound = await startSidecar(t, {
    certs: temporaryIdentity(t, httpbin),
    app,
    flags: ['--protocol', `${app}=http`],
  });
  const rule = `${mutual(HTTPBIN)}${policy}`;
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, sleep),
    manifests: `kind: MeshConfig${mesh}${service({ host: 'web.foo', endpoints: [inbound.ports.inbound], policy: rule })}`,
  });
  return { inbound, outbound };
}

/** Connections of mutual TLS that are open at the server's side. */
async function mutualConnections({ inbound }: Pair): Promise<string[]> {
  const { body } = await inbound.get('admin', '/connections');
  const rows = JSON.parse(body) as { direction: string; protocol: string }[];
  return rows.filter(row => row.direction === 'inbound').map(row => row.protocol);
}

const REQUEST =
  'GET /x HTTP/1.1\r\nUSER-Agent: a\r\nHost: web.foo\r\nX-One: 1\r\nAccept: b\r\nx-one: 2\r\n\r\n';

t.test('requests of many connections share one, and neither app can tell', async t => {
  const app = await startRawApp(t, (_head, socket) =>
    socket.write('HTTP/1.1 200 All Is Well\r\nX-Mixed: 1\r\nContent-Length: 2\r\nx-mixed: 2\r\n\r\nok'),
  );
  const pair = await startPair(t, app.port);
  const wires = await Promise.all(
    Array.from({ length: 60 }, () => wirePlain(t, pair.outbound.ports.outbound)),
  );
  const replies = await Promise.all(wires.map(wire => wire.ask(REQUEST)));
  t.ok(replies.every(reply => reply.status === 200 && reply.body === 'ok'));
  t.match(replies[0]?.head, /^HTTP\/1\.1 200 All Is Well\r\nX-Mixed: 1\r\nContent-Length: 2\r\nx-mixed: 2$/);
  t.match(
    app.heads[0],
    /^GET \/x HTTP\/1\.1\r\nUSER-Agent: a\r\nHost: web\.foo\r\nX-One: 1\r\nAccept: b\r\nx-one: 2\r\n/,
  );
  t.notOk(
    app.heads.some(head => /outrider/i.test(head)),
    'nothing of Outrider’s own',
  );
  t.same(await mutualConnections(pair), ['http2']);
  t.match(await pair.inbound.access.take(l => l.path === '/x'), { protocol: 'HTTP/2' }, 'as it came');
});

t.test('interim responses, trailers and HTTP/1.0 arrive as they were sent', async t => {
  const app = await startRawApp(t, (head, socket) => {
    if (head.startsWith('GET /hints'))
      socket.write(
        'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      );
    else
      socket.write(
        'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n',
      );
  });
  const pair = await startPair(t, app.port);
  const wire = await wirePlain(t, pair.outbound.ports.outbound);
  wire.send('GET /hints HTTP/1.1\r\nHost: web.foo\r\n\r\n');
  const hints = await wire.until(all =>
    /200 OK\r\n[\s\S]*\r\n\r\n$/.test(all.toString()) ? all.toString() : null,
  );
  t.match(hints, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>\r\n\r\nHTTP\/1\.1 200 OK/);
  const other = await wirePlain(t, pair.outbound.ports.outbound);
  other.send('GET /sum HTTP/1.1\r\nHost: web.foo\r\nTE: trailers\r\n\r\n');
  const sum = await other.until(all => (/X-Sum: 7\r\n\r\n$/.test(all.toString()) ? all.toString() : null));
  t.match(sum, /\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n$/);
  const old = await wirePlain(t, pair.outbound.ports.outbound);
  old.send('GET /old HTTP/1.0\r\nHost: web.foo\r\n\r\n');
  t.match(await old.rest(), /^HTTP\/1\.1 200 OK[\s\S]*\r\n\r\nok$/, 'no chunks');
});

t.test('a field of the private name is nobody’s to send', async t => {
  const app = await startRawApp(t, (_head, socket) =>
    socket.write('HTTP/1.1 200 OK\r\nOutrider-Http1: 1\r\noutrider_http1: 1\r\nContent-Length: 0\r\n\r\n'),
  );
  const pair = await startPair(t, app.port);
  const wire = await wirePlain(t, pair.outbound.ports.outbound);
  const reply = await wire.ask(
    'GET / HTTP/1.1\r\nHost: web.foo\r\nOutrider-Http1: evil\r\noutrider_http1: evil\r\n\r\n',
  );
  t.equal(reply.status, 200);
  t.notMatch(reply.head, /outrider/i);
  t.notMatch(app.heads.join(''), /evil/);
});

for (const [name, options] of [
  ['the rule', { policy: ', connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}' }],
  ['the mesh', { mesh: '\nh2UpgradePolicy: DO_NOT_UPGRADE' }],
] as const) {
  t.test(`DO_NOT_UPGRADE of ${name} keeps HTTP/1.1 on the wire`, async t => {
    const app = await startRawApp(t, (_head, socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
    );
    const pair = await startPair(t, app.port, options);
    const wire = await wirePlain(t, pair.outbound.ports.outbound);
    t.equal((await wire.ask('GET / HTTP/1.1\r\nHost: web.foo\r\n\r\n')).status, 200);
    t.same(await mutualConnections(pair), ['http1']);
  });
}

t.test(
  'a body of one request does not hold up the others, and a client that goes takes only its own',
  async t => {
    const app = await startRawApp(t, (head, socket) => {
      if (head.startsWith('GET /large')) {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
        socket.write(Buffer.alloc(8_000_000, 'x'));
      } else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const pair = await startPair(t, app.port);
    const large = await wirePlain(t, pair.outbound.ports.outbound);
    large.socket.pause(); // it reads nothing
    large.send('GET /large HTTP/1.1\r\nHost: web.foo\r\n\r\n');
    const small = await wirePlain(t, pair.outbound.ports.outbound);
    for (let i = 0; i < 5; i++)
      t.equal((await small.ask('GET /small HTTP/1.1\r\nHost: web.foo\r\n\r\n')).body, 'ok');
    large.socket.destroy();
    t.match(await pair.inbound.access.take(l => l.path === '/large'), { response_flags: 'DC' });
    t.equal((await small.ask('GET /small HTTP/1.1\r\nHost: web.foo\r\n\r\n')).body, 'ok');
    t.same(await mutualConnections(pair), ['http2']);
  },
);
