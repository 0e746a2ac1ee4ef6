/** Whom either side refuses, and that the app behind gets nothing of it. */
import { deepEqual, equal, match } from 'node:assert/strict';
import { type IdentityPems, testAuthority, testIdentity } from '../certificates.ts';
import { startApp, startTcpApp, wirePlain } from '../peers.ts';
import { head } from './http1-rows.ts';
import { ask, openSession } from './http2-rows.ts';
import { envoyToOutrider, mesh, outriderToEnvoy, type Pair, type PairOptions } from './pair.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const OTHER = 'spiffe://cluster.local/ns/foo/sa/other';

type Options = Partial<PairOptions>;

/** Who is wrong, and how. */
interface Wrong {
  readonly what: string;
  options(): Promise<Options>;
}

interface Refusal {
  readonly wrong: Wrong;
  readonly direction: typeof TO_OUTRIDER | typeof TO_ENVOY;
  /** What an HTTP client gets. */
  readonly status: 403 | 503;
  readonly body: RegExp;
  /** The side that refuses says so. */
  told(pair: Pair): Promise<unknown>;
  /** By the request's handling, which TCP does not have. */
  readonly toldOfTcp?: Refusal['told'];
}

const SERVER_IS_ANOTHER: Wrong = {
  what: 'the server is another workload',
  options: async () => ({ server: await identity('foo/other') }),
};
const CLIENT_IS_ABROAD: Wrong = {
  what: 'the client is of another trust domain',
  options: async () => ({ client: await identity('spiffe://elsewhere.example/ns/foo/sa/sleep') }),
};
const CLIENT_IS_FORGED: Wrong = {
  what: 'the client is of another authority',
  options: async () => ({ client: await forged() }),
};
const CLIENT_IS_ANOTHER: Wrong = {
  what: 'the client is another workload, which policy does not allow',
  options: async () => ({ client: await identity('foo/other') }),
};
const CLIENT_IS_PLAIN: Wrong = {
  what: 'the client speaks plaintext to a STRICT port',
  options: async () => ({ plain: true }),
};

const REFUSALS: readonly Refusal[] = [
  {
    wrong: SERVER_IS_ANOTHER,
    direction: TO_OUTRIDER,
    status: 503,
    body: /^upstream connect error/,
    told: ({ envoy }) => envoy.access.take(l => /CERTIFICATE_VERIFY_FAILED/.test(l.server_refused ?? '')),
  },
  {
    wrong: SERVER_IS_ANOTHER,
    direction: TO_ENVOY,
    status: 503,
    body: new RegExp(`^upstream connect error: unexpected identity ${OTHER}$`),
    told: ({ outrider }) =>
      outrider.access.take(l => l.upstream_transport_failure_reason === `unexpected identity ${OTHER}`),
  },
  handshakeAtOutrider(CLIENT_IS_ABROAD, 'foreign_trust_domain'),
  handshakeAtEnvoy(CLIENT_IS_ABROAD),
  handshakeAtOutrider(CLIENT_IS_FORGED, 'untrusted'),
  handshakeAtEnvoy(CLIENT_IS_FORGED),
  {
    wrong: CLIENT_IS_ANOTHER,
    direction: TO_OUTRIDER,
    status: 403,
    body: /^RBAC: access denied$/,
    told: ({ outrider }) =>
      outrider.access.take(l => l.source_principal === OTHER && l.policy_decision === 'deny'),
  },
  {
    wrong: CLIENT_IS_ANOTHER,
    direction: TO_ENVOY,
    status: 403,
    body: /^RBAC: access denied$/,
    told: ({ envoy }) => envoy.access.take(l => /rbac_access_denied/.test(l.details ?? '')),
    toldOfTcp: ({ envoy }) => envoy.access.take(l => l.client === OTHER),
  },
  {
    wrong: CLIENT_IS_PLAIN,
    direction: TO_OUTRIDER,
    status: 503,
    body: /^upstream connect error/,
    told: ({ outrider }) => outrider.access.take(l => l.connection_security_policy === 'none'),
  },
  {
    wrong: CLIENT_IS_PLAIN,
    direction: TO_ENVOY,
    status: 503,
    body: /^upstream /,
    told: ({ envoy }) => envoy.access.take(l => l.flags === 'NR'),
  },
];

function handshakeAtOutrider(wrong: Wrong, reason: string): Refusal {
  return {
    wrong,
    direction: TO_OUTRIDER,
    status: 503,
    body: /^upstream connect error/,
    told: async ({ outrider }) =>
      equal((await outrider.metric('outrider_tls_handshakes_total', { reason })) > 0, true),
  };
}

function handshakeAtEnvoy(wrong: Wrong): Refusal {
  return {
    wrong,
    direction: TO_ENVOY,
    status: 503,
    body: /^upstream /,
    told: ({ envoy }) => envoy.access.take(l => /CERTIFICATE_VERIFY_FAILED/.test(l.client_refused ?? '')),
  };
}

export const REFUSAL_ROWS: readonly Row[] = REFUSALS.flatMap(refusal => [
  { ...common(refusal, 'HTTP/1.1'), run: stage => refuseRequest(stage, refusal) },
  { ...common(refusal, 'HTTP/2'), run: stage => refuseStream(stage, refusal) },
  { ...common(refusal, 'TCP'), run: stage => refuseBytes(stage, refusal) },
]);

function common({ wrong, direction }: Refusal, protocol: string): Omit<Row, 'run'> {
  return { peer: 'Envoy', protocol, direction, what: `refused: ${wrong.what}` };
}

async function refuseRequest(stage: Stage, refusal: Refusal): Promise<void> {
  const app = await startApp(stage);
  const pair = await start(stage, refusal, { app: app.port, spoken: 'http/1.1' });
  const wire = await wirePlain(stage, pair.entry);
  const reply = await wire.ask(head('GET', '/secret', 'authorization: Bearer secret'));
  deepEqual([reply.status, app.connections()], [refusal.status, 0], reply.body);
  match(reply.body, refusal.body);
  await refusal.told(pair);
}

async function refuseStream(stage: Stage, refusal: Refusal): Promise<void> {
  const app = await startTcpApp(stage, socket => socket.destroy());
  const pair = await start(stage, refusal, { app: app.port, spoken: 'http2' });
  const session = openSession(stage, pair.entry);
  const { headers, body } = await ask(session, { ':path': '/secret', authorization: 'Bearer secret' });
  deepEqual([headers[':status'], app.connections()], [refusal.status, 0], body.toString());
  match(body.toString(), refusal.body);
  await refusal.told(pair);
}

async function refuseBytes(stage: Stage, refusal: Refusal): Promise<void> {
  const heard: string[] = [];
  const app = await startTcpApp(stage, socket => socket.on('data', chunk => heard.push(String(chunk))));
  const pair = await start(stage, refusal, { app: app.port, spoken: 'tcp' });
  const wire = await wirePlain(stage, pair.entry);
  wire.send('secret');
  equal(await wire.rest(), '');
  await (refusal.toldOfTcp ?? refusal.told)(pair);
  deepEqual(heard, []);
}

async function start(stage: Stage, { wrong, direction }: Refusal, base: PairOptions): Promise<Pair> {
  const options = { ...base, ...(await wrong.options()) };
  return direction === TO_OUTRIDER ? envoyToOutrider(stage, options) : outriderToEnvoy(stage, options);
}

async function identity(spiffeId: string): Promise<IdentityPems> {
  return testIdentity((await mesh()).authority, spiffeId);
}

/** Trusts the mesh's servers, and has the right name from somebody whom they do not trust. */
async function forged(): Promise<IdentityPems> {
  const pems = await testIdentity(await testAuthority(), 'foo/sleep');
  return { ...pems, rootPem: pems.rootPem + (await mesh()).authority.certPem };
}
