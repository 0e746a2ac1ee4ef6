/** curl, nginx and a Node app, none of which knows Outrider: what the README promises, with the real programs. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { temporaryFolder, temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort, listenUntilEnd } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000);

const run = promisify(execFile);
const POLICY = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: foo}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: foo}
spec: {rules: [{from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]}]}
`;

const authority = await testAuthority();
const own = temporaryIdentity(t, await testIdentity(authority, 'foo/web', { dnsNames: ['localhost'] }));
const sleep = temporaryIdentity(t, await testIdentity(authority, 'foo/sleep'));
const other = temporaryIdentity(t, await testIdentity(authority, 'foo/other'));

/** curl's answer: head and body; '' with its exit code when the connection was closed. */
async function curl(
  port: number,
  certs: string | null,
  ...more: string[]
): Promise<{ text: string; code: number }> {
  const client =
    certs === null ? [] : ['--cert', join(certs, 'cert-chain.pem'), '--key', join(certs, 'key.pem')];
  const args = ['-si', '--max-time', '20', '--cacert', join(own, 'root-cert.pem'), ...client, ...more];
  try {
    const { stdout } = await run('curl', [...args, `https://localhost:${port}/hello`]);
    return { text: stdout, code: 0 };
  } catch (error) {
    const { stdout, code } = error as { stdout: string; code: number };
    return { text: stdout, code };
  }
}

function missing(program: string): string | false {
  try {
    execFileSync(program, [program === 'nginx' ? '-v' : '--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return `${program} is not installed`;
  }
}

/** `By=…;Hash=…;Subject="";URI=…` for the client in `certs`. */
function element(certs: string): string {
  const { raw } = new X509Certificate(readFileSync(join(certs, 'cert-chain.pem')));
  const hash = createHash('sha256').update(raw).digest('hex');
  return `By=spiffe://cluster.local/ns/foo/sa/web;Hash=${hash};Subject="";URI=spiffe://cluster.local/ns/foo/sa/sleep`;
}

const noCurl = missing('curl');

t.test('curl with a certificate reaches a Node app, which is told who called', { skip: noCurl }, async t => {
  const app = createServer((request, response) =>
    response.end(`xfcc=${request.headers['x-forwarded-client-cert']}`),
  );
  const sidecar = await startSidecar(t, { certs: own, app: await listenUntilEnd(t, app), manifests: POLICY });
  const { inbound } = sidecar.ports;

  const allowed = await curl(inbound, sleep);
  t.match(allowed.text, /^HTTP\/1\.1 200 OK\r\n/);
  t.ok(allowed.text.endsWith(`xfcc=${element(sleep)}`), allowed.text);

  const denied = await curl(inbound, other);
  t.match(denied.text, /^HTTP\/1\.1 403 Forbidden\r\n/);
  t.ok(denied.text.endsWith('\r\n\r\nRBAC: access denied'), denied.text);
  t.match(await sidecar.access.take(l => l.response_code === 403), {
    policy_decision: 'deny',
    policy: 'foo/callers',
    source_principal: 'spiffe://cluster.local/ns/foo/sa/other',
  });

  const stranger = await curl(inbound, null);
  t.not(stranger.code, 0);
  t.equal(stranger.text, '', 'closed, and not one byte of an answer');
  t.match(await sidecar.access.take(l => l.response_code_details === 'no_certificate'), {
    response_flags: 'NR',
  });
});

t.test('curl with a certificate reaches nginx', { skip: noCurl || missing('nginx') }, async t => {
  const folder = temporaryFolder(t);
  const port = await deadPort();
  mkdirSync(join(folder, 'tmp'));
  writeFileSync(
    join(folder, 'nginx.conf'),
    `daemon off; pid ${folder}/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path ${folder}/tmp; proxy_temp_path ${folder}/tmp; fastcgi_temp_path ${folder}/tmp;
  uwsgi_temp_path ${folder}/tmp; scgi_temp_path ${folder}/tmp;
  server { listen 127.0.0.1:${port}; location / { return 200 "xfcc=$http_x_forwarded_client_cert proto=$http_x_forwarded_proto"; } }
}`,
  );
  const nginx = spawn('nginx', ['-e', 'stderr', '-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: 'ignore',
  });
  t.teardown(async () => {
    nginx.kill('SIGTERM');
    if (nginx.exitCode === null) await once(nginx, 'exit');
  });
  const sidecar = await startSidecar(t, { certs: own, app: port, manifests: POLICY });
  const spoofed = [
    '-H',
    'X-Forwarded-Client-Cert: By=spiffe://evil;URI=spiffe://evil',
    '--retry',
    '5',
    '--retry-delay',
    '1',
  ];
  const allowed = await curl(sidecar.ports.inbound, sleep, ...spoofed);
  t.match(allowed.text, /HTTP\/1\.1 200 OK\r\nServer: nginx/);
  t.ok(allowed.text.endsWith(`xfcc=${element(sleep)} proto=https`), allowed.text);
  t.match((await curl(sidecar.ports.inbound, other)).text, /^HTTP\/1\.1 403 Forbidden\r\n/);
});
