import { createServer } from 'node:http';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { claims as atNoon, jwks, KEYS, publicJwk, token } from '../identity/jwt-issuer.ts';
import { get, listenUntilEnd, startApp, valuesOf, wireTls } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(60_000);

const authority = await testAuthority();
const client = await testIdentity(authority, 'foo/sleep');
const app = await startApp(t);
const certs = temporaryIdentity(t, await testIdentity(authority, 'foo/httpbin'));
const KEY_SET = jwks(publicJwk(KEYS.rsa));
const LATER = { exp: 4_000_000_000 };

function claims(more: object = {}): object {
  return atNoon({ ...LATER, ...more });
}

function resource(kind: string, name: string, spec: object): string {
  return JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind,
    metadata: { name, namespace: 'foo' },
    spec,
  });
}

function manifests(rule: object, ...policies: readonly string[]): string {
  const jwtRules = [{ issuer: 'a', jwks: KEY_SET, ...rule }];
  return [
    resource('PeerAuthentication', 'strict', { mtls: { mode: 'STRICT' } }),
    resource('RequestAuthentication', 'ra', { jwtRules }),
    ...policies,
  ].join('\n---\n');
}

const ONLY_SOMEONE = resource('AuthorizationPolicy', 'someone', {
  rules: [{ from: [{ source: { requestPrincipals: ['a/someone'] } }] }],
});

t.test('a token decides: a good one passes, a bad one gets 401, none is left to policy', async t => {
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: manifests({}, ONLY_SOMEONE),
    flags: ['--explain-denials'],
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const good = token(claims());
  for (let i = 0; i < 3; i++) {
    const reply = await wire.ask(get('/', `authorization: Bearer ${good}`));
    t.equal(reply.status, 200);
    t.same(valuesOf(reply.received(), 'authorization'), [], 'the token stays here');
  }
  t.match(await sidecar.access.take(line => line.response_code === 200), {
    request_principal: 'a/someone',
    policy: 'foo/someone',
  });
  const nobody = await wire.ask(get('/'));
  t.equal(nobody.status, 403);
  t.match(await sidecar.access.take(line => line.response_code === 403), {
    response_code_details: 'rbac_access_denied_matched_policy[none]',
    policy_trace: [/requestPrincipals/],
  });
  const expired = await wire.ask(
    get('/x?q=1', `authorization: Bearer ${token(claims({ exp: 1_600_000_000 }))}`),
  );
  t.equal(expired.status, 401);
  t.equal(expired.body, 'Jwt is expired');
  t.match(
    expired.header('www-authenticate'),
    /^Bearer realm="https?:\/\/app\.example\/x\?q=1", error="invalid_token"$/,
  );
  const line = await sidecar.access.take(line => line.response_code === 401);
  t.match(line, {
    policy_decision: 'deny',
    policy: null,
    response_code_details: 'jwt_authn_access_denied{Jwt_is_expired}',
    policy_trace: [/Jwt is expired/],
  });
  t.equal((await wire.ask(get('/', `authorization: Bearer ${good}`))).status, 200, 'the connection lives on');
});

t.test('an unreadable token is 401 and nothing worse', async t => {
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests({}) });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"iss":"a","sub":"someone"}').toString('base64url')}.`;
  const publicKey = JSON.stringify(publicJwk(KEYS.rsa));
  const confused = token(claims(), {
    header: { alg: 'HS256' },
    key: { kty: 'oct', k: Buffer.from(publicKey).toString('base64url') },
  });
  const other = token(claims(), { header: { alg: 'ES256' }, key: KEYS.p256 });
  for (const text of ['x', 'a.b.c', '..', '\xff\xfe', none, confused, other, 'x'.repeat(50_000)]) {
    t.equal((await wire.ask(get('/', `authorization: Bearer ${text}`))).status, 401, text.slice(0, 40));
  }
  t.equal((await wire.ask(get('/'))).status, 200, 'without a token it passes: nothing requires one');
});

t.test(
  'a claim becomes a header, and what a client wrote in its place is gone for policy and app',
  async t => {
    const onlyGold = resource('AuthorizationPolicy', 'gold', {
      rules: [{ when: [{ key: 'request.headers[x-tier]', values: ['gold'] }] }],
    });
    const rule = { outputClaimToHeaders: [{ header: 'x-tier', claim: 'tier' }], forwardOriginalToken: true };
    const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(rule, onlyGold) });
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    for (const name of ['x-tier', 'X-Tier', 'X_Tier', 'x_tier']) {
      t.equal((await wire.ask(get('/', `${name}: gold`))).status, 403, `${name} without a token`);
    }
    const silver = `authorization: Bearer ${token(claims({ tier: 'silver' }))}`;
    t.equal((await wire.ask(get('/', 'x-tier: gold', silver))).status, 403);
    const gold = `authorization: Bearer ${token(claims({ tier: 'gold' }))}`;
    const reply = await wire.ask(get('/', 'x-tier: lead', gold, 'X_Tier: tin'));
    t.equal(reply.status, 200);
    t.same(valuesOf(reply.received(), 'x-tier'), ['gold']);
    t.same(valuesOf(reply.received(), 'x_tier'), []);
    t.same(valuesOf(reply.received(), 'authorization').length, 1, 'forwardOriginalToken');
  },
);

t.test(
  'keys are fetched from jwksUri before the first request, and again when the configuration names others',
  async t => {
    const fetched: string[] = [];
    const keys = createServer((request, response) => {
      fetched.push(request.url ?? '');
      response.end(request.url === '/one' ? KEY_SET : jwks(publicJwk(KEYS.otherRsa)));
    });
    const port = await listenUntilEnd(t, keys);
    const by = (path: string) => manifests({ jwks: undefined, jwksUri: `http://127.0.0.1:${port}${path}` });
    const sidecar = await startSidecar(t, { certs, app: app.port, manifests: by('/one') });
    const wire = await wireTls(t, sidecar.ports.inbound, client);
    const first = get('/', `authorization: Bearer ${token(claims())}`);
    const second = get('/', `authorization: Bearer ${token(claims(), { key: KEYS.otherRsa })}`);
    t.equal((await wire.ask(first)).status, 200);
    t.equal((await wire.ask(second)).status, 401);
    await sidecar.configure(by('/two'));
    t.equal((await wire.ask(first)).status, 401, 'a verdict by the old keys is forgotten');
    t.equal((await wire.ask(second)).status, 200);
    t.same([...new Set(fetched)], ['/one', '/two']);
  },
);

t.test('no trailer passes for a field that a token writes', async t => {
  const rule = { outputClaimToHeaders: [{ header: 'x-tier', claim: 'tier' }] };
  const trailers = await startApp(t, (_, response, request) =>
    response.end(JSON.stringify(request.rawTrailers)),
  );
  const sidecar = await startSidecar(t, { certs, app: trailers.port, manifests: manifests(rule) });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const chunked = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n';
  const reply = await wire.ask(`${chunked}X-Tier: gold\r\nx_tier: gold\r\nx-sum: 1\r\n\r\n`);
  t.equal(reply.body, '["x-sum","1"]');
});

t.test('a key set that cannot be had refuses every token and no request without one', async t => {
  const keys = createServer((_, response) => response.writeHead(500).end());
  const port = await listenUntilEnd(t, keys);
  const unreachable = manifests({ jwks: undefined, jwksUri: `http://127.0.0.1:${port}/` });
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: unreachable });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  t.equal((await wire.ask(get('/'))).status, 200);
  t.equal((await wire.ask(get('/', `authorization: Bearer ${token(claims())}`))).status, 401);
});

t.test('a key set that hangs holds up the start for its timeout and no longer', async t => {
  const port = await listenUntilEnd(
    t,
    createServer(() => {}),
  );
  const hanging = { jwks: undefined, jwksUri: `http://127.0.0.1:${port}/`, timeout: '0.3s' };
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(hanging) });
  const told = sidecar.log.all.map(({ msg }) => msg);
  const failed = sidecar.log.all.find(({ msg }) => msg === 'JWT keys cannot be had: tokens are refused');
  t.match(failed, { source: `http://127.0.0.1:${port}/`, reason: 'no answer within 300 ms' });
  t.ok(told.indexOf('JWT keys cannot be had: tokens are refused') < told.indexOf('ready'));
});

t.test('what is in force is shown without the secrets in it', async t => {
  const rule = { jwks: jwks({ ...KEYS.secret, kid: 'mine' }) };
  const other = resource('RequestAuthentication', 'other', {
    jwtRules: [{ issuer: 'b', jwksUri: 'http://me:quiet@127.0.0.1:1/keys' }],
  });
  const provider = {
    envoyExtAuthzHttp: {
      service: '127.0.0.1',
      port: 1,
      includeAdditionalHeadersInCheck: { 'x-api-key': 'hush' },
    },
  };
  const mesh = JSON.stringify({ kind: 'MeshConfig', extensionProviders: [{ name: 'guard', ...provider }] });
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: manifests(rule, mesh, other) });
  const { status, body } = await sidecar.get('admin', '/config_dump');
  t.equal(status, 200);
  t.match(body, /mine/, 'the key is named');
  t.notMatch(body, KEYS.secret.k);
  t.match(body, /127\.0\.0\.1:1\/keys/);
  t.notMatch(body, /quiet/);
  t.match(body, /x-api-key/);
  t.notMatch(body, /hush/);
});

t.test('a development run says in the answer what refused', async t => {
  const sidecar = await startSidecar(t, {
    certs,
    app: app.port,
    manifests: manifests({}, ONLY_SOMEONE),
    flags: ['--dev'],
  });
  const wire = await wireTls(t, sidecar.ports.inbound, client);
  const denied = await wire.ask(get('/'));
  t.match(denied.header('x-outrider-decision'), /missed=foo\/someone.*matched_policy\[none\]/);
  const refused = await wire.ask(get('/', 'authorization: Bearer x.y.z'));
  t.match(refused.header('x-outrider-decision'), /jwt_authn_access_denied/);
  const passed = await wire.ask(get('/', `authorization: Bearer ${token(claims())}`));
  t.equal(passed.header('x-outrider-decision'), null);
});
