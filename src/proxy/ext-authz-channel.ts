/** gRPC channels to the endpoints of a provider; loaded when the first is wanted. */
import type { ChannelCredentials, Client } from '@grpc/grpc-js';
import type { EndpointTarget, OpenTls } from './cluster.ts';
import type { UpstreamTls } from './route.ts';

export type Grpc = typeof import('@grpc/grpc-js');
type Connector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/** An answer is kept in memory for each request that waits. */
const MAX_ANSWER_BYTES = 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000; // Istio's connectTimeout default
/** What a provider that comes back is not asked for at most, in ms; grpc-js's own pauses grow to two minutes. */
const LONGEST_PAUSE_MS = 1_000;
const FIRST_PAUSE_MS = 100;
/** As Istio's clusters of HTTP/2 offer; a sidecar tells by them that the connection is the mesh's and holds HTTP. */
const OFFERED_IN_MESH = ['istio-h2', 'istio', 'h2'];
const OFFERED_ELSEWHERE = ['h2'];

export interface ChannelOptions {
  readonly grpc: Grpc;
  readonly target: EndpointTarget;
  /** :authority of every call. */
  readonly authority: string;
  readonly openTls: OpenTls;
  /** Its server is not believed any more: no call may be begun on this channel. */
  onDisbelieved(): void;
}

export function openChannel(options: ChannelOptions): Client {
  const { grpc, target, authority } = options;
  const { security } = target.endpoint;
  const credentials = security.tls ? meshCredentials(options, security) : grpc.credentials.createInsecure();
  return new grpc.Client(`dns:${target.name}`, credentials, {
    'grpc.default_authority': authority,
    'grpc.primary_user_agent': 'outrider',
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.initial_reconnect_backoff_ms': FIRST_PAUSE_MS,
    'grpc.max_reconnect_backoff_ms': LONGEST_PAUSE_MS,
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
    'grpc.max_send_message_length': -1,
  });
}

/** TLS as towards any peer: the server is judged before a byte is sent. */
function meshCredentials(
  { grpc, target, openTls, onDisbelieved }: ChannelOptions,
  security: UpstreamTls & { tls: true },
): ChannelCredentials {
  const { address: host, port } = target.endpoint;
  const alpn = security.mode === 'ISTIO_MUTUAL' ? OFFERED_IN_MESH : OFFERED_ELSEWHERE;
  const connect: Connector['connect'] = socket =>
    new Promise((resolve, reject) => {
      socket.on('error', () => {}); // its TLS socket reports it; without a listener it ends the thread
      const to = { host, port, security, timeoutMs: CONNECT_TIMEOUT_MS, inlet: null, socket, alpn };
      openTls(to, (why, duct) => {
        if (duct === null) {
          reject(new Error(why ?? 'connection failed'));
          return;
        }
        const destroy = (): void => void duct.socket.destroy();
        target.watch(duct, { direction: 'outbound', retire: onDisbelieved, destroy });
        resolve({ socket: duct.socket, secure: true });
      });
    });
  class MeshCredentials extends grpc.ChannelCredentials {
    override _isSecure(): boolean {
      return true;
    }

    override _equals(other: ChannelCredentials): boolean {
      return other === this;
    }

    override _createSecureConnector(): Connector {
      return {
        connect,
        waitForReady: async () => {},
        getCallCredentials: () => grpc.CallCredentials.createEmpty(),
        destroy: () => {},
      };
    }
  }
  return new MeshCredentials();
}
