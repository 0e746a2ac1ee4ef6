/**
 * Outrider: `outrider run` with one worker; the packed bundle when it is built, else the sources. STRICT mutual TLS and
 * an ALLOW policy on the client's principal inbound; a ServiceEntry and ISTIO_MUTUAL with subjectAltNames outbound. Two
 * instances put HTTP/1.1 on HTTP/2 by themselves: where it is not asked for, h2UpgradePolicy turns it off.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ALLOWED_METHODS, CLIENT_ID, NAMESPACE, SERVER_ID, SERVICE_HOST, TRUST_DOMAIN } from '../workload.ts';
import type { Peer, Plan, PlanInput } from './peer.ts';

const ROOT = new URL('../../', import.meta.url);

/**
 * Finds Outrider: `given` (a .js or .ts file), else dist/main.js, else src/main.ts; null when none is there. A bundle that
 * is older than a source would be another program's measurement: the sources are taken then.
 */
export function findOutrider(given: string | undefined): Peer | null {
  const bundle = fileURLToPath(new URL('dist/main.js', ROOT));
  const sources = fileURLToPath(new URL('src/main.ts', ROOT));
  const candidates = given ? [given] : isNewest(bundle) ? [bundle, sources] : [sources];
  const main = candidates.find(file => existsSync(file));
  if (!main) return null;
  const text = spawnSync(process.execPath, [main, '--version'], { encoding: 'utf8', timeout: 10_000 }).stdout;
  const number = /outrider (\S+)/.exec(text ?? '')?.[1] ?? '?';
  return {
    name: 'outrider',
    version: `${number} (${main.endsWith('.ts') ? 'from sources, ' : ''}node ${process.version})`,
    command: process.execPath,
    full: true,
    can: () => true,
    plan: input => plan(main, input),
  };
}

/** Whether nothing in src has changed since it was made. */
function isNewest(bundle: string): boolean {
  if (!existsSync(bundle)) return false;
  const made = statSync(bundle).mtimeMs;
  const folder = fileURLToPath(new URL('src', ROOT));
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return names.every(name => statSync(join(folder, name)).mtimeMs <= made);
}

function plan(main: string, input: PlanInput): Plan {
  const { folder, role, listen, admin, identities } = input;
  const inbound = role.direction === 'inbound';
  const identity = inbound ? identities.server : identities.client;
  // A TCP destination has a listener of its own (Sidecar.egress); `listen` is that port, not the HTTP proxy's.
  const proxyPort = role.protocol === 'tcp' ? 0 : listen;
  return {
    files: {
      'mesh.yaml': mesh(),
      'resources.yaml': inbound ? inboundResources(input) : outboundResources(input),
    },
    args: [
      main,
      'run',
      ...['--config', folder, '--certs', identity.folder, '--workers', '1', '--access-log', 'off'],
      ...(inbound
        ? ['--app', `127.0.0.1:${role.target}`, '--protocol', `${role.target}=${role.protocol}`]
        : []),
      ...[
        '--inbound',
        `127.0.0.1:${inbound ? listen : 0}`,
        '--outbound',
        `127.0.0.1:${inbound ? 0 : proxyPort}`,
      ],
      ...['--admin', '127.0.0.1:0', '--health', '127.0.0.1:0', '--telemetry', `127.0.0.1:${admin}`],
    ],
  };
}

function mesh(): string {
  return `trustDomain: ${TRUST_DOMAIN}
rootNamespace: istio-system
outboundTrafficPolicy:
  mode: REGISTRY_ONLY
`;
}

function inboundResources({ role }: PlanInput): string {
  const rule = role.cleartext
    ? `to:
        - operation: { methods: [${ALLOWED_METHODS.join(', ')}] }`
    : `from:
        - source: { principals: ["${CLIENT_ID.replace('spiffe://', '')}"] }`;
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: ${NAMESPACE} }
spec:
  mtls: { mode: ${role.cleartext ? 'DISABLE' : 'STRICT'} }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-only, namespace: ${NAMESPACE} }
spec:
  action: ALLOW
  rules:
    - ${rule}
`;
}

function outboundResources({ role, listen }: PlanInput): string {
  const http = role.protocol !== 'tcp';
  const port = http ? 80 : listen;
  const protocol = { http: 'HTTP', http2: 'HTTP2', tcp: 'TCP' }[role.protocol];
  const alone = role.protocol === 'http' && !role.multiplexed;
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: server, namespace: ${NAMESPACE} }
spec:
  hosts: [${SERVICE_HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - { number: ${port}, name: traffic, protocol: ${protocol} }
  endpoints:
    - { address: 127.0.0.1, ports: { traffic: ${role.target} } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: server, namespace: ${NAMESPACE} }
spec:
  host: ${SERVICE_HOST}
  trafficPolicy:
${alone ? '    connectionPool: { http: { h2UpgradePolicy: DO_NOT_UPGRADE } }\n' : ''}    tls:
      mode: ISTIO_MUTUAL
      sni: ${SERVICE_HOST}
      subjectAltNames: ["${SERVER_ID}"]
${http ? '' : egress(listen)}`;
}

function egress(listen: number): string {
  return `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: ${NAMESPACE} }
spec:
  egress:
    - port: { number: ${listen}, name: traffic, protocol: TCP }
      bind: 127.0.0.1
      hosts: ["${NAMESPACE}/${SERVICE_HOST}"]
`;
}
