/** The demo's story: what is asked, what happens, and why, taken from the sidecars' own logs and explanations. */
import { randomUUID } from 'node:crypto';
import { type Asked, DemoClient, explainAt, lineOf, refusalAt } from './demo-ask.ts';
import { changePolicy, renewUnderLoad } from './demo-changes.ts';
import { ORDERS_HOST, PAYMENTS_HOST } from './demo-manifests.ts';
import type { Mesh } from './demo-mesh.ts';
import type { Paper } from './demo-paper.ts';
import { askOrders, asks, gets, logWords, type Scene, why } from './demo-scene.ts';
import type { DemoSidecar } from './demo-sidecar.ts';

const READ: Asked = { method: 'GET', host: ORDERS_HOST, path: '/orders/42' };
const CANCEL: Asked = { ...READ, method: 'DELETE' };
const HIDDEN: Asked = { ...READ, path: '/orders/%2e%2e/admin/keys' };
const PAY: Asked = { method: 'GET', host: PAYMENTS_HOST, path: '/balance' };

/** Tells the story. @returns what did not go as told. @throws Error when a sidecar does not answer at all */
export async function tellStory(mesh: Mesh, paper: Paper): Promise<readonly string[]> {
  const client = new DemoClient();
  const scene: Scene = { mesh, paper, client, surprises: [] };
  const { frontend, intruder } = mesh;
  try {
    await readOrder(scene);
    await refused(scene, {
      title: 'The frontend asks for admin pages, behind a path that hides them',
      from: frontend,
      asked: HIDDEN,
    });
    await refused(scene, {
      title: 'The frontend cancels an order, which no policy allows',
      from: frontend,
      asked: CANCEL,
    });
    await refused(scene, {
      title: 'The intruder asks for the same order: a good certificate, the wrong name',
      from: intruder,
      asked: READ,
    });
    await knock(scene);
    await meetImpostor(scene);
    await renewUnderLoad(scene, READ);
    await changePolicy(scene, CANCEL);
  } finally {
    await client.close();
  }
  return scene.surprises;
}

/** Allowed; and what the app gets to know of its caller. */
async function readOrder(scene: Scene): Promise<void> {
  scene.paper.chapter('The frontend reads an order');
  asks(scene, 'frontend → orders', READ);
  const { answer, line } = await askOrders(scene, scene.mesh.frontend, READ);
  gets(scene, answer, 200);
  const again = await scene.client.through(scene.mesh.frontend, READ);
  scene.paper.row('again', `${again.ms.toFixed(1)} ms, now that the connections are open`);
  scene.paper.row('app', `was told ${shortened(answer.body.split('\n')[1] ?? '')}`);
  await why(scene, READ, line);
}

/** The header fits on a line without most of its hash and the path to its own name. */
function shortened(header: string): string {
  return header.replace(/By=[^;]*(\/sa\/[^;]*)/, 'By=…$1').replace(/Hash=(\w{8})\w*/, 'Hash=$1…');
}

interface Refusal {
  readonly title: string;
  readonly from: DemoSidecar;
  readonly asked: Asked;
}

/** Denied by policy at orders' sidecar. */
async function refused(scene: Scene, { title, from, asked }: Refusal): Promise<void> {
  scene.paper.chapter(title);
  asks(scene, `${from.name} → orders`, asked);
  const { answer, line } = await askOrders(scene, from, asked);
  gets(scene, answer, 403);
  await why(scene, asked, line);
}

/** Without a certificate: in plaintext, then over TLS. */
async function knock(scene: Scene): Promise<void> {
  const { mesh, paper, client } = scene;
  paper.chapter('A stranger has no certificate');
  for (const scheme of ['http', 'https'] as const) {
    const coming = refusalAt(mesh.orders);
    asks(scene, `stranger → orders' sidecar, ${scheme === 'http' ? 'plaintext' : 'TLS'}`, READ);
    gets(scene, await client.knock(mesh.orders, scheme, READ), null);
    if (scheme === 'http') {
      for (const clause of await explainAt(mesh.orders, READ, null)) paper.row('why', clause);
    } else paper.row('why', 'mutual TLS: the client must present a certificate that leads to root-cert.pem');
    paper.row('log', logWords(await coming));
  }
}

/** The server is not who it should be; the client's sidecar notices before it sends a byte. */
async function meetImpostor(scene: Scene): Promise<void> {
  const { mesh, paper, client } = scene;
  paper.chapter('The address of payments leads to orders');
  asks(scene, 'frontend → payments', PAY);
  const id = randomUUID();
  const coming = lineOf(mesh.frontend, PAY, id);
  gets(scene, await client.through(mesh.frontend, PAY, id), 503);
  paper.row(
    'why',
    'DestinationRule shop/payments: subjectAltNames wants spiffe://cluster.local/ns/shop/sa/payments',
  );
  paper.row('log', logWords(await coming));
}
