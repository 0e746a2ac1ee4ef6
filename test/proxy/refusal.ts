/** One request in and one out of a sidecar, for the reason why it was refused. */
import type { Test } from 'tap';
import type { IdentityPems } from '../certificates.ts';
import { get, wirePlain, wireTls } from '../peers.ts';
import type { Sidecar } from '../sidecar.ts';

/** Why a client with this identity is refused, as the access log says it; null = it is served. */
export async function inboundRefusal(t: Test, sidecar: Sidecar, pems: IdentityPems): Promise<string | null> {
  const wire = await wireTls(t, sidecar.ports.inbound, pems);
  const reply = wire.ask(get('/')).then(
    ({ status }) => String(status),
    () => null,
  );
  // Lines of outbound connections are left where they are, and one of those may have had the same port.
  const at = { local: `127.0.0.1:${sidecar.ports.inbound}`, remote: `127.0.0.1:${wire.localPort}` };
  const line = await sidecar.access.take(
    l => l.downstream_local_address === at.local && l.downstream_remote_address === at.remote,
  );
  const status = await reply; // the line may be read before the answer is
  wire.socket.destroy();
  return status === '200' ? null : line.response_code_details;
}

/** Why the app gets no answer of a host; null = it gets one. */
export async function outboundRefusal(t: Test, sidecar: Sidecar, host: string): Promise<string | null> {
  const wire = await wirePlain(t, sidecar.ports.outbound);
  const reply = await wire.ask(get('/', 'connection: close').replace('app.example', host));
  await wire.rest();
  return reply.status === 200 ? null : reply.body.replace('upstream connect error: ', '');
}
