/** What changes while the mesh runs: certificates under load, and a policy file. */
import { hash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CERT_CHAIN, replaceFile } from '../identity/folder.ts';
import type { Asked } from './demo-ask.ts';
import { DemoLoad } from './demo-load.ts';
import { ordersCallers } from './demo-manifests.ts';
import { askOrders, asks, gets, type Scene, surprise, why } from './demo-scene.ts';

const CLIENTS = 8;
const LOAD_MS = { before: 200, after: 400 };
const WAIT_MS = { between: 20, atMost: 10_000 };

/** Replaces the certificates of both workloads while clients keep asking. */
export async function renewUnderLoad(scene: Scene, asked: Asked): Promise<void> {
  const { mesh, paper } = scene;
  paper.chapter(`New certificates on disk while ${CLIENTS} clients keep asking`);
  asks(scene, `frontend → orders, ${CLIENTS} at a time`, asked);
  const before = leaves(mesh.folder);
  const load = new DemoLoad(scene, asked, CLIENTS);
  await delay(LOAD_MS.before);
  const replaced = [mesh.frontend, mesh.orders].map(sidecar =>
    sidecar.log.next(`new certificate at ${sidecar.name}`, line => line.msg === 'certificates replaced'),
  );
  await Promise.all([mesh.renew('frontend'), mesh.renew('orders')]);
  const written = performance.now();
  await Promise.all(replaced);
  const ms = performance.now() - written;
  await delay(LOAD_MS.after);
  const { sent, failed, callers } = await load.stop();

  const after = leaves(mesh.folder);
  paper.row('serials', `frontend ${before.frontend.serial} → ${after.frontend.serial}`);
  paper.row('', `orders   ${before.orders.serial} → ${after.orders.serial}`);
  const seen = [before.frontend.hash, after.frontend.hash].every(wanted => callers.has(wanted));
  paper.row('gets', ` requests, ${failed} failed`, String(sent), failed === 0 ? 'good' : 'bad');
  paper.row(
    'why',
    `both sidecars had the new files ${ms.toFixed(0)} ms after they were written: new handshakes use them, ` +
      `requests in flight end on the old ones. ${seen ? 'The app saw both certificates of the frontend.' : ''}`,
  );
  if (failed > 0) surprise(scene, `${failed} requests failed`);
  if (!seen) surprise(scene, 'the app did not see both certificates of the frontend');
}

/** Serial and hash of each workload's certificate as it stands on disk. */
function leaves(folder: string) {
  const read = (workload: string) => {
    const { raw, serialNumber } = new X509Certificate(readFileSync(join(folder, workload, CERT_CHAIN)));
    return { serial: serialNumber, hash: hash('sha256', raw, 'hex') };
  };
  return { frontend: read('frontend'), orders: read('orders') };
}

/** Allows by an edit on disk what was denied before, and asks until the answer is another. */
export async function changePolicy(scene: Scene, asked: Asked): Promise<void> {
  const { mesh, paper } = scene;
  const file = 'policy/orders-callers.yaml';
  paper.chapter('One word added to a policy file changes the answer');
  paper.row('edit', `${file}: methods: [GET] becomes [GET, ${asked.method}]`);
  replaceFile(join(mesh.folder, file), ordersCallers(`GET, ${asked.method}`), 0o644);
  const saved = performance.now();
  asks(scene, 'frontend → orders, again', asked);
  let exchange = await askOrders(scene, mesh.frontend, asked);
  while (exchange.answer.status === 403 && performance.now() - saved < WAIT_MS.atMost) {
    await delay(WAIT_MS.between);
    exchange = await askOrders(scene, mesh.frontend, asked);
  }
  const ms = performance.now() - saved;
  gets(scene, exchange.answer, 200);
  paper.row('after', `${ms.toFixed(0)} ms from saving the file; nothing was restarted`);
  await why(scene, asked, exchange.line);
}
