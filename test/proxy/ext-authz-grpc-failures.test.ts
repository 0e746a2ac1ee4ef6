import { createServer } from 'node:http2';
import t, { type Test } from 'tap';
import type { ExtAuthzGrpc } from '../../src/config/resources.ts';
import { ALLOWED } from '../../src/proxy/ext-authz-question.ts';
import { deadPort, listenUntilEnd, startTcpApp } from '../peers.ts';
import { denial, destination, grpcProvider, guard, passed } from './authorizer.ts';
import { type CheckAnswer, OK, startGrpcAuthorizer } from './grpc-authorizer.ts';

t.setTimeout(60_000);

const ERROR = { status: 403, details: 'ext_authz_error', flag: 'UAEX', body: '' };

/** Asks a provider at `port` that fails, with and without failOpen; @returns why it failed */
async function failure(t: Test, port: number, options: Partial<ExtAuthzGrpc> = {}): Promise<string> {
  const open = guard(t, grpcProvider({ ...options, failOpen: true }), destination(t, [port]));
  t.same(await open.ask(), ALLOWED);
  t.same(open.counts, ['guard failure_mode_allowed']);
  const closed = guard(t, grpcProvider({ ...options, statusOnError: 503 }), destination(t, [port]));
  t.same(denial(await closed.ask()), { ...ERROR, status: 503 });
  t.same(closed.counts, ['guard error']);
  t.match(closed.warnings, [{ message: 'external authorizer cannot be asked', requests: 'denied' }]);
  return String(closed.warnings[0]?.reason);
}

/** A provider that answers each check with `answer`; @returns its port */
async function answering(t: Test, answer: CheckAnswer): Promise<number> {
  return (await startGrpcAuthorizer(t, () => answer)).port;
}

t.test('a gRPC status is a failure to say, whatever its code', async t => {
  for (const code of [7, 14, 16]) {
    t.match(await failure(t, await answering(t, { code, details: 'why' })), `${code} `);
  }
});

t.test('bytes that are no CheckResponse are a failure', async t => {
  const garbage = [
    Buffer.from('0aff', 'hex'), // a length past the end
    Buffer.from('0f', 'hex'), // a wire type that there is not
    Buffer.from('0a0208', 'hex'), // cut
    Buffer.from('120512030805ff', 'hex'), // a nested message that is longer than its outer one
    Buffer.from(`1a${'ff'.repeat(12)}`, 'hex'), // a number without an end
  ];
  for (const bytes of garbage) {
    const reason = await failure(t, await answering(t, bytes));
    t.equal(reason, 'its answer is no CheckResponse', bytes.toString('hex'));
  }
});

t.test('fields that are not known, or of another type, are passed over', async t => {
  const port = await answering(t, Buffer.from('08077a026869a10600000000000000000b0c', 'hex'));
  t.same(await guard(t, grpcProvider(), destination(t, [port])).ask(), ALLOWED);
});

t.test('an answer of 2 MiB is a failure', async t => {
  const port = await answering(t, { status: { code: 7 }, denied: { body: 'x'.repeat(2 * 1024 * 1024) } });
  t.match(await failure(t, port), /larger than max/);
});

t.test('an answer in HTTP that is not gRPC is a failure', async t => {
  const server = createServer((_, response) => response.end('<h1>hello</h1>'));
  t.match(await failure(t, await listenUntilEnd(t, server)), /./);
});

t.test('who does not speak HTTP/2, closes or is not there is a failure', async t => {
  const http1 = await startTcpApp(t, socket => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
  t.match(await failure(t, http1.port), /^14 UNAVAILABLE/);
  const closing = await startTcpApp(t, socket => socket.end());
  t.match(await failure(t, closing.port), /^14 UNAVAILABLE/);
  t.match(await failure(t, await deadPort()), /ECONNREFUSED/);
});

t.test('who never answers is given up after the timeout, in the call and before it', async t => {
  const authorizer = await startGrpcAuthorizer(t, () => null);
  t.match(await failure(t, authorizer.port, { timeoutMs: 100 }), /^4 DEADLINE_EXCEEDED/);
  await authorizer.whenCancelled();
  const silent = await startTcpApp(t, socket => socket.resume());
  t.match(await failure(t, silent.port, { timeoutMs: 100 }), /^4 DEADLINE_EXCEEDED/);
});

t.test('no destination, or one without endpoints', async t => {
  for (const [cluster, reason] of [
    [null, 'no route'],
    [destination(t, []), 'no healthy endpoint'],
  ] as const) {
    const { ask, warnings } = guard(t, grpcProvider(), cluster);
    t.same(denial(await ask()), ERROR);
    t.match(warnings, [{ reason }]);
  }
});

t.test('who stops asking is not kept waiting, and the call is cancelled', async t => {
  const asked = new AbortController();
  const authorizer = await startGrpcAuthorizer(t, () => {
    asked.abort();
    return null;
  });
  const { ask, counts, warnings } = guard(t, grpcProvider(), destination(t, [authorizer.port]));
  t.equal((await ask({ signal: asked.signal })).allow, false);
  await authorizer.whenCancelled();
  t.equal((await ask({ signal: AbortSignal.abort() })).allow, false);
  t.same([counts, warnings, authorizer.checks.length], [[], [], 1]);
});

t.test('a provider that comes back is asked again', async t => {
  const first = await startGrpcAuthorizer(t, () => OK);
  const { ask, counts } = guard(t, grpcProvider(), destination(t, [first.port]));
  passed(await ask());
  first.stop();
  t.same(denial(await ask()), ERROR);
  await startGrpcAuthorizer(t, () => OK, { port: first.port });
  while (!(await ask()).allow);
  t.equal(counts.at(-1), 'guard allowed');
});

t.test('a provider that restarts between two checks costs none', async t => {
  let authorizer = await startGrpcAuthorizer(t, () => OK);
  const { ask, counts } = guard(t, grpcProvider(), destination(t, [authorizer.port]));
  for (let i = 0; i < 5; i++) {
    passed(await ask());
    authorizer.stop();
    authorizer = await startGrpcAuthorizer(t, () => OK, { port: authorizer.port });
  }
  t.same(new Set(counts), new Set(['guard allowed']));
});

t.test('connections that are given up in the middle of a check cost none', async t => {
  const authorizer = await startGrpcAuthorizer(t, () => {
    extAuthz.renew();
    return OK;
  });
  const { ask, extAuthz } = guard(t, grpcProvider(), destination(t, [authorizer.port]));
  passed(await ask());
  const answers = Promise.all([ask(), ask(), ask()]);
  extAuthz.renew();
  for (const answer of await answers) passed(answer);
  t.equal(authorizer.checks.length, 4);
});

t.test('an answer of UNAVAILABLE is an answer, and the provider is not asked twice', async t => {
  const authorizer = await startGrpcAuthorizer(t, ({ attributes }) =>
    attributes.request?.http.method === 'GET' ? OK : { code: 14, details: 'busy' },
  );
  const { ask } = guard(t, grpcProvider(), destination(t, [authorizer.port]));
  passed(await ask());
  t.same(denial(await ask({ method: 'POST' })), ERROR);
  t.equal(authorizer.checks.length, 2);
});

t.test('an endpoint that is down is passed over for another', async t => {
  const { port } = await startGrpcAuthorizer(t, () => OK);
  const { ask, counts } = guard(t, grpcProvider(), destination(t, [port, await deadPort()]));
  for (let i = 0; i < 6; i++) passed(await ask());
  t.same(new Set(counts), new Set(['guard allowed']));
});

t.test('an HTTP proxy of the environment is not asked', async t => {
  const port = await answering(t, OK);
  const proxy = `http://127.0.0.1:${await deadPort()}`;
  const before = { ...process.env };
  t.teardown(() => {
    process.env = before;
  });
  process.env = {
    ...before,
    grpc_proxy: proxy,
    https_proxy: proxy,
    http_proxy: proxy,
    no_proxy: '',
    no_grpc_proxy: '',
  };
  t.same(await guard(t, grpcProvider(), destination(t, [port])).ask(), ALLOWED);
});
