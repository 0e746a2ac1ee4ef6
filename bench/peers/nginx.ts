/**
 * nginx: one worker below its master. It cannot read a URI SAN: the certificate is verified, and its SHA-1 fingerprint
 * stands in for the SPIFFE ID in the allow list and in the header. HTTP/1.1 only: this nginx speaks HTTP/2 to no app, and
 * the stream module is a package of its own.
 */
import { spawnSync } from 'node:child_process';
import { CLIENT_ID, SERVICE_HOST } from '../workload.ts';
import { onPath, type Peer, type Plan, type PlanInput } from './peer.ts';

/** In each server: one proxy_set_header there would drop all that stand outside it. */
const HEADERS = `proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Request-Id $request_id;`;

/** Finds nginx; null when it is not installed. */
export function findNginx(): Peer | null {
  const command = onPath('nginx');
  if (!command) return null;
  const version = /nginx\/(\S+)/.exec(spawnSync(command, ['-v'], { encoding: 'utf8' }).stderr)?.[1] ?? '?';
  return { name: 'nginx', version, command, full: true, can: ({ protocol }) => protocol === 'http', plan };
}

function plan(input: PlanInput): Plan {
  const { folder, role } = input;
  return {
    files: { 'nginx.conf': config(input, role.direction === 'inbound' ? inbound(input) : outbound(input)) },
    args: ['-p', folder, '-c', `${folder}/nginx.conf`, '-e', 'stderr'],
  };
}

/** keepalive_requests: the default of 1,000 would put a new connection and handshake into every thousandth request. */
function config({ folder, admin, role }: PlanInput, server: string): string {
  return `daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_header_timeout 600s;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  upstream target {
    server 127.0.0.1:${role.target};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }
  server { listen 127.0.0.1:${admin}; location /metrics { stub_status; } }
${server}}
`;
}

function inbound({ listen, identities: { server, client } }: PlanInput): string {
  return `  map $ssl_client_fingerprint $allowed { default 0; ${client.sha1} 1; } # ${CLIENT_ID}
  server {
    listen 127.0.0.1:${listen} ssl backlog=4096;
    ssl_certificate ${server.cert};
    ssl_certificate_key ${server.key};
    ssl_client_certificate ${server.root};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519:P-256;
    ssl_session_cache off;
    ssl_session_tickets off;
    ${HEADERS}
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header X-Forwarded-Client-Cert 'Hash=$ssl_client_fingerprint;Subject="$ssl_client_s_dn"';
    location / {
      if ($allowed = 0) { return 403; }
      proxy_pass http://target;
    }
  }
`;
}

function outbound({ listen, identities: { client } }: PlanInput): string {
  return `  server {
    listen 127.0.0.1:${listen} backlog=4096;
    proxy_ssl_certificate ${client.cert};
    proxy_ssl_certificate_key ${client.key};
    proxy_ssl_trusted_certificate ${client.root};
    proxy_ssl_verify on;
    proxy_ssl_name ${SERVICE_HOST};
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;
    proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    proxy_ssl_session_reuse off;
    ${HEADERS}
    proxy_set_header X-Forwarded-Proto http;
    location / { proxy_pass https://target; }
  }
`;
}
