/**
 * The Docker Compose example, as far as it can be proved without an engine: the file says what exists, its command lines are
 * ones that Outrider takes, and the same sidecars and apps as processes print what the README says.
 */
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { parseRun } from '../../src/cli/run-flags.ts';
import { loadManifests } from '../../src/config/manifest.ts';
import type { RunSettings } from '../../src/config/settings.ts';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { deadPort } from '../peers.ts';
import { startSidecar } from '../sidecar.ts';
import { ROOT } from './built.ts';
import { run, start } from './run.ts';

t.setTimeout(120_000);

const FOLDER = join(ROOT, 'config/examples/compose');
const text = (file: string): string => readFileSync(join(FOLDER, file), 'utf8');

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly user?: string;
  readonly network_mode?: string;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly volumes?: readonly string[];
}

const file = parse(text('compose.yaml'), { merge: true });
const services: Readonly<Record<string, Service>> = file.services;
const readme = text('README.md');
const dockerfile = await readFile(join(ROOT, 'Dockerfile'), 'utf8');

/** What `run` makes of a sidecar's command line. */
function settingsOf(name: string): RunSettings {
  const [command, ...args] = services[name]?.command ?? [];
  t.equal(command, 'run');
  const parsed = parseRun(args, {});
  if (!parsed.ok) throw new Error(`${name}: ${JSON.stringify(parsed)}`);
  return parsed.value;
}

t.test('every file that is mounted exists, but the certificates, which are made', t => {
  for (const { volumes = [] } of Object.values(services)) {
    for (const volume of volumes) {
      const [from = ''] = volume.split(':');
      t.ok(from.startsWith('./certs') || existsSync(join(FOLDER, from)), from);
    }
  }
  t.match(text('.gitignore'), /^certs$/m);
  t.end();
});

t.test('the images are the one that the Dockerfile builds, and the one that it begins with', t => {
  const [, base] = /^FROM (\S+) AS build$/m.exec(dockerfile) ?? [];
  for (const { image, build } of Object.values(services)) {
    t.ok(['outrider', base].includes(image), image);
    if (build !== undefined) t.ok(existsSync(join(FOLDER, build, 'Dockerfile')));
  }
  t.match(
    dockerfile,
    `ENTRYPOINT ${JSON.stringify(services.certs?.entrypoint?.slice(0, 2)).replace(',', ', ')}`,
  );
  t.end();
});

t.test('each app shares the network of its sidecar, and starts when that is healthy', t => {
  for (const name of ['orders', 'web']) {
    const app = services[`${name}-app`];
    t.equal(app?.network_mode, `service:${name}`);
    t.equal(app?.depends_on?.[name]?.condition, 'service_healthy');
  }
  t.end();
});

t.test('run takes the command lines, and their ports are the ones that the rest speaks of', t => {
  const orders = settingsOf('orders');
  const web = settingsOf('web');
  t.equal(orders.app?.port, Number(/listen\((\d+)/.exec(text('apps/orders.mjs'))?.[1]));
  t.same(
    orders.protocols,
    [[orders.app?.port, 'http']].map(([port, protocol]) => ({ port, protocol })),
  );
  t.match(text('apps/ask.mjs'), `'127.0.0.1:${web.outbound.port}'`);
  t.match(text('mesh/orders.yaml'), `address: orders, ports: { http: ${orders.inbound.port} }`);
  t.same(services.stranger?.command?.at(-1), `orders:${orders.inbound.port}`);
  for (const name of ['orders', 'web']) {
    const targets = (services[name]?.volumes ?? []).map(volume => volume.split(':')[1]);
    const { configPaths, certsDir, drainSeconds } = settingsOf(name);
    t.same([...configPaths, certsDir], targets);
    t.ok(Number(drainSeconds) < Number.parseInt(file['x-sidecar'].stop_grace_period, 10));
  }
  t.end();
});

t.test('the manifests have no fault and no warning', t => {
  t.match(loadManifests([join(FOLDER, 'mesh')]), { ok: true, warnings: [] });
  t.end();
});

t.test("the README's services and folders are the file's", t => {
  for (const [, name = ''] of readme.matchAll(/docker compose (?:exec|build|logs|run --rm) ([a-z-]+)/g))
    t.ok(services[name], name);
  for (const name of ['orders', 'web'])
    t.match(readme, `certs issue spiffe://cluster.local/ns/${name}/sa/${name} /certs/${name} --ca /certs/ca`);
  t.end();
});

t.test('as processes, they print what the README says', async t => {
  const authority = await testAuthority();
  const port = await deadPort();
  const app = start(process.execPath, ['-e', text('apps/orders.mjs').replace('8080', String(port))]);
  t.teardown(() => app.child.kill());
  const mesh = `${text('mesh/mesh.yaml')}\n---\n${text('mesh/orders.yaml')}`;
  const orders = await startSidecar(t, {
    certs: temporaryIdentity(t, await testIdentity(authority, 'orders/orders')),
    app: port,
    manifests: mesh,
    flags: ['--protocol', `${port}=http`],
  });
  const { inbound } = orders.ports;
  const web = await startSidecar(t, {
    certs: temporaryIdentity(t, await testIdentity(authority, 'web/web')),
    manifests: mesh.replace('address: orders', 'address: localhost').replace('15006', String(inbound)),
  });
  const ask = async (...args: string[]) =>
    (await run(process.execPath, [join(FOLDER, 'apps/ask.mjs'), ...args])).stdout.trim();
  const at = `127.0.0.1:${web.ports.outbound}`;
  t.match(readme, `ask.mjs GET /orders/7\n# ${await ask('GET', '/orders/7', at)}\n`);
  t.match(readme, `ask.mjs DELETE /orders/7\n# ${await ask('DELETE', '/orders/7', at)}\n`);
  t.match(readme, `--rm stranger\n# ${await ask('GET', '/orders/7', `127.0.0.1:${inbound}`)}:`);
  t.match(await orders.access.take(({ method }) => method === 'DELETE'), {
    response_code: 403,
    policy_decision: 'deny',
    source_principal: 'spiffe://cluster.local/ns/web/sa/web',
  });
});
