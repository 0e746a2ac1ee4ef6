/**
 * HAProxy: one process, one thread. It has no sample fetch for a URI SAN: the certificate is verified, and its SHA-1
 * fingerprint, taken once a connection, stands in for the SPIFFE ID in the allow list and in the header.
 */
import { spawnSync } from 'node:child_process';
import { ALLOWED_METHODS, CLIENT_ID, H2_CONNECTIONS, H2_STREAMS, SERVICE_HOST } from '../workload.ts';
import { onPath, type Peer, type Plan, type PlanInput } from './peer.ts';

/** Finds HAProxy; null when it is not installed. */
export function findHaproxy(): Peer | null {
  const command = onPath('haproxy');
  if (!command) return null;
  const text = spawnSync(command, ['-v'], { encoding: 'utf8' }).stdout;
  const version = /version ([\d.]+)/.exec(text)?.[1] ?? '?';
  return { name: 'haproxy', version, command, full: true, can: () => true, plan };
}

function plan(input: PlanInput): Plan {
  const { folder, role } = input;
  const section = role.direction === 'inbound' ? inbound(input) : outbound(input);
  return {
    files: { 'haproxy.cfg': `${global(input)}\n${section}` },
    args: ['-db', '-f', `${folder}/haproxy.cfg`],
  };
}

/**
 * http-ignore-probes: a connection that closes without a request gets no 400, as with the other peers. HAProxy opens one
 * connection more whenever the streams of those it has are used up, and a burst opens as many as it has requests: the
 * load's front, outbound HTTP/2, gets room for all of them.
 */
function global({ admin, role }: PlanInput): string {
  const front = role.direction === 'outbound' && role.protocol === 'http2';
  return `global
  nbthread 1
  maxconn 8192
  tune.ssl.cachesize 0
${front ? `  tune.h2.max-concurrent-streams ${2 * H2_CONNECTIONS * H2_STREAMS}\n` : ''}  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519:P-256
  ssl-default-server-options ssl-min-ver TLSv1.3
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256

defaults
  mode ${role.protocol === 'tcp' ? 'tcp' : 'http'}
${role.protocol === 'tcp' ? '' : '  option http-ignore-probes\n'}  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-request 600s
  timeout http-keep-alive 600s

frontend metrics
  mode http
  bind 127.0.0.1:${admin}
  http-request use-service prometheus-exporter if { path /metrics }
`;
}

const REQUEST_ID = 'http-request set-header x-request-id %[uuid()] unless { req.hdr(x-request-id) -m found }';

function inbound(input: PlanInput): string {
  const { listen, role, identities } = input;
  const { server } = identities;
  const http2 = role.protocol === 'http2';
  const alpn = http2 || role.multiplexed ? ' alpn h2,http/1.1' : '';
  const bind = role.cleartext
    ? `bind 127.0.0.1:${listen} backlog 4096${http2 ? ' proto h2' : ''}`
    : `bind 127.0.0.1:${listen} backlog 4096 ssl crt ${server.combined} ca-file ${server.root} verify required${alpn}
  tcp-request session set-var(sess.cert) ssl_c_sha1,hex`;
  return `frontend inbound
  ${bind}
  ${rules(input).join('\n  ')}
  default_backend app

backend app
  ${role.protocol === 'tcp' ? '' : 'http-reuse always\n  '}server app 127.0.0.1:${role.target}${http2 ? ' proto h2' : ''}
`;
}

function rules({ role, identities: { client } }: PlanInput): string[] {
  const allowed = `{ var(sess.cert) -m str ${client.sha1.toUpperCase()} } # ${CLIENT_ID}`;
  if (role.protocol === 'tcp') return [`tcp-request session reject unless ${allowed}`];
  if (role.cleartext) {
    return [`http-request deny deny_status 403 unless { method ${ALLOWED_METHODS.join(' ')} }`, REQUEST_ID];
  }
  return [
    `http-request deny deny_status 403 unless ${allowed}`,
    'http-request set-header x-forwarded-client-cert "Hash=%[var(sess.cert)];Subject=\\"%[ssl_c_s_dn]\\""',
    'http-request set-header x-forwarded-proto https',
    REQUEST_ID,
  ];
}

/** The load's front is given one server as often as the load has connections, and takes turns: one connection to each. */
function outbound({ listen, role, identities: { client } }: PlanInput): string {
  const http = role.protocol !== 'tcp';
  const http2 = role.protocol === 'http2';
  const tls = `ssl crt ${client.combined} ca-file ${client.root} verify required`;
  const alpn = http2 || role.multiplexed ? ' alpn h2' : '';
  const server = `127.0.0.1:${role.target} ${tls}${alpn} verifyhost ${SERVICE_HOST} sni str(${SERVICE_HOST}) no-ssl-reuse pool-purge-delay 600s`;
  const servers = Array.from(
    { length: http2 ? H2_CONNECTIONS : 1 },
    (_, index) => `server s${index} ${server}`,
  );
  return `frontend outbound
  bind 127.0.0.1:${listen} backlog 4096${http2 ? ' proto h2' : ''}
  ${http && !http2 ? `${REQUEST_ID}\n  ` : ''}default_backend server

backend server
  ${http ? 'http-reuse always\n  ' : ''}${servers.join('\n  ')}
`;
}
