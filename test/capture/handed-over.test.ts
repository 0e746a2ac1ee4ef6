/** TPROXY by a sidecar without any capability of the network: the listener is transparent before it gets it. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { temporaryFolder, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { type SidecarOptions, spawnSidecar } from '../sidecar.ts';
import { NGINX_PORT, startNginx } from './apps.ts';
import { type Host, missingForHosts, OUTRIDER, startHosts } from './hosts.ts';

t.setTimeout(120_000);

const skip = missingForHosts('iptables-restore', 'nginx', 'curl', 'openssl', 'python3') ?? false;
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');

const PERMISSIVE = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: PERMISSIVE}}
`;
const LISTENERS =
  '--outbound 127.0.0.1:15001 --admin 127.0.0.1:15000 --health 0.0.0.0:15021 --telemetry 0.0.0.0:15020 ' +
  '--inbound 0.0.0.0:15006 --capture tproxy';

/** What systemd does with outrider.socket: opens both as root, makes them transparent, becomes what follows. */
const SYSTEMD = `
import fcntl, os, socket, sys
transparent = int(sys.argv[1])
held = []
for family, host, level, option in (
    (socket.AF_INET, '0.0.0.0', socket.SOL_IP, 19),
    (socket.AF_INET6, '::', socket.IPPROTO_IPV6, 75),
):
    one = socket.socket(family)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.setsockopt(level, option, transparent)
    one.bind((host, 15006))
    one.listen(4096)
    held.append(fcntl.fcntl(one, fcntl.F_DUPFD, 10))
for index, descriptor in enumerate(held):
    os.dup2(descriptor, 3 + index)
    os.close(descriptor)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='inbound:inbound')
os.execvp(sys.argv[2], sys.argv[2:])
`;

/** The one capability is for the certificates of this test, which are root's. */
function onSocketsOf(t: Test, server: Host, transparent: boolean): SidecarOptions {
  const outside = server.launcher(0);
  const user = server.launcher(OUTRIDER, 'dac_read_search').slice(outside.length);
  return {
    certs: temporaryIdentity(t, httpbin),
    manifests: PERMISSIVE,
    flags: LISTENERS.split(' '),
    launcher: [...outside, 'python3', '-c', SYSTEMD, transparent ? '1' : '0', ...user],
  };
}

t.test(
  'a transparent socket that is handed over takes TPROXY connections, without a capability',
  { skip },
  async t => {
    const folder = temporaryFolder(t);
    const { client, server } = await startHosts(t, folder);
    await startNginx(server, folder);
    t.match(await server.outrider('capture', 'apply', '--mode', 'tproxy'), { code: 0, stderr: '' });
    const sidecar = spawnSidecar(t, onSocketsOf(t, server, true));
    t.match(await sidecar.ready, { inbound: 15_006 });
    const status = readFileSync(`/proc/${sidecar.pid}/status`, 'utf8');
    t.match(status, /^CapEff:\t0000000000000004$/m, 'dac_read_search alone');

    for (const [host, to, from, sees] of [
      [server.four, server.four, client.four, '127.0.0.1'],
      [`[${server.six}]`, server.six, client.six, '::1'],
    ] as const) {
      const said = await client.curl(`http://${host}:${NGINX_PORT}/who`);
      t.match(said, { code: 0, stdout: `${sees}\n` }, `${to}: the app sees localhost`);
      const line = await sidecar.access.take(({ path }) => path === '/who');
      t.match(line.downstream_local_address, to, 'it knows where the connection was going');
      t.match(line.downstream_remote_address, from, 'and from whom');
    }
    t.match(
      sidecar.log.all.filter(({ level }) => level === 'warn'),
      [{ msg: /does not see/, reason: /need the capability NET_ADMIN/ }],
    );
    t.notOk(sidecar.log.all.some(({ level }) => level === 'error'));
  },
);

t.test('one that is not transparent is refused in a line that names both ways', { skip }, async t => {
  const { server } = await startHosts(t, temporaryFolder(t));
  const sidecar = spawnSidecar(t, onSocketsOf(t, server, false));
  t.same(await sidecar.exited, { code: 1, signal: null });
  t.match(
    sidecar.log.all.filter(({ level }) => level === 'error'),
    [{ msg: /^cannot take TPROXY connections on the socket of descriptor 3: .*CAP_NET_ADMIN.*Transparent=/ }],
  );
});
