/** What both sidecars and the app must have seen of a request, whatever it was. */
import { deepEqual, equal } from 'node:assert/strict';
import { HTTPBIN, type Pair, SLEEP, SNI } from './pair.ts';

/** What the app is told of the client, in Istio's form. */
export const XFCC = new RegExp(`^By=${HTTPBIN};Hash=[0-9a-f]{64};Subject="";URI=${SLEEP}$`);

/** What the logs say of one request; by default the first of `askAll`. */
export interface Seen {
  readonly path?: string;
  readonly status?: number;
  /** Between the sidecars. */
  readonly protocol?: 'HTTP/1.1' | 'HTTP/2';
}

/** Outrider knows the client by its certificate, and what it asked for in TLS; Envoy found the server that it expects. */
export async function seenByOutrider({ outrider, envoy }: Pair, seen: Seen = {}): Promise<void> {
  const { path = '/first?x=1', status = 200, protocol = 'HTTP/1.1' } = seen;
  const line = await outrider.access.take(l => l.path === path);
  deepEqual(
    [line.source_principal, line.requested_server_name, line.response_code, line.protocol],
    [SLEEP, SNI, status, protocol],
  );
  equal((await envoy.access.take(l => l.path === path)).server, HTTPBIN);
}

/** The same, the other way round; `chain` is which of Istio's filter chains took the connection. */
export async function seenByEnvoy({ outrider, envoy }: Pair, seen: Seen = {}): Promise<void> {
  const { path = '/first?x=1', status = 200, protocol = 'HTTP/1.1' } = seen;
  const line = await envoy.access.take(l => l.path === path);
  deepEqual(
    [line.client, line.sni, line.chain, line.status, line.protocol],
    [SLEEP, SNI, 'mtls-http', status, protocol],
  );
  equal((await outrider.access.take(l => l.path === path)).response_code, status);
}
