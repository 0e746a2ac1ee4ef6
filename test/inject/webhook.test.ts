/** The webhook as the API server sees it: a process of its own, over HTTPS. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { injectText, KUBERNETES_YAML } from '../../src/inject/manifests.ts';
import type { InjectSettings } from '../../src/inject/pod.ts';
import { ownTemplate } from '../../src/inject/template.ts';
import {
  type Authority,
  type IdentityPems,
  temporaryFolder,
  testAuthority,
  testIdentity,
} from '../certificates.ts';
import { Lines } from '../sidecar.ts';
import { schemaFaults } from './kubernetes-schema.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
t.setTimeout(120_000); // processes start slowly on a busy machine

const NAME = 'outrider-webhook.outrider-system.svc';
const MAX_BYTES = 8 * 1024 * 1024;

type LogLine = Record<string, unknown> & { readonly msg: string };

interface Running {
  readonly child: ChildProcess;
  readonly port: number;
  readonly log: Lines<LogLine>;
  readonly certs: string;
  readonly authority: Authority;
}

function certificate(authority: Authority): Promise<IdentityPems> {
  return testIdentity(authority, 'outrider-system/outrider-webhook', { dnsNames: [NAME] });
}

/** As the kubelet writes a secret: a folder of a generation, and links through `..data` that is swapped by a rename. */
function mount(
  folder: string,
  generation: string,
  { certChainPem, keyPem }: Pick<IdentityPems, 'certChainPem' | 'keyPem'>,
): void {
  mkdirSync(join(folder, generation));
  writeFileSync(join(folder, generation, 'tls.crt'), certChainPem);
  writeFileSync(join(folder, generation, 'tls.key'), keyPem);
  symlinkSync(generation, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  for (const name of ['tls.crt', 'tls.key']) {
    rmSync(join(folder, name), { force: true });
    symlinkSync(join('..data', name), join(folder, name));
  }
}

async function start(t: Test, flags: readonly string[] = []): Promise<Running> {
  const authority = await testAuthority();
  const certs = temporaryFolder(t);
  mount(certs, '..1', await certificate(authority));
  const args = [MAIN, 'webhook', '--listen', '127.0.0.1:0', '--certs', certs, ...flags];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  });
  const log = new Lines<LogLine>();
  let rest = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) log.push(line.startsWith('{') ? JSON.parse(line) : { msg: line });
  });
  child.once('close', code => log.end(`the webhook ended with ${code}`));
  const ready = await log.take(({ msg }) => msg === 'ready');
  return { child, port: Number(/:(\d+)$/.exec(String(ready.listen))?.[1]), log, certs, authority };
}

interface Reply {
  readonly status: number;
  readonly body: string;
  readonly connection: string | undefined;
}

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly type?: string;
  readonly body?: string | Buffer;
}

function send(
  { port, authority }: Running,
  { method = 'POST', path = '/inject?timeout=10s', type = 'application/json', body = '' }: Sent,
) {
  return new Promise<Reply>((resolve, reject) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    const sent = request({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers,
      servername: NAME,
      ca: authority.certPem,
      agent: false,
    });
    sent.on('error', reject);
    sent.on('response', async response => {
      const { statusCode = 0, headers: received } = response;
      resolve({ status: statusCode, body: await text(response), connection: received.connection });
    });
    sent.end(body);
  });
}

function review(object: object | null, request: object = {}): string {
  return JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      namespace: 'shop',
      operation: 'CREATE',
      object,
      dryRun: false,
      ...request,
    },
  });
}

interface Response {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patchType?: string;
  readonly patch?: string;
  readonly warnings?: readonly string[];
  readonly status?: { readonly code: number; readonly message: string };
}

async function answered(webhook: Running, body: string): Promise<Response> {
  const reply = await send(webhook, { body });
  if (reply.status !== 200) throw new Error(`${reply.status} ${reply.body}`);
  return JSON.parse(reply.body).response;
}

/** RFC 6902, in the plainest way: what injection uses of it. */
function patched(object: object, encoded: string | undefined): Record<string, unknown> {
  const root = { '': structuredClone(object) } as Record<string, unknown>;
  const edits = JSON.parse(Buffer.from(encoded ?? '', 'base64').toString()) as {
    op: string;
    path: string;
    value: unknown;
  }[];
  for (const { op, path, value } of edits) {
    const steps = path.split('/').map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = steps.pop() ?? '';
    const target = steps.reduce<Record<string, unknown>>(
      (at, step) => at[step] as Record<string, unknown>,
      root,
    );
    if (op === 'remove') delete target[last];
    else if (op === 'add' && Array.isArray(target)) target.splice(Number(last), 0, value);
    else target[last] = value;
  }
  return root[''] as Record<string, unknown>;
}

const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    generateName: 'web-5d9c-',
    labels: { app: 'web', 'pod-template-hash': '5d9c' },
    ownerReferences: [
      { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-5d9c', uid: '1', controller: true },
    ],
  },
  spec: {
    containers: [
      {
        name: 'web',
        image: 'shop/web:1',
        ports: [{ name: 'http', containerPort: 8080 }],
        livenessProbe: { httpGet: { path: '/', port: 'http' } },
      },
    ],
  },
};

function settings(): InjectSettings {
  const own = ownTemplate();
  if (!own.ok) throw new Error(own.message);
  return {
    template: own.template,
    image: 'outrider:t',
    imagePullPolicy: null,
    captureImage: null,
    identity: 'csi',
    spireSocket: 'spire-agent.sock',
    configMap: 'outrider',
    classic: false,
  };
}

/** One for all tests that leave it as it is. */
const shared = await start(t, ['--image', 'outrider:t', '--config-map', 'outrider']);

t.test('every pod of the cases gets by its patch what `outrider inject` makes of it', async t => {
  const webhook = shared;
  let pods = 0;
  for (const name of ['pod', 'probes-off', 'traffic', 'proxy-config', 'not-honoured']) {
    const source = readFileSync(new URL(`cases/${name}.yaml`, import.meta.url), 'utf8');
    const [document] = parseAllDocuments(source, KUBERNETES_YAML as object);
    const pod = document?.toJS();
    const { allowed, patchType, patch, uid } = await answered(webhook, review(pod));
    t.match(
      { allowed, patchType, uid },
      { allowed: true, patchType: 'JSONPatch', uid: '705ab4f5-6393-11e8-b7cc-42010a800002' },
    );
    const result = patched(pod, patch);
    const [expected] = parseAllDocuments(
      injectText(source, name, settings()).text,
      KUBERNETES_YAML as object,
    );
    t.same(result, expected?.toJS(), name);
    t.same(schemaFaults(result), [], 'valid');
    pods++;
  }
  t.equal(pods, 5);
});

t.test('a pod of a Deployment is called by its name, and the log says what became of it', async t => {
  const webhook = shared;
  const pod = patched(POD, (await answered(webhook, review(POD))).patch) as typeof POD;
  t.match(pod.metadata.labels, {
    'service.istio.io/canonical-name': 'web',
    'security.istio.io/tlsMode': 'istio',
  });
  t.match(await webhook.log.take(({ msg, kind }) => msg === 'pod injected' && kind === 'Deployment'), {
    kind: 'Deployment',
    namespace: 'shop',
    name: 'web',
  });
  const again = await answered(webhook, review(pod));
  t.same([again.allowed, again.patch], [true, undefined], 'injected once');
  t.match(await webhook.log.take(({ msg }) => msg === 'pod left as it is'), { why: /has a sidecar already/ });
  t.match(await answered(webhook, review(POD, { dryRun: true })), { allowed: true, patchType: 'JSONPatch' });
  t.match(await webhook.log.take(({ dryRun }) => dryRun === true), { msg: 'pod injected' });
});

t.test('what is no new pod, and a pod that is left alone, is allowed as it is', async t => {
  const webhook = shared;
  for (const body of [
    review(POD, { operation: 'UPDATE' }),
    review(null, { operation: 'DELETE' }),
    review({ kind: 'Service' }, { kind: { group: '', version: 'v1', kind: 'Service' } }),
    review({ ...POD, spec: { ...POD.spec, hostNetwork: true } }),
    review(POD, { namespace: 'kube-system' }),
    review({ ...POD, metadata: { labels: { 'sidecar.istio.io/inject': 'false' } } }),
  ]) {
    const response = await answered(webhook, body);
    t.same([response.allowed, response.patch], [true, undefined]);
  }
});

t.test('a wrong annotation refuses the pod and says why; one that is not honoured is a warning', async t => {
  const webhook = shared;
  const annotated = (annotations: object) => review({ ...POD, metadata: { ...POD.metadata, annotations } });
  const refused = await answered(webhook, annotated({ 'sidecar.istio.io/interceptionMode': 'redirect' }));
  t.match(refused, {
    allowed: false,
    status: { code: 400, message: /^outrider: sidecar\.istio\.io\/interceptionMode must be one of REDIRECT/ },
  });
  t.match(await webhook.log.take(({ msg }) => msg === 'pod refused'), { level: 'warn', name: 'web' });
  const warned = await answered(webhook, annotated({ 'sidecar.istio.io/agentLogLevel': 'default:debug' }));
  t.equal(warned.allowed, true);
  t.match(warned.warnings, [/^sidecar\.istio\.io\/agentLogLevel is not honoured/]);
});

t.test('what is no review is refused in HTTP', async t => {
  const webhook = shared;
  const status = async (sent: Sent) => (await send(webhook, sent)).status;
  const good = review(POD);
  t.equal(await status({ body: good }), 200);
  for (const body of [
    '',
    '{',
    '[]',
    '{}',
    good.replace('"uid"', '"id"'),
    good.replace('AdmissionReview', 'Pod'),
  ]) {
    t.equal(await status({ body }), 400, body.slice(0, 40));
  }
  const old = await send(webhook, { body: good.replace('admission.k8s.io/v1', 'admission.k8s.io/v1beta1') });
  t.match(old, {
    status: 400,
    body: 'apiVersion must be admission.k8s.io/v1, not "admission.k8s.io/v1beta1"\n',
  });
  t.equal(await status({ method: 'GET' }), 405);
  t.equal(await status({ body: good, path: '/' }), 404);
  t.equal(await status({ body: good, type: 'text/plain' }), 415);
  t.equal(await status({ body: good.replace('shop/web:1', 'x'.repeat(MAX_BYTES)) }), 413);
  t.equal(await status({ body: good, type: 'application/json; charset=utf-8' }), 200);
});

t.test('health is asked on the same port', async t => {
  const webhook = shared;
  t.match(await send(webhook, { method: 'GET', path: '/healthz/ready' }), { status: 200, body: 'LIVE\n' });
  t.match(await send(webhook, { method: 'GET', path: '/healthz/live' }), { status: 200, body: 'LIVE\n' });
  t.match(await send(webhook, { method: 'POST', path: '/healthz/live' }), { status: 405 });
});

t.test('a certificate that is replaced is used, and a wrong one is not', async t => {
  const webhook = await start(t);
  const served = async (): Promise<string> => {
    const socket: TLSSocket = connect({
      host: '127.0.0.1',
      port: webhook.port,
      servername: NAME,
      ca: webhook.authority.certPem,
    });
    await once(socket, 'secureConnect');
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const first = await served();
  const next = await certificate(webhook.authority);
  mount(webhook.certs, '..2', { ...next, keyPem: (await certificate(webhook.authority)).keyPem });
  t.match(await webhook.log.take(({ msg }) => /^certificate refused/.test(msg)), {
    reason: 'tls.key does not belong to tls.crt',
  });
  t.equal(await served(), first, 'the last good one');
  mount(webhook.certs, '..3', next);
  await webhook.log.take(({ msg }) => msg === 'certificate replaced');
  t.not(await served(), first);
  t.match(await answered(webhook, review(POD)), { allowed: true });
});

t.test(
  'SIGTERM: reviews are answered while the API server learns of it, and the process ends with 0',
  async t => {
    const webhook = await start(t);
    webhook.child.kill('SIGTERM');
    await webhook.log.take(({ msg }) => msg === 'draining');
    t.match(await send(webhook, { body: review(POD) }), { status: 200, connection: 'close' });
    t.match(await send(webhook, { method: 'GET', path: '/healthz/ready' }), {
      status: 503,
      body: 'draining\n',
    });
    webhook.child.kill('SIGTERM'); // impatience
    const [code] = await once(webhook.child, 'close');
    t.equal(code, 0);
  },
);

t.test(
  'without a certificate or with a port that is taken it does not start, and says why in a line',
  async t => {
    const webhook = shared;
    const fails = async (...flags: string[]) => {
      const child = spawn(process.execPath, [MAIN, 'webhook', ...flags], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
      t.equal(code, 1);
      return stderr;
    };
    const empty = temporaryFolder(t);
    t.equal(
      await fails('--certs', empty),
      `outrider: ${empty}/tls.crt cannot be read; --certs names the folder of tls.crt and tls.key\n`,
    );
    const taken = `127.0.0.1:${webhook.port}`;
    t.equal(
      await fails('--certs', webhook.certs, '--listen', taken),
      `outrider: cannot listen on ${taken}: EADDRINUSE\n`,
    );
  },
);
