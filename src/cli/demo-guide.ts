/** What the demo says before its story and after it: who is there, and what to try. */
import { ORDERS_HOST } from './demo-manifests.ts';
import { type Mesh, portOf, spiffeId } from './demo-mesh.ts';
import type { Paper } from './demo-paper.ts';
import type { DemoSidecar } from './demo-sidecar.ts';

// From a checkout there is no `outrider` in the path.
const COMMAND = import.meta.url.endsWith('.ts') ? 'npm run -s outrider --' : 'outrider';

export function introduce(paper: Paper, mesh: Mesh): void {
  paper.title('Outrider demo: a small mesh on this machine');
  paper.line();
  paper.line('  frontend                                          orders');
  paper.line('  ┌─────┐  http  ┌─────────┐   mutual TLS   ┌─────────┐  http  ┌─────┐');
  paper.line('  │ app │───────▶│ sidecar │═══════════════▶│ sidecar │───────▶│ app │');
  paper.line('  └─────┘        └─────────┘       ╔═══════▶└─────────┘        └─────┘');
  paper.line('  intruder       ┌─────────┐       ║          who is it? may they?');
  paper.line('                 │ sidecar │═══════╝');
  paper.line('                 └─────────┘');
  for (const { addresses } of sidecarsOf(mesh)) paper.line(`  ${addresses.id}`);
  paper.line();
  paper.note(`Certificates, policies and apps are files in ${mesh.folder}; it is removed at the end.`);
}

/** The demo goes on: where everything is, and commands to copy. */
export function invite(paper: Paper, mesh: Mesh, tookMs: number): void {
  const { orders, frontend, folder } = mesh;
  paper.line();
  paper.title(`Told in ${(tookMs / 1000).toFixed(1)} s. The mesh is yours until Ctrl-C.`);
  paper.line();
  paper.line(`  ${columns('', 'inbound', 'outbound', 'admin', 'metrics')}`);
  for (const { name, addresses } of sidecarsOf(mesh)) {
    const { inbound, outbound, admin, telemetry } = addresses;
    paper.line(`  ${columns(name, inbound, outbound, admin, telemetry)}`);
  }
  paper.line();
  paper.note(
    'Edit a policy, save it, ask again; a file with a fault is refused and the last good one holds:',
  );
  paper.line(`  D=${folder}`);
  paper.line(`  $EDITOR $D/policy/orders-callers.yaml    # then: ${COMMAND} check $D/policy`);
  paper.line();
  paper.note("As the frontend's app does, in plain HTTP to its sidecar:");
  paper.line(`  curl -i -x http://${frontend.addresses.outbound} http://${ORDERS_HOST}/orders/42`);
  paper.line();
  paper.note(
    'With a certificate, without a sidecar in front (write intruder for frontend, and it is denied):',
  );
  paper.line('  curl -i --cacert $D/orders/root-cert.pem --cert $D/frontend/cert-chain.pem \\');
  paper.line(`    --key $D/frontend/key.pem https://localhost:${portOf(orders.addresses.inbound)}/orders/42`);
  paper.line();
  paper.note('Why would something be denied?');
  paper.line(`  ${COMMAND} explain --config $D/policy --namespace shop --labels app=orders \\`);
  paper.line(`    --port ${orders.appPort} --principal ${spiffeId('intruder')} --path /orders/42`);
  paper.line();
  paper.note('What the sidecar of orders holds and has counted:');
  paper.line(`  curl -s ${orders.addresses.admin}/certs`);
  paper.line(`  curl -s ${orders.addresses.telemetry}/stats/prometheus | grep outrider_policy`);
  paper.line();
  paper.title('From here on, what the sidecars see:');
}

function sidecarsOf({ frontend, orders, intruder }: Mesh): readonly DemoSidecar[] {
  return [frontend, orders, intruder];
}

function columns(first: string, ...rest: readonly string[]): string {
  return (
    first.padEnd(10) +
    rest
      .map(text => text.padEnd(18))
      .join('')
      .trimEnd()
  );
}
