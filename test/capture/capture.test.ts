import t, { type Test } from 'tap';
import { temporaryFolder, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { type Sidecar, type SidecarOptions, startSidecar } from '../sidecar.ts';
import {
  FIRST_PORT,
  listensFirst,
  NGINX_PORT,
  NGINX_TLS_PORT,
  PLAIN_PORT,
  SECRET,
  startNginx,
  startSpeaksFirst,
} from './apps.ts';
import { type Host, type Hosts, missingForHosts, OUTRIDER, OUTRIDER_COMMAND, startHosts } from './hosts.ts';

t.setTimeout(200_000);

const HTTPBIN = 'spiffe://cluster.local/ns/foo/sa/httpbin';
const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';
const VIP = '10.99.7.7';
const VIP_6 = 'fd00:99:7::7';
const DB_VIP = '10.99.7.8';
/** Nobody says what is spoken there. */
const AUTO_VIP = '10.99.7.9';

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;

const SERVICES = `
kind: MeshConfig
protocolDetectionTimeout: 1s
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin, namespace: foo}
spec:
  hosts: [httpbin.foo]
  addresses: [${VIP}, "${VIP_6}"]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.99.0.2, ports: {http: ${NGINX_PORT}}, serviceAccount: httpbin}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin6, namespace: foo}
spec:
  hosts: [httpbin6.foo]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: "fd00:99::2", ports: {http: ${NGINX_PORT}}, serviceAccount: httpbin}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: foo}
spec:
  hosts: [db.foo]
  addresses: [${DB_VIP}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: ${FIRST_PORT}, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.99.0.2, serviceAccount: httpbin}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: foo}
spec:
  hosts: [outside.example]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS, targetPort: ${NGINX_TLS_PORT}}]
  endpoints: [{address: 10.99.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: undeclared, namespace: foo}
spec:
  hosts: [undeclared.foo]
  addresses: [${AUTO_VIP}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: ${FIRST_PORT}, name: what}]
  endpoints: [{address: 10.99.0.2, serviceAccount: httpbin}]
`;

const skip = missingForHosts('iptables-restore', 'nft', 'nginx', 'curl', 'tcpdump', 'openssl') ?? false;
const authority = await testAuthority();
const httpbin = await testIdentity(authority, 'foo/httpbin');
const sleep = await testIdentity(authority, 'foo/sleep');

const LISTENERS = [
  '--inbound',
  '0.0.0.0:15006',
  '--outbound',
  '127.0.0.1:15001',
  '--admin',
  '127.0.0.1:15000',
];
const PROBED = ['--health', '0.0.0.0:15021', '--telemetry', '0.0.0.0:15020'];

interface On extends Pick<SidecarOptions, 'certs' | 'manifests' | 'nodeFlags'> {
  readonly mode?: 'redirect' | 'tproxy';
  readonly uid?: number;
}

function sidecarOn(
  t: Test,
  host: Host,
  { mode = 'redirect', uid = OUTRIDER, ...options }: On,
): Promise<Sidecar> {
  // A checkout may be where this user cannot read.
  const powers = ['dac_read_search', ...(mode === 'tproxy' ? ['net_admin'] : [])];
  return startSidecar(t, {
    ...options,
    flags: [...LISTENERS, ...PROBED, '--capture', mode],
    launcher: host.launcher(uid, ...powers),
  });
}

interface Mesh extends Hosts {
  readonly clientSide: Sidecar;
  readonly serverSide: Sidecar;
}

async function startMesh(t: Test, backend: string, mode: 'redirect' | 'tproxy'): Promise<Mesh> {
  const folder = temporaryFolder(t);
  const hosts = await startHosts(t, folder);
  const { client, server } = hosts;
  await startNginx(server, folder);
  await startSpeaksFirst(server);
  const rules = ['capture', 'apply', '--backend', backend];
  const applied = await Promise.all([
    client.outrider(...rules),
    server.outrider(...rules, '--mode', mode, '--exclude-inbound-ports', `${PLAIN_PORT},${NGINX_TLS_PORT}`),
  ]);
  t.same(applied, [DONE, DONE]);
  const [clientSide, serverSide] = await Promise.all([
    sidecarOn(t, client, { certs: temporaryIdentity(t, sleep), manifests: SERVICES }),
    sidecarOn(t, server, { certs: temporaryIdentity(t, httpbin), manifests: STRICT, mode }),
  ]);
  return { ...hosts, clientSide, serverSide };
}

const DONE = { code: 0, stdout: '', stderr: '' };
const PAGE = `${SECRET} from nginx\n`;

for (const backend of ['iptables', 'nft', 'netlink'] as const) {
  for (const mode of ['redirect', 'tproxy'] as const) {
    t.test(`${backend}, ${mode}: curl and nginx end up on mutual TLS`, { skip }, async t => {
      const mesh = await startMesh(t, backend, mode);
      const { client, server, clientSide, serverSide } = mesh;
      const heard = await mesh.listen();

      const urls = [
        ['the address of a service', `http://${VIP}/index.html`],
        ['the same in IPv6', `http://[${VIP_6}]/index.html`],
        ['an endpoint', `http://${server.four}:${NGINX_PORT}/index.html`],
        ['an endpoint in IPv6', `http://[${server.six}]:${NGINX_PORT}/index.html`],
      ] as const;
      for (const [what, url] of urls) {
        t.match(await client.curl(url), { code: 0, stdout: PAGE }, what);
        t.match(
          await serverSide.access.take(line => line.path === '/index.html'),
          { source_principal: SLEEP, destination_principal: HTTPBIN, destination_port: NGINX_PORT },
          what,
        );
      }
      const byHost = await client.curl(
        '--resolve',
        'httpbin6.foo:80:192.0.2.1',
        'http://httpbin6.foo/index.html',
      );
      t.match(byHost, { code: 0, stdout: PAGE }, 'a Host, wherever its name leads');
      t.match(await clientSide.access.take(l => l.authority === 'httpbin6.foo'), {
        upstream_host: `[${server.six}]:${NGINX_PORT}`,
        downstream_local_address: '192.0.2.1:80',
      });

      for (const address of [DB_VIP, server.four, AUTO_VIP]) {
        const said = await client.run(listensFirst(address, FIRST_PORT), { uid: 65_534 });
        t.match(
          said,
          { code: 0, stdout: `${SECRET} hello\nyou said thanks ${SECRET}` },
          `first word of ${address}`,
        );
      }

      const packets = (await heard()).toString('latin1');
      t.ok(packets.length > 10_000, 'the wire was heard');
      t.notOk(packets.includes(SECRET), 'and nothing could be read');
      t.same(clientSide.other.all, []);
      t.same(serverSide.other.all, []);

      await t.test('who is outside the mesh is refused', async t => {
        const plain = ['curl', '-sS', '-m', '10'];
        for (const at of [server.four, `[${server.six}]`]) {
          const outcome = await client.run([...plain, `http://${at}:${NGINX_PORT}/`], { uid: OUTRIDER });
          t.match(outcome, { code: /^(?:52|56)$/, stdout: '' }, at);
          const refused = await serverSide.access.take(line => line.response_flags === 'NR');
          t.match(refused, { destination_port: undefined, response_code_details: 'not_tls' }, at);
        }
      });

      await t.test('the sidecar leads nobody to itself', async t => {
        for (const [port, why] of [
          [15_006, 'loop'],
          [15_000, 'own_port'],
          [15_001, 'own_port'],
        ] as const) {
          const outcome = await client.run(['curl', '-sS', '-m', '10', `http://${server.four}:${port}/`], {
            uid: OUTRIDER,
          });
          t.not(outcome.code, 0);
          await serverSide.access.take(line => line.response_code_details === why);
        }
        const health = `http://${server.four}:15021/healthz/ready`;
        t.match(await client.run(['curl', '-sS', '-m', '10', health], { uid: OUTRIDER }), { code: 0 });
      });

      await t.test('what nobody declared is passed on untouched', async t => {
        const plain = await client.curl(`http://${server.four}:${PLAIN_PORT}/index.html`);
        t.match(plain, { code: 0, stdout: PAGE });
        const tls = ['--cacert', '/dev/null', '-k', '-v'];
        const own = await client.curl(...tls, `https://${server.four}:${NGINX_TLS_PORT}/index.html`);
        t.match(own, { code: 0, stdout: PAGE, stderr: /CN=outside\.example/ }, "the app's own TLS");
        const named = ['--resolve', 'outside.example:443:192.0.2.1', 'https://outside.example/index.html'];
        t.match(
          await client.curl('-k', ...named),
          { code: 0, stdout: PAGE },
          'by the name in its ClientHello',
        );
        t.match(await clientSide.access.take(line => line.requested_server_name === 'outside.example'), {
          upstream_host: `${server.four}:${NGINX_TLS_PORT}`,
          upstream_cluster: 'outbound|443||outside.example',
        });
      });

      await t.test('who knows the sidecar asks it as a proxy', async t => {
        const url = 'http://httpbin6.foo/index.html';
        t.match(await client.curl('-x', 'http://127.0.0.1:15001', url), { code: 0, stdout: PAGE });
      });

      await t.test('the app on the same host is reached as before', async t => {
        t.match(await server.curl(`http://127.0.0.1:${NGINX_PORT}/index.html`), { code: 0, stdout: PAGE });
      });
    });
  }
}

t.test('the app at the address of its host, and koffi where Node has no FFI', { skip }, async t => {
  const folder = temporaryFolder(t);
  const { client, server } = await startHosts(t, folder);
  await startNginx(server, folder);
  t.same(await server.outrider('capture', 'apply'), DONE);
  const permissive = STRICT.replace('STRICT', 'PERMISSIVE');
  const sidecar = await sidecarOn(t, server, {
    certs: temporaryIdentity(t, httpbin),
    manifests: `kind: MeshConfig\ninboundTrafficPolicy: {mode: PASSTHROUGH}\n---${permissive}`,
    nodeFlags: ['--no-experimental-ffi'],
  });
  const url = `http://${server.four}:${NGINX_PORT}/who`;
  t.match(await client.curl(url), { code: 0, stdout: '127.0.0.6\n' });
  t.match(await sidecar.access.take(line => line.path === '/who'), {
    upstream_host: `${server.four}:${NGINX_PORT}`,
    downstream_local_address: `${server.four}:${NGINX_PORT}`,
    downstream_remote_address: new RegExp(`^${client.four}:`),
  });
});

t.test('a server that speaks first is not past a policy on requests', { skip }, async t => {
  const { client, server } = await startHosts(t, temporaryFolder(t));
  await startSpeaksFirst(server);
  t.same(await server.outrider('capture', 'apply'), DONE);
  const mesh = 'kind: MeshConfig\nprotocolDetectionTimeout: 1s\n---';
  const permissive = STRICT.replace('STRICT', 'PERMISSIVE');
  const sidecar = await sidecarOn(t, server, {
    certs: temporaryIdentity(t, httpbin),
    manifests: `${mesh}${permissive}`,
  });
  const listens = listensFirst(server.four, FIRST_PORT);
  t.match(await client.run(listens), { code: 0, stdout: `${SECRET} hello\n` }, 'nobody declared the port');
  const gets = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gets, namespace: foo}
spec: {action: ALLOW, rules: [{to: [{operation: {methods: [GET], ports: ["${FIRST_PORT}"]}}]}]}
`;
  sidecar.writeManifests(`${mesh}${permissive}---${gets}`);
  await sidecar.log.take(line => line.msg === 'configuration replaced');
  t.notMatch((await client.run(listens)).stdout, SECRET, 'what is no request is not let in');
});

t.test('rules are there once however often they are applied, and go', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  const own = ['-A OUTPUT -p udp -j ACCEPT', '-N MINE', '-A MINE -p tcp -j ACCEPT'];
  for (const line of own) await client.must('iptables', '-t', 'nat', ...line.split(' '));
  const seen = async (): Promise<string> => {
    const tables: string[] = [];
    for (const save of ['iptables-save', 'ip6tables-save'])
      for (const table of ['nat', 'mangle']) tables.push(await client.must(save, '-t', table));
    for (const family of ['-4', '-6']) {
      tables.push(await client.must('ip', family, 'rule', 'list'));
      tables.push((await client.run(['ip', family, 'route', 'show', 'table', '133'])).stdout);
    }
    // Without a table of Outrider's own it fails.
    tables.push((await client.run(['nft', 'list', 'table', 'inet', 'outrider'])).stdout);
    return tables
      .join('')
      .replace(/^#.*\n/gm, '')
      .replace(/\[\d+:\d+\]/g, '');
  };
  const before = await seen();
  for (const backend of ['iptables', 'nft', 'netlink']) {
    const capture = async (...line: string[]): Promise<string> => {
      t.same(await client.outrider('capture', ...line, '--backend', backend), DONE);
      return seen();
    };
    t.equal(await capture('remove'), before, `${backend}: nothing to remove`);
    const once = await capture('apply');
    t.not(once, before);
    t.equal(await capture('apply'), once, `${backend}: again`);
    const ranges = '10.0.0.0/8,fd00::/8';
    const other = await capture('apply', '--mode', 'tproxy', '--exclude-outbound-ranges', ranges);
    t.not(other, once, `${backend}: the other way`);
    t.equal(await capture('apply'), once, `${backend}: and back`);
    t.equal(await capture('remove'), before, `${backend}: removed`);
  }
  for (const backend of ['iptables', 'nft', 'netlink', 'auto'])
    t.same(await client.outrider('capture', 'apply', '--backend', backend), DONE);
  t.same(await client.outrider('capture', 'remove'), DONE);
  t.equal(await seen(), before, 'whichever tool made them');
});

t.test('who may not write rules is told what is missing, in one line', { skip }, async t => {
  const { client } = await startHosts(t, temporaryFolder(t));
  for (const backend of ['iptables', 'nft', 'netlink']) {
    const command = [...OUTRIDER_COMMAND, 'capture', 'apply', '--backend', backend];
    const { code, stderr } = await client.run(['setpriv', '--bounding-set=-all', ...command]);
    t.equal(code, 1);
    t.match(stderr, /^outrider: capture: \S+: .+; needs the capabilities NET_ADMIN and NET_RAW\n$/);
    t.equal(stderr.split('\n').length, 2, stderr);
  }
});

t.test('connections of a sidecar that the rules take for the app end as a loop', { skip }, async t => {
  const folder = temporaryFolder(t);
  const { client, server } = await startHosts(t, folder);
  await startNginx(server, folder);
  t.same(await client.outrider('capture', 'apply'), DONE);
  const sidecar = await sidecarOn(t, client, {
    certs: temporaryIdentity(t, sleep),
    manifests: SERVICES,
    uid: 1338,
  });
  for (const url of [`http://${VIP}/index.html`, `http://${server.four}:${PLAIN_PORT}/index.html`]) {
    const { stdout } = await client.curl(url);
    t.notMatch(stdout, SECRET);
    await sidecar.access.take(line => line.response_code_details === 'loop');
  }
  t.match(await sidecar.log.take(line => /own connections are captured/.test(line.msg)), { level: 'warn' });
});

t.test('where only the registry may be reached, nothing else is', { skip }, async t => {
  const folder = temporaryFolder(t);
  const { client, server } = await startHosts(t, folder);
  await startNginx(server, folder);
  t.same(await client.outrider('capture', 'apply', '--backend', 'nft'), DONE);
  const only = 'outboundTrafficPolicy: {mode: REGISTRY_ONLY}';
  const sidecar = await sidecarOn(t, client, {
    certs: temporaryIdentity(t, sleep),
    manifests: SERVICES.replace('kind: MeshConfig', `kind: MeshConfig\n${only}`),
  });
  const { code } = await client.curl(`http://${server.four}:${PLAIN_PORT}/index.html`);
  t.not(code, 0);
  t.match(await sidecar.access.take(line => line.response_flags === 'NR'), {
    downstream_local_address: `${server.four}:${PLAIN_PORT}`,
  });
  const http = await client.curl(
    '-o',
    '/dev/null',
    '-w',
    '%{http_code}',
    '--resolve',
    'x.example:80:192.0.2.1',
    'http://x.example/',
  );
  t.equal(http.stdout, '502');
});
