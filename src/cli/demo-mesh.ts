/** The demo's mesh: a folder, a development CA, two apps and three sidecars. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Authority, createAuthority, issue } from '../identity/dev-ca.ts';
import { replaceFile } from '../identity/folder.ts';
import { swapIdentity } from '../identity/folder-swap.ts';
import { FRONTEND_APP, ORDERS_APP } from './demo-apps.ts';
import { ORDERS_HOST, policyFiles, serviceFiles } from './demo-manifests.ts';
import type { Processes } from './demo-process.ts';
import { DemoSidecar } from './demo-sidecar.ts';

const WORKLOADS = ['frontend', 'orders', 'intruder'] as const;
type Workload = (typeof WORKLOADS)[number];

const APP_START_MS = 10_000;

export interface Mesh {
  readonly folder: string;
  readonly frontend: DemoSidecar;
  readonly orders: DemoSidecar;
  readonly intruder: DemoSidecar;
  /** Issues a new certificate for a workload and writes it over the old one. */
  renew(workload: Workload): Promise<void>;
}

/** Makes the demo's folder; only this user can read it. */
export function makeFolder(): string {
  return mkdtempSync(join(tmpdir(), 'outrider-demo-'));
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

export function spiffeId(workload: Workload): string {
  return `spiffe://cluster.local/ns/shop/sa/${workload}`;
}

/** Builds the mesh in `folder` and resolves when every sidecar is ready. @throws Error when a part does not start */
export async function startMesh(folder: string, processes: Processes): Promise<Mesh> {
  const apps = join(folder, 'apps');
  const policy = join(folder, 'policy');
  const services = join(folder, 'services');
  for (const path of [apps, policy, services]) mkdirSync(path);
  writeFileSync(join(apps, 'orders.mjs'), ORDERS_APP);
  writeFileSync(join(apps, 'frontend.mjs'), FRONTEND_APP);

  const [orders, frontend, authority] = await Promise.all([
    startApp(join(apps, 'orders.mjs'), processes),
    startApp(join(apps, 'frontend.mjs'), processes),
    createAuthority({ days: 1, name: 'Outrider demo CA' }),
  ]);
  const renew = async (workload: Workload): Promise<void> => {
    const pems = await identity(authority, workload);
    processes.ensureRunning(); // or a folder that is gone would be made anew
    swapIdentity(join(folder, workload), pems);
  };
  await Promise.all(WORKLOADS.map(renew));
  writeFiles(policy, policyFiles(orders.port));

  const plans = {
    orders: { name: 'orders', configs: [policy], certs: join(folder, 'orders'), appPort: orders.port },
    frontend: {
      name: 'frontend',
      configs: [policy, services],
      certs: join(folder, 'frontend'),
      appPort: frontend.port,
    },
    intruder: {
      name: 'intruder',
      configs: [policy, services],
      certs: join(folder, 'intruder'),
      appPort: null,
    },
  };
  const sidecars = {
    orders: new DemoSidecar(plans.orders),
    frontend: new DemoSidecar(plans.frontend),
    intruder: new DemoSidecar(plans.intruder),
  };
  // Clients need the port that orders was given.
  await sidecars.orders.start(plans.orders, processes);
  writeFiles(services, serviceFiles(portOf(sidecars.orders.addresses.inbound)));
  await Promise.all([
    sidecars.frontend.start(plans.frontend, processes),
    sidecars.intruder.start(plans.intruder, processes),
  ]);
  frontend.tell({ outbound: portOf(sidecars.frontend.addresses.outbound) });
  return { folder, ...sidecars, renew };
}

function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) replaceFile(join(folder, name), text, 0o644);
}

/** The DNS names are for curl, which knows no SPIFFE ID. */
function identity(authority: Authority, workload: Workload) {
  const names = workload === 'orders' ? ['localhost', ORDERS_HOST] : ['localhost'];
  return issue(authority, { spiffeId: spiffeId(workload), ttlMs: 3_600_000, dnsNames: names });
}

interface DemoApp {
  readonly port: number;
  tell(message: { outbound: number }): void;
}

async function startApp(file: string, processes: Processes): Promise<DemoApp> {
  const { child, ended, lastWords } = processes.spawn({ name: file, args: [file], channel: true });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(new Error(`${file} does not start`)), APP_START_MS);
  child.once('message', message => resolve((message as { port: number }).port));
  void ended.then(() => reject(new Error(`${file} does not start: ${lastWords.join(' ')}`)));
  const port = await promise.finally(() => clearTimeout(timer));
  return {
    port,
    tell: message => {
      child.send(message, () => {}); // an app that is gone has been told of already
    },
  };
}

export function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1));
}
