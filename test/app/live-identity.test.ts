/** Open connections when the own identity changes: roots, revocation lists, and what changes nothing for them. */
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  type IdentityPems,
  temporaryFolder,
  testAuthority,
  testCrl,
  testIdentity,
  testIntermediate,
  writeIdentityFolder,
} from '../certificates.ts';
import { get, startApp, startTlsPeer, wirePlain, wireTls } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);
t.jobs = 2;

const PEER = 'spiffe://cluster.local/ns/foo/sa/peer';
const ours = await testAuthority();
const theirs = await testAuthority({ name: 'the other CA' });
const between = await testIntermediate(theirs);
const own = await testIdentity(ours, 'foo/httpbin');
const peer = await testIdentity(between, 'foo/peer');
const third = await testAuthority({ name: 'a third CA' });
const both = ours.rootPem + theirs.rootPem;

/** The serial number of a certificate as a list carries it. */
function serialOf(pem: string): string {
  const serial = new X509Certificate(pem).serialNumber;
  return Number.parseInt(serial.slice(0, 2), 16) >= 0x80 ? `00${serial}` : serial;
}

/** A list of each CA. */
async function lists(ofTheirs: readonly string[], ofBetween: readonly string[]): Promise<string> {
  return (await testCrl(ours, [])) + (await testCrl(theirs, ofTheirs)) + (await testCrl(between, ofBetween));
}

interface Change {
  readonly what: string;
  readonly rootPem?: string;
  readonly identity?: IdentityPems;
  readonly crl?: string;
  /** Why the peer's connections end; null = they stay. */
  readonly reason: string | null;
}

const NONE = await lists([], []);
const CHANGES: readonly Change[] = [
  { what: 'its root is taken out', rootPem: ours.rootPem, reason: 'untrusted' },
  { what: 'it is revoked', crl: await lists([], [serialOf(peer.certChainPem)]), reason: 'revoked' },
  { what: 'its CA is revoked', crl: await lists([serialOf(between.certPem)], []), reason: 'revoked' },
  { what: 'others are revoked', crl: await lists(['0a'], ['0b']), reason: null },
  {
    what: 'the bundle grows',
    rootPem: both + third.rootPem,
    crl: NONE + (await testCrl(third, [])),
    reason: null,
  },
  {
    what: 'the own certificate is a new one',
    identity: await testIdentity(ours, 'foo/httpbin'),
    reason: null,
  },
];

for (const { what, rootPem = both, identity = own, crl = NONE, reason } of CHANGES) {
  t.test(`${what}: connections from and to a peer ${reason === null ? 'stay' : 'end'}`, async t => {
    const dir = writeIdentityFolder(join(temporaryFolder(t), 'certs'), { ...own, rootPem: both });
    writeFileSync(join(dir, 'crl.pem'), NONE);
    const server = await startTlsPeer(t, peer, socket => {
      socket.on('data', bytes => socket.write(bytes));
    });
    const sidecar = await startSidecar(t, {
      certs: dir,
      app: (await startApp(t)).port,
      flags: ['--revalidation-grace-seconds', '0'],
      manifests: `kind: MeshConfig${service({ host: 'peer.foo', port: 5432, protocol: 'TCP', endpoints: [server.port], policy: mutual(PEER) })}`,
    });
    const inbound = await wireTls(t, sidecar.ports.inbound, peer);
    t.equal((await inbound.ask(get('/before'))).status, 200);
    const outbound = await wirePlain(t, sidecar.ports.outbound);
    t.equal((await outbound.connect('peer.foo:5432')).status, 200);
    const mine = await wireTls(t, sidecar.ports.inbound, own);
    t.equal((await mine.ask(get('/before'))).status, 200);

    writeIdentityFolder(dir, { ...identity, rootPem });
    writeFileSync(join(dir, 'crl.pem'), crl);
    await sidecar.log.take(line => line.msg === 'certificates replaced');
    const counts = async (): Promise<number[]> =>
      Promise.all(
        (['inbound', 'outbound'] as const).map(direction =>
          sidecar.metric(
            'outrider_connections_closed_total',
            reason === null ? { direction } : { direction, reason },
          ),
        ),
      );
    if (reason === null) {
      t.same(await counts(), [0, 0]);
      t.equal((await inbound.ask(get('/after'))).status, 200);
      outbound.send('still');
      t.equal((await outbound.take(5)).toString(), 'still');
    } else {
      t.equal(await inbound.rest(), '');
      t.equal(await outbound.rest(), '');
      t.same(await counts(), [1, 1]);
      t.match(await sidecar.log.take(line => line.msg === 'open connections end'), {
        cause: 'identity',
        inbound: { [reason]: 1 },
        outbound: { [reason]: 1 },
      });
      t.match(await sidecar.access.take(({ direction }) => direction === 'outbound'), {
        connection_termination_details: reason,
      });
    }
    t.equal((await mine.ask(get('/after'))).status, 200, 'others stay');
  });
}
