/**
 * nghttpx: one process, one worker, HTTP/2 inbound only. It verifies the client's certificate and forwards: no allow list, no
 * header that tells the app who asked, no metrics. What it costs is a floor, not the same job.
 */
import { spawnSync } from 'node:child_process';
import { onPath, type Peer, type Plan, type PlanInput } from './peer.ts';

/** Finds nghttpx; null when it is not installed. */
export function findNghttpx(): Peer | null {
  const command = onPath('nghttpx');
  if (!command) return null;
  const text = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout;
  return {
    name: 'nghttpx',
    version: /nghttp2\/(\S+)/.exec(text)?.[1] ?? '?',
    command,
    full: false,
    can: ({ direction, protocol }) => direction === 'inbound' && protocol === 'http2',
    plan,
  };
}

function plan({ listen, role, folder, identities: { server } }: PlanInput): Plan {
  const tls = [
    '--verify-client',
    `--verify-client-cacert=${server.root}`,
    '--tls-min-proto-version=TLSv1.3',
    '--tls13-ciphers=TLS_AES_128_GCM_SHA256',
    '--ecdh-curves=X25519:P-256',
    '--no-ocsp',
    server.key,
    server.cert,
  ];
  return {
    files: { 'nghttpx.conf': '' }, // not the package's own file
    args: [
      `--conf=${folder}/nghttpx.conf`,
      '--single-process',
      '--workers=1',
      `--frontend=127.0.0.1,${listen}${role.cleartext ? ';no-tls' : ''}`,
      `--backend=127.0.0.1,${role.target};;proto=h2`,
      '--accesslog-file=',
      '--log-level=ERROR',
      '--backend-keep-alive-timeout=600s',
      '--frontend-http2-read-timeout=600s',
      ...(role.cleartext ? [] : tls),
    ],
  };
}
