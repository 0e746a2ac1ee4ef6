import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { ExtAuthzHttp } from '../../src/config/resources.ts';
import { ALLOWED } from '../../src/proxy/ext-authz-question.ts';
import { deadPort, startTcpApp } from '../peers.ts';
import { denial, destination, guard, httpProvider, startAuthorizer } from './authorizer.ts';

t.setTimeout(60_000);

const ERROR = { status: 403, details: 'ext_authz_error', flag: 'UAEX', body: '' };

/** A provider that answers each connection's first bytes with `behave`. */
async function broken(t: Test, behave: (socket: Socket) => void, options: Partial<ExtAuthzHttp> = {}) {
  const app = await startTcpApp(t, socket => socket.once('data', () => behave(socket)));
  return { app, ...guard(t, httpProvider(options), destination(t, [app.port])) };
}

const FAULTS: readonly (readonly [string, (socket: Socket) => void, RegExp])[] = [
  ['closes', socket => socket.end(), /^connection closed$/],
  ['resets', socket => socket.resetAndDestroy(), /^connection closed$/],
  ['answers garbage', socket => socket.write('garbage\r\n\r\n'), /^malformed status line$/],
  ['answers with half a head', socket => socket.end('HTTP/1.1 200 OK\r\ncontent-'), /^connection closed$/],
  [
    'answers with half a body',
    socket => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'),
    /^connection closed$/,
  ],
  [
    'answers with two lengths',
    socket => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n'),
    /content-length/i,
  ],
  [
    'switches protocols',
    socket => socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    /101/,
  ],
  ['writes interim answers for ever', socket => interim(socket), /^too many interim responses$/],
  [
    'has 10 MiB to say',
    socket => socket.write('HTTP/1.1 403 Forbidden\r\ncontent-length: 10485760\r\n\r\n'),
    /^answer too large$/,
  ],
  ['has no end', socket => endless(socket), /^answer too large$/],
  ['has 10 MiB of fields', socket => fields(socket), /^header section too large$/],
];

function interim(socket: Socket): void {
  socket.write('HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000));
}

function endless(socket: Socket): void {
  socket.write('HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n');
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  const more = (): void => {
    while (socket.writable && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}

function fields(socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\n');
  socket.write(`x-a: ${'x'.repeat(10 * 1024 * 1024)}\r\n`);
}

for (const [what, behave, reason] of FAULTS) {
  t.test(`a provider that ${what}`, async t => {
    const closed = await broken(t, behave, { statusOnError: 503 });
    t.same(denial(await closed.ask()), { ...ERROR, status: 503 });
    t.same(closed.counts, ['guard error']);
    t.match(closed.warnings, [
      { message: 'external authorizer cannot be asked', reason, requests: 'denied' },
    ]);
    const open = await broken(t, behave, { failOpen: true });
    t.same(await open.ask(), ALLOWED);
    t.same(open.counts, ['guard failure_mode_allowed']);
    t.match(open.warnings, [{ provider: 'guard', service: 'authz.foo.svc:80', requests: 'allowed' }]);
  });
}

t.test('a provider that hangs is given up after its timeout, and its connection is closed', async t => {
  let gone = Promise.resolve();
  const { ask, warnings } = await broken(
    t,
    socket => {
      gone = new Promise(resolve => socket.once('end', () => resolve()));
    },
    { timeoutMs: 50 },
  );
  t.same(denial(await ask()), ERROR);
  t.match(warnings, [{ reason: 'timeout' }]);
  await gone;
});

t.test('a provider that begins to answer and then hangs is given up as well', async t => {
  const { ask, warnings } = await broken(
    t,
    socket => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nha'),
    { timeoutMs: 50 },
  );
  t.same(denial(await ask()), ERROR);
  t.match(warnings, [{ reason: 'timeout' }]);
});

t.test('a provider that is not there', async t => {
  const port = await deadPort();
  const { ask, warnings } = guard(t, httpProvider(), destination(t, [port]));
  t.same(denial(await ask()), ERROR);
  t.match(warnings, [{ reason: 'ECONNREFUSED' }]);
});

t.test('a provider that no destination leads to', async t => {
  const { ask, warnings } = guard(t, httpProvider(), null);
  t.same(denial(await ask()), ERROR);
  t.match(warnings, [{ reason: 'no route' }]);
});

t.test('a provider whose endpoints are none', async t => {
  const { ask, warnings } = guard(t, httpProvider(), destination(t, []));
  t.same(denial(await ask()), ERROR);
  t.match(warnings, [{ reason: 'no healthy endpoint' }]);
});

t.test('an endpoint that is down is passed over for another', async t => {
  const { port } = await startAuthorizer(t);
  const { ask, counts } = guard(t, httpProvider(), destination(t, [await deadPort(), port]));
  for (let i = 0; i < 4; i++) t.same(await ask(), ALLOWED);
  t.same(new Set(counts), new Set(['guard allowed']));
});

t.test('a connection that the provider closed while it was idle costs no check', async t => {
  const { port, asked, connections } = await startAuthorizer(t, (_, response, request) => {
    response.end();
    // The answer is out; the FIN arrives while the connection waits in the pool, or with the next question.
    response.once('finish', () => request.socket.end());
  });
  const { ask, counts } = guard(t, httpProvider(), destination(t, [port]));
  for (let i = 0; i < 20; i++) t.same(await ask(), ALLOWED);
  t.equal(new Set(counts).size, 1);
  t.ok(connections() > 1 && asked.length >= 20);
});

t.test('who stops asking is not kept waiting, and the provider is let go', async t => {
  let gone = Promise.resolve();
  const asked = new AbortController();
  const { ask, counts, warnings } = await broken(t, socket => {
    gone = new Promise(resolve => socket.once('end', () => resolve()));
    asked.abort();
  });
  t.equal((await ask({ signal: asked.signal })).allow, false);
  await gone;
  t.same([counts, warnings], [[], []], 'neither an error nor a verdict');
  t.equal((await ask({ signal: AbortSignal.abort() })).allow, false);
});

t.test('a burst of failures is one line, and the next one says how many it stands for', async t => {
  const { ask, warnings, counts } = await broken(t, socket => socket.end());
  let now = performance.now();
  t.capture(performance, 'now', () => now);
  for (let i = 0; i < 5; i++) await ask();
  t.equal(warnings.length, 1);
  now += 10_001;
  await ask();
  t.match(warnings, [{ unsaid: undefined }, { unsaid: 4 }]);
  t.equal(counts.length, 6);
});
