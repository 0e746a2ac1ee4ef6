import type { ServerResponse } from 'node:http';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, startTcpApp, valuesOf, wirePlain, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { headersOf, startAuthorizer } from './authorizer.ts';
import { OK, startGrpcAuthorizer } from './grpc-authorizer.ts';

t.setTimeout(60_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const app = await startApp(t);
const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));

function resource(kind: string, name: string, spec: object): string {
  return JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name, namespace: 'foo' },
    spec,
  });
}

function manifests(provider: object, ...policies: readonly string[]): string {
  return inMode('STRICT', provider, ...policies);
}

function inMode(mode: string, provider: object, ...policies: readonly string[]): string {
  return [
    JSON.stringify({ kind: 'MeshConfig', extensionProviders: [{ name: 'guard', ...provider }] }),
    resource('PeerAuthentication', 'strict', { mtls: { mode } }),
    resource('AuthorizationPolicy', 'ask', {
      action: 'CUSTOM',
      provider: { name: 'guard' },
      rules: [{ to: [{ operation: { paths: ['/guarded*'] } }] }],
    }),
    ...policies,
  ].join('\n---\n');
}

const http = (port: number, more: object = {}) => ({
  envoyExtAuthzHttp: { service: '127.0.0.1', port, ...more },
});

function answer(status: number, headers: Record<string, string>, body = '') {
  return (_: unknown, response: ServerResponse): void => {
    response.writeHead(status, headers).end(body);
  };
}

t.test('what a CUSTOM rule matches is asked about; the rest is not', async t => {
  const guard = await startAuthorizer(t, (asked, response) => {
    response
      .writeHead(asked.url === '/check/guarded/yes' ? 200 : 402, { 'x-why': 'no coins' })
      .end('pay first');
  });
  const provider = http(guard.port, {
    pathPrefix: '/check',
    includeRequestHeadersInCheck: ['cookie'],
    headersToDownstreamOnDeny: ['x-why'],
  });
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: manifests(provider),
    flags: ['--dev'],
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask(get('/open'))).status, 200);
  t.same(guard.asked, []);
  t.equal((await wire.ask(get('/guarded/yes', 'cookie: a=b', 'x-own: c'))).status, 200);
  t.match(headersOf(guard.asked[0]!), { cookie: 'a=b', host: 'app.example' });
  t.notMatch(headersOf(guard.asked[0]!), { 'x-own': 'c' });
  const denied = await wire.ask(get('/guarded/no'));
  t.equal(denied.status, 402);
  t.equal(denied.body, 'pay first');
  t.equal(denied.header('x-why'), 'no coins');
  t.match(
    denied.header('x-outrider-decision'),
    /provider=guard; policy=foo\/ask; rule=0; reason=ext_authz_denied/,
  );
  t.match(await sidecar.access.take(line => line.response_code === 402), {
    response_flags: 'UAEX',
    response_code_details: 'ext_authz_denied',
    policy: 'foo/ask',
    policy_rule: 0,
    policy_decision: 'deny',
  });
  t.equal(
    await sidecar.metric('outrider_ext_authz_answers_total', { provider: 'guard', result: 'denied' }),
    1,
  );
});

t.test("a provider's fields reach policy and the app in place of the client's", async t => {
  const guard = await startAuthorizer(
    t,
    answer(200, { 'x-user': 'ann', 'x-secret': 's', 'set-cookie': 'seen=1' }),
  );
  const provider = http(guard.port, {
    headersToUpstreamOnAllow: ['x-user'],
    headersToDownstreamOnAllow: ['set-cookie'],
  });
  const onlyAnn = resource('AuthorizationPolicy', 'ann', {
    rules: [{ when: [{ key: 'request.headers[x-user]', values: ['ann'] }] }],
  });
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(provider, onlyAnn) });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask(get('/open', 'x-user: bob'))).status, 403);
  const reply = await wire.ask(get('/guarded', 'X-User: bob', 'x_user: eve'));
  t.equal(reply.status, 200);
  t.same(valuesOf(reply.received(), 'x-user'), ['ann']);
  t.same(valuesOf(reply.received(), 'x_user'), []);
  t.same(valuesOf(reply.received(), 'x-secret'), []);
  t.equal(reply.header('set-cookie'), 'seen=1');
});

t.test('the body goes into the check and to the app, whole', async t => {
  const guard = await startAuthorizer(t);
  const includeRequestBodyInCheck = { maxRequestBytes: 8, allowPartialMessage: true };
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: manifests(http(guard.port, { includeRequestBodyInCheck })),
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const post = (body: string) =>
    `POST /guarded HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  t.equal((await wire.ask(post('short'))).received().body, 'short');
  const long = 'long'.repeat(50_000);
  t.equal((await wire.ask(post(long))).received().body, long);
  t.same(
    guard.asked.map(({ body }) => body),
    ['short', 'longlong'],
  );
});

t.test('neither an upgrade nor a Connection option hides anything from the check', async t => {
  const guard = await startAuthorizer(t, (asked, response) => {
    const evil = asked.body.includes('evil') || headersOf(asked)['content-type'] === 'text/evil';
    response.writeHead(evil ? 403 : 200).end();
  });
  const provider = http(guard.port, {
    includeRequestBodyInCheck: { maxRequestBytes: 8 },
    includeRequestHeadersInCheck: ['content-type', 'x*'],
  });
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: inMode('PERMISSIVE', provider),
  });
  const wire = await wirePlain(t, sidecar.ports.inbound);
  const post = (body: string, ...lines: string[]) =>
    ['POST /guarded HTTP/1.1', 'host: a', `content-length: ${body.length}`, ...lines, '', body].join('\r\n');
  t.equal((await wire.ask(post('good'))).status, 200);
  t.equal((await wire.ask(post('evil', 'connection: upgrade', 'upgrade: other'))).status, 403);
  const typed = post('good', 'content-type: text/evil', 'connection: content-type');
  t.equal((await wire.ask(typed)).status, 403, 'the app would get the field');
  await wire.ask(post('good', 'x_forwarded_proto: https'));
  const { x_forwarded_proto, 'x-forwarded-proto': proto } = headersOf(guard.asked.at(-1)!);
  t.same([x_forwarded_proto, proto], [undefined, 'http']);
});

t.test('no trailer passes for a field that a provider writes', async t => {
  const trailers = await startApp(t, (_, response, request) =>
    response.end(JSON.stringify(Object.keys(request.trailers))),
  );
  const guard = await startGrpcAuthorizer(t, () => OK);
  const sidecar = await startSidecar(t, {
    certs,
    app: trailers.port,
    manifests: inMode('PERMISSIVE', http(1, { headersToUpstreamOnAllow: ['X-User*', '*_role'] })),
  });
  const wire = await wirePlain(t, sidecar.ports.inbound);
  const sent = ['x-user-name', 'x_user_id', 'my-role', 'x-role-other', 'own'];
  const ask = async (): Promise<unknown> => {
    const lines = sent.map(name => `${name}: evil\r\n`).join('');
    const reply = await wire.ask(
      `POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n${lines}\r\n`,
    );
    return JSON.parse(reply.body);
  };
  t.same(await ask(), ['x-role-other', 'own']);
  const grpc = { envoyExtAuthzGrpc: { service: '127.0.0.1', port: guard.port } };
  await sidecar.configure(inMode('PERMISSIVE', grpc));
  t.same(await ask(), [], 'what a gRPC authorizer writes is not known beforehand');
});

t.test('a body that is too long for the check gets 413', async t => {
  const guard = await startAuthorizer(t);
  const includeRequestBodyInCheck = { maxRequestBytes: 8 };
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: manifests(http(guard.port, { includeRequestBodyInCheck })),
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const reply = await wire.ask('POST /guarded HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789');
  t.equal(reply.status, 413);
  t.same(guard.asked, []);
});

t.test('gRPC: an answer allows or denies requests and connections', async t => {
  let allow = true;
  const guard = await startGrpcAuthorizer(t, () =>
    allow ? OK : { status: { code: 7 }, denied: { status: { code: 429 }, body: 'short and stout' } },
  );
  const provider = { envoyExtAuthzGrpc: { service: '127.0.0.1', port: guard.port } };
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(provider) });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask(get('/guarded'))).status, 200);
  t.match(guard.checks[0]?.attributes.source, { principal: 'spiffe://cluster.local/ns/foo/sa/sleep' });
  allow = false;
  const denied = await wire.ask(get('/guarded'));
  t.equal(denied.status, 429);
  t.equal(denied.body, 'short and stout');
});

t.test('TCP: the provider is asked before the app hears a byte', async t => {
  let allow = true;
  const guard = await startGrpcAuthorizer(t, () => (allow ? OK : { status: { code: 7 } }));
  const echo = await startTcpApp(t, socket => socket.pipe(socket));
  const provider = { envoyExtAuthzGrpc: { service: '127.0.0.1', port: guard.port } };
  const sidecar = await startSidecar(t, {
    certs,
    app: echo.port,
    manifests: manifests(provider),
    flags: ['--protocol', `${echo.port}=tcp`, '--explain-denials'],
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  wire.socket.write('hello');
  t.equal(await wire.until(bytes => (bytes.length >= 5 ? bytes.toString() : null)), 'hello');
  t.equal(guard.checks.length, 1);
  t.equal(guard.checks[0]?.attributes.request?.http, undefined, 'no request is in the check');
  allow = false;
  const refused = await wireTls(t, sidecar.ports.inbound, client);
  refused.socket.write('hello');
  await t.rejects(refused.until(bytes => (bytes.length > 0 ? bytes : null)));
  t.equal(echo.connections(), 1);
  t.match(await sidecar.access.take(line => line.policy_decision === 'deny'), {
    policy: 'foo/ask',
    connection_termination_details: 'ext_authz_denied',
    policy_trace: [/^CUSTOM foo\/ask rule 0: /],
  });
});

t.test('a provider that is not there: 403, or the request passes with failOpen', async t => {
  const provider = http(1);
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(provider) });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask(get('/guarded'))).status, 403);
  t.match(await sidecar.access.take(line => line.response_code === 403), {
    response_code_details: 'ext_authz_error',
  });
  await sidecar.configure(manifests(http(1, { failOpen: true })));
  t.equal((await wire.ask(get('/guarded'))).status, 200);
  await sidecar.configure(manifests({ ...provider, name: 'other' }));
  t.equal((await wire.ask(get('/guarded'))).status, 403, 'a provider that no mesh config has');
});

t.test('while the provider thinks, the client may go and the configuration may change', async t => {
  const waiting: ServerResponse[] = [];
  const wakes: (() => void)[] = [];
  const guard = await startAuthorizer(t, (_, response) => {
    waiting.push(response);
    for (const wake of wakes.splice(0)) wake();
  });
  const asked = async (count: number): Promise<void> => {
    while (waiting.length < count) await new Promise<void>(resolve => wakes.push(resolve));
  };
  const open = inMode('PERMISSIVE', http(guard.port));
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: open });
  const gone = await wirePlain(t, sidecar.ports.inbound);
  gone.socket.write(get('/guarded/gone'));
  await asked(1);
  gone.socket.resetAndDestroy();
  t.match(await sidecar.access.take(line => line.path === '/guarded/gone'), { response_flags: 'DC' });
  const wire = await wirePlain(t, sidecar.ports.inbound);
  const reply = wire.ask(get('/guarded/changed'));
  await asked(2);
  const nobody = resource('AuthorizationPolicy', 'nobody', { action: 'DENY', rules: [{}] });
  await sidecar.configure(inMode('PERMISSIVE', http(guard.port), nobody));
  waiting[1]?.end();
  await asked(3);
  waiting[2]?.end();
  t.equal((await reply).status, 403, 'what is in force when the answer comes decides');
  const path = wire.ask(get('/guarded//a'));
  await asked(4);
  const merging = JSON.stringify({
    kind: 'MeshConfig',
    pathNormalization: { normalization: 'MERGE_SLASHES' },
    extensionProviders: [{ name: 'guard', ...http(guard.port) }],
  });
  const notThere = resource('AuthorizationPolicy', 'not-there', {
    action: 'DENY',
    rules: [{ to: [{ operation: { paths: ['/guarded/a'] } }] }],
  });
  await sidecar.configure(open.replace(/^.*\n/, `${merging}\n`).concat('\n---\n', notThere));
  waiting[3]?.end();
  await asked(5);
  waiting[4]?.end();
  t.equal((await path).status, 403, 'and so does its path normalisation');
});
