/**
 * What becomes of an outbound connection that the app addressed to somebody else: by the service at its address, by the
 * host that its first bytes name (HTTP, or the ClientHello of TLS that is passed on as it is), or on to where it was going.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../http/exchange.ts';
import { ClientHelloReader, type Opening } from '../net/client-hello.ts';
import { isHttp1 } from '../net/detect.ts';
import type { Address } from '../net/listen.ts';
import type { Cluster } from './cluster.ts';
import type { Clusters } from './clusters.ts';
import { peek } from './peek.ts';
import { isBytes } from './service-addresses.ts';

/** `bytes`: to `cluster`, or to nowhere when that is null. `gone`: the app has left. `loop`: it is Outrider's own. */
export type Captured =
  | { readonly as: 'http'; readonly first: Buffer | null }
  | {
      readonly as: 'bytes';
      readonly cluster: Cluster | null;
      readonly first: Buffer | null;
      readonly sni: string | null;
    }
  | { readonly as: 'gone' }
  | { readonly as: 'loop' };

export interface CapturedParts {
  readonly clusters: Clusters;
  readonly clock: Clock;
  /** How long the app's first bytes are waited for; 0 = for ever. */
  readonly timeoutMs: number;
}

type Heard = Exclude<Opening, 'not-tls'> | 'http' | 'bytes';

/** Calls `done` once, at once where nothing has to be seen of the connection; its socket is paused then. */
export function routeCaptured(
  raw: Socket,
  to: Address,
  parts: CapturedParts,
  done: (captured: Captured) => void,
): void {
  const { clusters, clock, timeoutMs } = parts;
  const at = clusters.findAt(to);
  const protocol = at?.spec.port.protocol ?? '';
  const bytes = (first: Buffer | null, sni: string | null = null): void => {
    const named = sni === null ? null : clusters.findSni(sni, to);
    done({ as: 'bytes', cluster: named ?? at ?? clusters.passthroughTo(to), first, sni });
  };
  // Nothing that the app could say would lead elsewhere, and its server may be the one that speaks first.
  if (isBytes(protocol) || (at === null && !clusters.namesHosts(to.port))) {
    bytes(null);
    return;
  }
  if (SPEAKS_HTTP.test(protocol)) {
    done({ as: 'http', first: null });
    return;
  }
  const hello = new ClientHelloReader();
  peek<Heard>(raw, {
    clock,
    timeoutMs,
    decide: begun => listen(hello, begun),
    atEnd: 'bytes',
    done: (heard, first) => {
      if (first === null) done({ as: 'gone' });
      else if (heard === 'http') done({ as: 'http', first });
      // Silent for too long, or saying nothing that tells.
      else if (heard === null || typeof heard === 'string') bytes(first);
      else if (heard.sni?.startsWith(OWN_SNI)) done({ as: 'loop' });
      else bytes(first, heard.sni);
    },
  });
}

const SPEAKS_HTTP = /^(?:HTTP|HTTP2|HTTP_PROXY|GRPC|GRPC-WEB)$/;
/** Of mutual TLS between sidecars: no app asks for such a name. */
const OWN_SNI = 'outbound_.';

function listen(hello: ClientHelloReader, bytes: Buffer): Heard | null {
  const opening = hello.look(bytes);
  if (opening !== 'not-tls') return opening;
  // CONNECT is for the proxy that the app chose, which is none of ours.
  if (bytes.toString('latin1', 0, 8) === 'CONNECT ') return 'bytes';
  const http = isHttp1(bytes);
  return http === null ? null : http ? 'http' : 'bytes';
}
