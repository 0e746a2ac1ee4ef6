/**
 * Sessions are made and resumed, then something changes: nobody gets in, or is believed, whom a whole handshake would
 * not. Each row resumes before its change, so that it can fail.
 */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CRL, replaceFile } from '../../src/identity/folder.ts';
import {
  type IdentityPems,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  writeIdentityFolder,
} from '../certificates.ts';
import { mutual } from '../proxy/services.ts';
import {
  call,
  renamed,
  rotated,
  type Server,
  services,
  startServer,
  startWorld,
  VERSIONS,
  type Version,
  visit,
  type World,
} from '../resumption.ts';

t.setTimeout(240_000);

const DAY_MS = 86_400_000;
/** A session is not offered in the last minute of a certificate; so it is made when its row begins. */
const LIFE_MS = 100_000;
const now = Date.now();
const authority = await testAuthority({ days: 9 });
const own = await testIdentity(authority, 'foo/httpbin', { ttlMs: 7 * DAY_MS });
const next = await testIdentity(authority, 'foo/httpbin', { ttlMs: 7 * DAY_MS });
const sleep = await testIdentity(authority, 'foo/sleep', { ttlMs: 7 * DAY_MS });
const brief = (name: string) => (): Promise<IdentityPems> =>
  testIdentity(authority, name, { now: Date.now(), ttlMs: LIFE_MS });
const intermediate = await testIntermediate(authority, { now, days: 1 });
const below = await testIdentity(intermediate, 'foo/below', { now, ttlMs: 7 * DAY_MS });
const strangers = await testAuthority();
const foreign = await testIdentity(strangers, 'foo/httpbin');
const other = await testIdentity(authority, 'foo/other', { ttlMs: 7 * DAY_MS });

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const OTHER = 'spiffe://cluster.local/ns/foo/sa/other';

function policy(action: string, rule: string): string {
  return `
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: foo}
spec: {action: ${action}, rules: [${rule}]}
`;
}

const ONLY_FIRST = policy('ALLOW', '{when: [{key: connection.sni, values: [first.foo]}]}');

async function revoke(world: World, ...pems: IdentityPems[]): Promise<void> {
  const serials = pems.map(({ certChainPem }) => new X509Certificate(certChainPem).serialNumber);
  replaceFile(join(world.certs, CRL), await testCrl(authority, serials), 0o644);
  await rotated(world);
}

async function replace(world: World, pems: IdentityPems): Promise<void> {
  writeIdentityFolder(world.certs, pems);
  await rotated(world);
}

interface InboundRow {
  readonly change: string;
  readonly manifests?: string;
  readonly versions?: readonly Version[];
  readonly workers?: number;
  /** Connections of each kind, so that they meet every worker. */
  readonly times?: number;
  readonly client?: IdentityPems | (() => Promise<IdentityPems>);
  act(world: World): Promise<void>;
  /** The old session is shown to another sidecar of the same identity. */
  readonly elsewhere?: true;
  /** What the client shows afterwards, and for what name it asks. */
  readonly shows?: IdentityPems | null;
  readonly servername?: string;
  /** What becomes of a whole handshake, and so of the old session. */
  readonly outcome: number | 'refused';
  /** The old session is still one. */
  readonly resumes?: true;
}

const INBOUND: readonly InboundRow[] = [
  { change: 'nothing', act: async () => {}, outcome: 200, resumes: true },
  { change: 'the root is removed', act: world => replace(world, foreign), outcome: 'refused' },
  {
    change: 'the certificate expires',
    client: brief('foo/brief'),
    act: async world => world.later(LIFE_MS + 2_000),
    outcome: 'refused',
    resumes: true,
  },
  {
    change: 'the certificate of its CA expires',
    client: below,
    workers: 2,
    times: 8,
    act: async world => world.later(DAY_MS + 2_000),
    outcome: 'refused',
    resumes: true,
  },
  { change: 'the certificate is revoked', act: world => revoke(world, sleep), outcome: 'refused' },
  {
    change: 'policy denies',
    act: ({ sidecar }) =>
      sidecar.configure(`kind: MeshConfig\n${policy('DENY', '{from: [{source: {namespaces: [foo]}}]}')}`),
    outcome: 403,
    resumes: true,
  },
  {
    change: 'its trust domain is dropped',
    act: ({ sidecar }) => sidecar.configure('kind: MeshConfig\ntrustDomain: other.local\n'),
    outcome: 'refused',
  },
  { change: 'the own certificate is replaced', act: world => replace(world, next), outcome: 200 },
  {
    change: 'another listener, and no certificate',
    act: async () => {},
    elsewhere: true,
    shows: null,
    outcome: 'refused',
  },
  {
    change: 'another worker, and the certificate is revoked',
    workers: 2,
    times: 12,
    act: world => revoke(world, sleep),
    outcome: 'refused',
  },
  {
    change: 'another server name, where policy begins to look at it',
    act: ({ sidecar }) => sidecar.configure(`kind: MeshConfig\n${ONLY_FIRST}`),
    servername: 'other.foo',
    outcome: 403,
  },
  {
    change: 'another server name, where policy looks at it and TLS 1.3 is the least',
    manifests: `meshMTLS: {minProtocolVersion: TLSV1_3}\n${ONLY_FIRST}`,
    versions: ['TLSv1.3'],
    act: async () => {},
    servername: 'other.foo',
    outcome: 403,
    resumes: true,
  },
];

async function made(identity: IdentityPems | (() => Promise<IdentityPems>)): Promise<IdentityPems> {
  return typeof identity === 'function' ? identity() : identity;
}

for (const row of INBOUND) {
  const { versions = VERSIONS, times = 1, servername = 'first.foo' } = row;
  t.test(`inbound, ${row.change}`, async t => {
    const client = await made(row.client ?? sleep);
    const { shows = client } = row;
    const { manifests = '', workers = 1 } = row;
    const before = await startWorld(t, { pems: own, manifests, workers });
    const { inbound } = before.sidecar.ports;
    const sessions = new Map<Version, Buffer>();
    for (const version of versions) {
      const { session } = await call(t, inbound, { pems: client, version });
      for (let i = 0; i < times; i++) {
        const again = await call(t, inbound, { pems: client, version, session });
        t.match(again, { outcome: 200, resumed: true }, `${version} resumes before`);
      }
      sessions.set(version, renamed(session, 'first.foo', servername));
    }
    await row.act(before);
    const after = row.elsewhere ? await startWorld(t, { pems: own }) : before;
    const port = after.sidecar.ports.inbound;
    for (const version of versions) {
      const session = sessions.get(version);
      for (let i = 0; i < times; i++) {
        const whole = await call(t, port, { pems: shows, version, servername });
        t.match(whole, { outcome: row.outcome, resumed: false }, `${version}, a whole handshake`);
        const again = await call(t, port, { pems: shows, version, servername, session });
        t.match(
          again,
          { outcome: row.outcome, resumed: row.resumes ?? false },
          `${version}, the old session`,
        );
      }
    }
  });
}

t.test('inbound, no certificate: who is refused is given nothing to come back with', async t => {
  const { sidecar } = await startWorld(t, { pems: own });
  const { inbound } = sidecar.ports;
  for (const version of VERSIONS) {
    const good = await call(t, inbound, { pems: sleep, version });
    const again = await call(t, inbound, { pems: sleep, version, session: good.session });
    t.match(again, { outcome: 200, resumed: true }, `${version} resumes before`);
    for (const pems of [null, foreign]) {
      const { outcome, session } = await call(t, inbound, { pems, version });
      t.match({ outcome, session }, { outcome: 'refused', session: undefined }, version);
    }
  }
});

interface OutboundRow {
  readonly change: string;
  readonly workers?: number;
  readonly times?: number;
  readonly server?: IdentityPems | (() => Promise<IdentityPems>);
  act(world: World, servers: readonly Server[], t: Test): Promise<void>;
  readonly outcome: number | 'refused';
  readonly resumes?: true;
}

const OUTBOUND: readonly OutboundRow[] = [
  { change: 'nothing', act: async () => {}, outcome: 200, resumes: true },
  { change: 'the root is removed', act: world => replace(world, foreign), outcome: 'refused' },
  {
    change: 'the certificate expires',
    server: brief('foo/httpbin'),
    act: async world => world.later(LIFE_MS + 2_000),
    outcome: 'refused',
  },
  {
    change: 'the certificate of its CA expires',
    server: await testIdentity(intermediate, 'foo/httpbin', { now, ttlMs: 7 * DAY_MS }),
    act: async world => world.later(DAY_MS + 2_000),
    outcome: 'refused',
  },
  { change: 'the certificate is revoked', act: world => revoke(world, own), outcome: 'refused' },
  {
    change: 'another identity is expected',
    act: ({ sidecar }, servers) => sidecar.configure(`kind: MeshConfig\n${services(servers, mutual(OTHER))}`),
    outcome: 'refused',
  },
  {
    change: 'its trust domain is dropped',
    act: ({ sidecar }, servers) =>
      sidecar.configure(`kind: MeshConfig\ntrustDomain: other.local\n${services(servers, mutual(HTTPBIN))}`),
    outcome: 'refused',
  },
  { change: 'the own certificate is replaced', act: world => replace(world, next), outcome: 200 },
  {
    change: 'another listener, of another identity with the same ticket keys',
    act: async ({ sidecar }, servers, t) => {
      const ports = await Promise.all(
        servers.map(async ({ version }) => (await startServer(t, other, version)).port),
      );
      await sidecar.configure(`kind: MeshConfig\n${services(servers, mutual(HTTPBIN), ports)}`);
    },
    outcome: 'refused',
  },
  {
    change: 'another worker, and the certificate is revoked',
    workers: 2,
    times: 12,
    act: world => revoke(world, own),
    outcome: 'refused',
  },
  {
    change: 'another server name, under which somebody else answers',
    act: async ({ sidecar }, servers) => {
      for (const server of servers) server.present(other);
      const policy = `tls: {mode: ISTIO_MUTUAL, sni: other.example, subjectAltNames: [${HTTPBIN}]}`;
      await sidecar.configure(`kind: MeshConfig\n${services(servers, policy)}`);
    },
    outcome: 'refused',
  },
];

for (const row of OUTBOUND) {
  const { workers = 1, times = 1 } = row;
  t.test(`outbound, ${row.change}`, async t => {
    const shown = await made(row.server ?? own);
    const servers = await Promise.all(VERSIONS.map(version => startServer(t, shown, version)));
    const world = await startWorld(t, {
      pems: sleep,
      manifests: services(servers, mutual(HTTPBIN)),
      workers,
    });
    for (const server of servers) {
      for (let i = 0; i <= times; i++) t.equal((await visit(t, world, server)).outcome, 200);
      t.ok(server.resumed.includes(true), `${server.version} resumes before`);
    }
    await row.act(world, servers, t);
    for (const server of servers) {
      for (let i = 0; i < times; i++) {
        const { outcome, resumed } = await visit(t, world, server);
        t.equal(outcome, row.outcome, server.version);
        t.equal(resumed, row.resumes ?? false);
      }
    }
  });
}

t.test(
  'outbound, no certificate that was believed: nothing is kept of a server that was refused',
  async t => {
    const servers = await Promise.all(VERSIONS.map(version => startServer(t, other, version)));
    const world = await startWorld(t, { pems: sleep, manifests: services(servers, mutual(HTTPBIN)) });
    for (const server of servers) {
      for (let i = 0; i < 2; i++) {
        const { outcome, resumed } = await visit(t, world, server);
        t.match({ outcome, resumed }, { outcome: 'refused', resumed: false });
      }
      server.present(own);
      for (const resumed of [false, true]) {
        t.match(await visit(t, world, server), { outcome: 200, resumed });
      }
    }
  },
);
