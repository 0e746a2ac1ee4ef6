/** Apps that know nothing of a sidecar: nginx, and a server that speaks first, as Postgres, MySQL and SMTP do. */
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import type { Host } from './hosts.ts';

export const NGINX_PORT = 8080;
/** TLS of its own. */
export const NGINX_TLS_PORT = 9443;
/** Not captured on the server's host. */
export const PLAIN_PORT = 9090;
export const FIRST_PORT = 5432;
export const WHO_PORT = 5433;
/** What must not be seen on the wire. */
export const SECRET = 'a-word-that-nobody-may-read';

export async function startNginx(host: Host, folder: string): Promise<void> {
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    `${folder}/nginx.key`,
  ];
  const subject = ['-subj', '/CN=outside.example', '-out', `${folder}/nginx.pem`];
  execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...subject], { stdio: 'pipe' });
  writeFileSync(`${folder}/index.html`, `${SECRET} from nginx\n`);
  chmodSync(folder, 0o755);
  const both = (port: number, more = ''): string =>
    `listen 0.0.0.0:${port}${more}; listen [::]:${port}${more} ipv6only=on;`;
  writeFileSync(
    `${folder}/nginx.conf`,
    `daemon off; pid ${folder}/nginx.pid; error_log stderr notice; user nobody nogroup; worker_processes 1;
events {}
http {
  access_log off; root ${folder};
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server { ${both(NGINX_PORT)} ${both(PLAIN_PORT)} location = /who { return 200 "$remote_addr\\n"; }
    location = /whose { return 200 "$remote_addr $connection_requests\\n"; } }
  server { ${both(NGINX_TLS_PORT, ' ssl')} ssl_certificate ${folder}/nginx.pem; ssl_certificate_key ${folder}/nginx.key; }
}
`,
  );
  await host.start(['nginx', '-c', `${folder}/nginx.conf`, '-p', folder], /start worker process/);
}

/** Says to whoever connects which address that comes from. */
const SAYS_WHO = `
require('node:net')
  .createServer(socket => { socket.on('error', () => {}); socket.end('you are ' + socket.remoteAddress); })
  .listen(${WHO_PORT}, '::', () => console.log('listening'));
`;

export async function startSaysWho(host: Host): Promise<void> {
  await host.start([process.execPath, '-e', SAYS_WHO], /listening/);
}

const SPEAKS_FIRST = `
const server = require('node:net').createServer(socket => {
  socket.on('error', () => {});
  socket.write('${SECRET} hello\\n');
  socket.on('data', chunk => socket.end('you said ' + chunk));
});
server.listen(${FIRST_PORT}, '::', () => console.log('listening'));
`;

export async function startSpeaksFirst(host: Host): Promise<void> {
  await host.start([process.execPath, '-e', SPEAKS_FIRST], /listening/);
}

/** Waits for the server's word before it says anything itself. @returns the program of a client */
export function listensFirst(address: string, port: number): readonly string[] {
  const program = `
const socket = require('node:net').connect(${port}, '${address}');
let all = '';
socket.on('data', chunk => { if (all === '') socket.write('thanks ${SECRET}'); all += chunk; });
socket.on('close', () => { process.stdout.write(all); process.exit(all === '' ? 1 : 0); });
socket.on('error', error => console.error(error.code));
setTimeout(() => process.exit(3), 6000);
`;
  return [process.execPath, '-e', program];
}
