import t, { type Test } from 'tap';
import { temporaryFolder, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { type Sidecar, startSidecar } from '../sidecar.ts';
import { listensFirst, NGINX_PORT, startNginx, startSaysWho, WHO_PORT } from './apps.ts';
import { type Host, type Hosts, missingForHosts, OUTRIDER, startHosts } from './hosts.ts';

t.setTimeout(120_000);

const skip = missingForHosts('iptables-restore', 'nft', 'nginx', 'curl', 'openssl') ?? false;
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');

/** The client host's further addresses. */
const SECOND = '10.99.0.3';
const SECOND_6 = 'fd00:99::3';
/** Nobody listens there. */
const DEAD_PORT = 8099;

const PERMISSIVE = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: PERMISSIVE}}
`;
const ENDPOINTS = ['10.99.0.2', 'fd00:99::2'].map(
  (address, index) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin${index}, namespace: foo}
spec:
  hosts: [httpbin${index}.foo]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - {number: ${NGINX_PORT}, name: http, protocol: HTTP}
    - {number: ${WHO_PORT}, name: tcp, protocol: TCP}
  endpoints: [{address: "${address}", serviceAccount: httpbin}]
`,
);

const LISTENERS =
  '--inbound 0.0.0.0:15006 --outbound 127.0.0.1:15001 --admin 127.0.0.1:15000 ' +
  '--health 0.0.0.0:15021 --telemetry 0.0.0.0:15020 --hbone 0.0.0.0:15008';

interface Started extends Hosts {
  readonly sidecar: Sidecar;
}

interface Wanted {
  readonly backend?: string;
  readonly manifests?: string;
  /** Before the sidecar starts. */
  readonly spoil?: (server: Host) => Promise<unknown>;
}

async function start(t: Test, { backend = 'iptables', manifests = '', spoil }: Wanted): Promise<Started> {
  const folder = temporaryFolder(t);
  const hosts = await startHosts(t, folder);
  const { client, server } = hosts;
  await client.must('ip', 'addr', 'add', `${SECOND}/24`, 'dev', 'wire');
  await client.must('ip', 'addr', 'add', `${SECOND_6}/64`, 'dev', 'wire', 'nodad', 'preferred_lft', '0');
  // As strict as a host can be about where packets come from.
  for (const name of ['all', 'lo', 'wire'])
    await server.must('sysctl', '-q', '-w', `net.ipv4.conf.${name}.rp_filter=1`);
  await startNginx(server, folder);
  await startSaysWho(server);
  t.same(await server.outrider('capture', 'apply', '--backend', backend, '--mode', 'tproxy'), DONE);
  await spoil?.(server);
  const sidecar = await sidecarOn(t, server, 'tproxy', `${PERMISSIVE}---\n${manifests}`, httpbin);
  return { ...hosts, sidecar };
}

function sidecarOn(
  t: Test,
  host: Host,
  mode: 'redirect' | 'tproxy',
  manifests: string,
  identity: typeof httpbin,
): Promise<Sidecar> {
  const powers = ['dac_read_search', ...(mode === 'tproxy' ? ['net_admin'] : [])];
  return startSidecar(t, {
    certs: temporaryIdentity(t, identity),
    manifests,
    flags: [...LISTENERS.split(' '), '--capture', mode],
    launcher: host.launcher(OUTRIDER, ...powers),
  });
}

const DONE = { code: 0, stdout: '', stderr: '' };

/** From an address of the client host, past its own rules; several requests go over one connection. */
async function asks(host: Host, from: string, ...urls: readonly string[]): Promise<string[]> {
  const { stdout } = await host.run(['curl', '-sS', '-m', '25', '--interface', from, ...urls], {
    uid: OUTRIDER,
  });
  return stdout.trimEnd().split('\n');
}

function urlOf(address: string, path: string, port = NGINX_PORT): string {
  return `http://${address.includes(':') ? `[${address}]` : address}:${port}${path}`;
}

for (const backend of ['iptables', 'nft', 'netlink'])
  t.test(`${backend}: the app sees who asks, through mutual TLS`, { skip }, async t => {
    const { client, server, sidecar } = await start(t, { backend });
    t.same(await client.outrider('capture', 'apply', '--backend', backend), DONE);
    await sidecarOn(t, client, 'redirect', ENDPOINTS.join('---'), sleep);
    for (const [from, to] of [
      [client.four, server.four],
      [client.six, server.six],
    ] as const) {
      t.match(await client.curl(urlOf(to, '/who')), { code: 0, stdout: `${from}\n` }, `HTTP from ${from}`);
      t.match(await sidecar.access.take(line => line.path === '/who'), {
        source_principal: 'spiffe://cluster.local/ns/foo/sa/sleep',
        upstream_host: from.includes(':') ? `[::1]:${NGINX_PORT}` : `127.0.0.1:${NGINX_PORT}`,
      });
      const said = await client.run(listensFirst(to, WHO_PORT), { uid: 65_534 });
      const mapped = from.includes(':') ? from : `::ffff:${from}`;
      t.match(said, { code: 0, stdout: `you are ${mapped}` }, `TCP from ${from}`);
    }
    t.same(sidecar.other.all, []);
    t.notOk(sidecar.log.all.some(line => line.level === 'warn'));
  });

t.test('inside HBONE too', { skip }, async t => {
  const { client, server, sidecar } = await start(t, {});
  const tunnel = 'labels: {networking.istio.io/tunnel: http}, ';
  const manifests = ENDPOINTS.map(entry => entry.replace('serviceAccount', `${tunnel}serviceAccount`));
  t.same(await client.outrider('capture', 'apply'), DONE);
  await sidecarOn(t, client, 'redirect', manifests.join('---'), sleep);
  for (let count = 0; count < 2; count++)
    t.match(await client.curl(urlOf(server.four, '/who')), { code: 0, stdout: `${client.four}\n` });
  const said = await client.run(listensFirst(server.four, WHO_PORT), { uid: 65_534 });
  t.match(said, { code: 0, stdout: `you are ::ffff:${client.four}` });
  const line = await sidecar.access.take(line => line.path === '/who');
  t.match(line, { downstream_local_address: `${server.four}:${NGINX_PORT}` });
  t.match(await connectionsOf(server), /"protocol": ?"hbone"/);
});

async function connectionsOf(host: Host): Promise<string> {
  return host.must('curl', '-sS', 'http://127.0.0.1:15000/connections');
}

for (const passthrough of [false, true]) {
  const where = passthrough ? "at the pod's own address" : 'on localhost';
  const mesh = passthrough ? 'kind: MeshConfig\ninboundTrafficPolicy: {mode: PASSTHROUGH}\n---' : '';
  const manifests = `${mesh}${ENDPOINTS.join('---')}`;
  t.test(`${where}: no connection has another client's request`, { skip }, async t => {
    const { client, server, sidecar } = await start(t, { manifests });
    const pairs = [
      [client.four, server.four],
      [SECOND, server.four],
      [client.six, server.six],
      [SECOND_6, server.six],
    ] as const;
    for (let round = 0; round < 3; round++) {
      const said = await Promise.all(
        pairs.map(([from, to]) => asks(client, from, ...Array(4).fill(urlOf(to, '/whose')))),
      );
      for (const [index, [from]] of pairs.entries())
        t.same(
          said[index],
          [1, 2, 3, 4].map(count => `${from} ${round * 4 + count}`),
          `${from}: one connection, its own, kept from one of the client's to the next`,
        );
    }
    const { upstream_host } = await sidecar.access.take(({ downstream_remote_address: from }) =>
      String(from).startsWith(client.four),
    );
    t.match(upstream_host, passthrough ? server.four : '127.0.0.1');

    for (const to of [server.four, server.six]) {
      const refused = urlOf(to, '/', DEAD_PORT);
      t.match(await client.run(['curl', '-s', '-w', '%{http_code}', refused], { uid: OUTRIDER }), {
        stdout: /503$/,
      });
      t.match(await sidecar.access.take(line => line.response_code === 503), {
        upstream_transport_failure_reason: 'ECONNREFUSED',
      });
    }

    const own = await server.run(['curl', '-sS', urlOf(server.four, '/who')], { uid: 65_534 });
    t.match(own, { code: 0, stdout: `${server.four}\n` }, 'an app on the host itself');
    const proxy = ['curl', '-sS', '-x', 'http://127.0.0.1:15001'];
    const itself = await server.run([...proxy, `http://httpbin0.foo:${NGINX_PORT}/who`], { uid: 65_534 });
    t.match(itself, { code: 0, stdout: `${server.four}\n` }, 'a service that calls itself through the mesh');
    t.match(
      await client.run(['curl', '-sS', urlOf(server.four, '/healthz/ready', 15_021)]),
      { code: 0 },
      'probes pass',
    );
    t.same(sidecar.other.all, []);
    t.notOk(sidecar.log.all.some(line => line.level === 'warn'));
  });
}

t.test('what DNAT leads from localhost to another host goes there as before', { skip }, async t => {
  const { client, server } = await start(t, {});
  await startSaysWho(client);
  for (const name of ['all', 'lo', 'wire'])
    await server.must('sysctl', '-q', '-w', `net.ipv4.conf.${name}.route_localnet=1`);
  const nat = ['iptables', '-t', 'nat', '-A'];
  const there = ['-j', 'DNAT', '--to-destination', `${client.four}:${WHO_PORT}`];
  await server.must(...nat, 'OUTPUT', '-p', 'tcp', '-d', '127.0.0.1', '--dport', '9999', ...there);
  await server.must(...nat, 'POSTROUTING', '-o', 'wire', '-j', 'MASQUERADE');
  const said = await server.run(listensFirst('127.0.0.1', 9999), { uid: 65_534 });
  t.match(said, { code: 0, stdout: `you are ::ffff:${server.four}` });
});

/** Sends a request and resets its connection; its kernel has sent both when it is gone. */
function resets(address: string): readonly string[] {
  const program = `
const socket = require('node:net').connect(${NGINX_PORT}, '${address}', () => {
  socket.write('GET /nobody HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n', () => socket.resetAndDestroy());
});`;
  return [process.execPath, '-e', program];
}

t.test(
  'a request whose client is gone before it was seen is no request from localhost',
  { skip },
  async t => {
    const { client, server, sidecar } = await start(t, {});
    for (const to of [server.four, server.six]) {
      process.kill(sidecar.child.pid ?? 0, 'SIGSTOP');
      t.match(await client.run(resets(to), { uid: OUTRIDER }), { code: 0 });
      process.kill(sidecar.child.pid ?? 0, 'SIGCONT');
      await sidecar.access.take(line => line.response_code_details === 'connection_reset');
    }
    t.same(await asks(client, client.four, urlOf(server.four, '/who')), [client.four], 'others are served');
    t.notOk(sidecar.access.all.some(line => line.path === '/nobody'));
  },
);

t.test(
  'without the routes the app is reached as from localhost, and the log says so once',
  { skip },
  async t => {
    const { client, server, sidecar } = await start(t, {
      spoil: host => host.must('ip', 'rule', 'del', 'priority', '1337', 'from', '127.0.0.0/8'),
    });
    t.same(await asks(client, client.four, urlOf(server.four, '/who'), urlOf(server.four, '/who')), [
      '127.0.0.1',
      '127.0.0.1',
    ]);
    t.same(await asks(client, SECOND, urlOf(server.four, '/who')), ['127.0.0.1']);
    t.same(await asks(client, SECOND_6, urlOf(server.six, '/who')), [SECOND_6], 'the other family has them');
    t.match(
      sidecar.log.all.filter(line => line.level === 'warn'),
      [{ msg: /does not see/, reason: /capture apply --mode tproxy/ }],
    );
  },
);
