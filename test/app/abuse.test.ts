import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { get, startApp, startTcpApp, startTlsPeer, wirePlain, wireTls } from '../peers.ts';
import { mutual, service } from '../proxy/services.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';

t.setTimeout(180_000);

const MIB = 1024 * 1024;
const authority = await testAuthority();
const own = await testIdentity(authority, 'foo/httpbin');
const client = await testIdentity(authority, 'foo/sleep');
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;
const FAST = ['--handshake-timeout-ms', '500', '--header-timeout-ms', '500', '--detect-timeout-ms', '500'];

function descriptors(sidecar: Sidecar): number {
  return readdirSync(`/proc/${sidecar.pid}/fd`).length;
}

/** Resident memory in bytes. */
function resident(sidecar: Sidecar): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${sidecar.pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

/** Waits until no connection is open; then `base` descriptors should be. @returns how many are */
async function settled(sidecar: Sidecar, base = Number.POSITIVE_INFINITY): Promise<number> {
  let open = -1;
  for (let i = 0; i < 2_000 && (open !== 0 || descriptors(sidecar) > base); i++)
    open = await sidecar.metric('outrider_connections_open');
  return descriptors(sidecar);
}

/** Opens a connection, does something to it, and waits until it is closed. */
function attack(port: number, act: (socket: Socket) => void): Promise<void> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    socket.on('error', () => {}).on('close', () => resolve());
    socket.once('connect', () => act(socket));
    socket.resume();
  });
}

/** Runs `count` attacks, 50 at a time. */
async function barrage(count: number, one: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: 50 }, lane));
}

const HELLO = await helloBytes();

/** What a real client says first. */
async function helloBytes(): Promise<Buffer> {
  const first = Promise.withResolvers<Buffer>();
  const app = await startTcpApp(t, socket => socket.once('data', (bytes: Buffer) => first.resolve(bytes)));
  connectSecure({ port: app.port, host: '127.0.0.1' }).on('error', () => {});
  return first.promise;
}

/** What 2,000 clients do that do not mean well. */
const ATTACKS: readonly ((socket: Socket) => void)[] = [
  socket => socket.destroy(),
  socket => socket.resetAndDestroy(),
  socket => socket.end(),
  socket => socket.end(randomBytes(300)),
  socket => socket.write(randomBytes(3_000)),
  socket => socket.end(get('/')),
  socket => socket.write(HELLO, () => socket.resetAndDestroy()),
  socket => socket.end(HELLO.subarray(0, 40)),
  socket => socket.end(HELLO.subarray(0, HELLO.length - 1)),
  socket => socket.end(Buffer.concat([HELLO, randomBytes(500)])),
  socket => socket.end(mangled(HELLO)),
  socket => socket.end(mangled(HELLO)),
];

/** A few bytes changed. */
function mangled(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes);
  for (let i = 0; i < 4; i++)
    changed[Math.floor(Math.random() * changed.length)] = Math.floor(Math.random() * 256);
  return changed;
}

t.test('2,000 aborted handshakes and garbage connections leave nothing behind', async t => {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, own);
  const flags = [...FAST, '--access-log', 'off'];
  const sidecar = await startSidecar(t, { certs, app: app.port, manifests: STRICT, flags });
  const { inbound } = sidecar.ports;
  const round = async (count: number): Promise<void> => {
    await barrage(count, i => attack(inbound, ATTACKS[i % ATTACKS.length]!));
    await settled(sidecar);
  };
  t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
  await round(4_000); // heaps grow to their working size
  const base = await settled(sidecar);
  const memory = resident(sidecar);
  await round(2_000);
  t.ok((await settled(sidecar, base)) <= base, 'descriptors are back');
  const grown = resident(sidecar) - memory;
  t.ok(grown < 32 * MIB, `${grown} bytes`); // 2,000 that were kept would be some 120 MB
  t.equal((await (await wireTls(t, inbound, client)).ask(get('/'))).status, 200);
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
});

t.test('random bytes at every stage end that connection at most', async t => {
  const app = await startApp(t);
  const certs = temporaryIdentity(t, own);
  const flags = [...FAST, '--access-log', 'off'];
  const strict = await startSidecar(t, { certs, app: app.port, manifests: STRICT, flags });
  const open = await startSidecar(t, { certs, app: app.port, flags });
  const { certChainPem: cert, keyPem: key } = client;

  /** Bytes after the handshake, as application data. */
  const inside = (port: number, bytes: () => (string | Buffer)[]): Promise<void> =>
    new Promise(resolve => {
      const socket = connectSecure({ host: '127.0.0.1', port, cert, key, rejectUnauthorized: false });
      socket.on('error', () => {}).on('close', () => resolve());
      socket.once('secureConnect', () => {
        for (const piece of bytes()) socket.write(piece);
        socket.end();
      });
      socket.resume();
    });
  /** Bytes after the handshake, under TLS: records that nobody can decrypt. */
  const under = (port: number): Promise<void> =>
    new Promise(resolve => {
      const raw = connect({ host: '127.0.0.1', port });
      const socket = connectSecure({ socket: raw, cert, key, rejectUnauthorized: false });
      socket.on('error', () => {});
      raw.on('error', () => {}).on('close', () => resolve());
      socket.once('secureConnect', () => raw.write(randomBytes(200), () => raw.end()));
    });
  const PREFIXES = [
    'GET / HTTP/1.1\r\n',
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n',
    '',
    'G',
  ];
  const piece = (): Buffer => randomBytes(1 + Math.floor(Math.random() * 2_000));

  await barrage(400, i => {
    const prefix = PREFIXES[i % PREFIXES.length]!;
    switch (i % 5) {
      case 0:
        return inside(strict.ports.inbound, () => [prefix, piece(), piece()]);
      case 1:
        return under(strict.ports.inbound);
      case 2:
        return inside(open.ports.inbound, () => [prefix, piece()]);
      case 3:
        return attack(open.ports.inbound, socket =>
          socket.end(Buffer.concat([Buffer.from(prefix), piece()])),
        );
      default:
        return attack(open.ports.outbound, socket =>
          socket.end(Buffer.concat([Buffer.from(prefix), piece()])),
        );
    }
  });
  for (const sidecar of [strict, open]) {
    t.equal((await (await wireTls(t, sidecar.ports.inbound, client)).ask(get('/'))).status, 200);
    t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
    t.same(sidecar.other.all, []);
    t.same(
      sidecar.log.all.filter(line => line.level === 'error'),
      [],
    );
  }
});

t.test('nor does what an app or a peer answers', async t => {
  const HEADS = [
    'HTTP/1.1 200 OK\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100),
    '',
  ];
  let answers = 0;
  const answer = (): Buffer =>
    Buffer.concat([Buffer.from(HEADS[answers++ % HEADS.length]!), randomBytes(500)]);
  const rude = await startTcpApp(t, socket =>
    socket.on('data', () => {
      if (answers % 3 === 0) socket.end(answer());
      else if (answers % 3 === 1) socket.write(answer(), () => socket.resetAndDestroy());
      else socket.write(answer(), () => socket.destroy());
    }),
  );
  const rudePeer = await startTlsPeer(t, own, socket => {
    if (answers++ % 4 === 0) socket.end(randomBytes(100)); // before it was asked
    socket.on('data', () => socket.end(answer()));
  });
  const sidecar = await startSidecar(t, {
    certs: temporaryIdentity(t, client),
    app: rude.port,
    manifests: `kind: MeshConfig${service({
      host: 'rude.foo',
      endpoints: [rudePeer.port],
      policy: mutual('spiffe://cluster.local/ns/foo/sa/httpbin'),
    })}`,
    flags: [...FAST, '--access-log', 'off', '--response-timeout-ms', '500'],
  });
  const { inbound, outbound } = sidecar.ports;
  const request = get('/').replace('app.example', 'rude.foo');
  await barrage(200, i =>
    i % 2 === 0
      ? attack(outbound, socket => socket.end(request))
      : attack(inbound, socket => socket.end(request + request)),
  );
  const wire = await wirePlain(t, outbound);
  t.equal((await wire.ask(get('/').replace('app.example', 'localhost:1'))).status, 503);
  t.equal(await sidecar.metric('outrider_worker_restarts_total'), 0);
  t.same(sidecar.other.all, []);
  t.same(
    sidecar.log.all.filter(line => line.level === 'error'),
    [],
  );
  t.equal(
    await settled(sidecar, 0).then(() => sidecar.metric('outrider_connections_open')),
    1,
    'the one above',
  );
});
