/** Before anything is measured: does the peer do the job at all? A fast answer that skips the work is worth nothing. */
import { ask, tlsContext } from '../ask.ts';
import { type Bench, withInstances } from '../bench.ts';
import { SERVICE_HOST } from '../workload.ts';
import type { Peer } from './peer.ts';

/**
 * Throws, naming the peer and what it did, unless it forwards, verifies and refuses as configured. A peer for HTTP/2 alone is
 * asked before its first case, as every peer is for HTTP/2 (verify-h2.ts).
 */
export async function verifyPeer(bench: Bench, peer: Peer): Promise<void> {
  if (!peer.can({ direction: 'inbound', protocol: 'http' })) return;
  await verifyInbound(bench, peer);
  await verifyOutbound(bench, peer);
}

async function verifyInbound(bench: Bench, peer: Peer): Promise<void> {
  const { client, stranger, server } = bench.identities;
  const role = { direction: 'inbound', protocol: 'http', target: bench.origin.http } as const;
  await withInstances(bench, peer, [role], async ([instance]) => {
    const from = (own: { cert: string; key: string } | null) =>
      ask({ port: instance?.port ?? 0, path: '/head', context: tlsContext(server.root, own) });
    const allowed = await from(client);
    if (!allowed.answered || allowed.status !== 200) fail(peer, 'did not answer the allowed client', allowed);
    if (!/^x-forwarded-client-cert: .*Hash=/im.test(allowed.body))
      fail(peer, 'sent no client certificate', allowed);
    if (!allowed.body.includes(SERVICE_HOST)) fail(peer, 'changed the Host', allowed);
    if (/^connection: close/im.test(allowed.body))
      fail(peer, 'does not keep its connection to the app', allowed);
    const denied = await from(stranger);
    if (denied.answered && denied.status !== 403) fail(peer, 'answered a client that policy denies', denied);
    const unknown = await from(null);
    if (unknown.answered && unknown.status === 200)
      fail(peer, 'answered a client without a certificate', unknown);
    const metrics = await ask({ port: instance?.admin ?? 0, path: metricsPath(peer), context: null });
    if (!metrics.answered || metrics.status !== 200) fail(peer, 'serves no metrics', metrics);
  });
}

async function verifyOutbound(bench: Bench, peer: Peer): Promise<void> {
  const role = { direction: 'outbound', protocol: 'http', target: bench.origin.https } as const;
  await withInstances(bench, peer, [role], async ([instance]) => {
    const answer = await ask({ port: instance?.port ?? 0, path: '/head', context: null });
    if (!answer.answered || answer.status !== 200) fail(peer, 'did not reach the mutual-TLS server', answer);
    if (!answer.body.includes(SERVICE_HOST)) fail(peer, 'changed the Host', answer);
    if (/^connection: close/im.test(answer.body)) fail(peer, 'does not keep its upstream connection', answer);
  });
}

function metricsPath(peer: Peer): string {
  return peer.name === 'envoy' ? '/stats/prometheus' : '/metrics';
}

function fail(peer: Peer, what: string, answer: unknown): never {
  throw new Error(`${peer.name} ${what}: ${JSON.stringify(answer)}`);
}
