/** What every peer is given to do: names, sizes and identities that the load, the app and the configurations share. */

/** Body of a small reply. */
export const SMALL_BYTES = 57;
/** Body of a large reply and of a large request. */
export const LARGE_BYTES = 16 * 1024;

/** HTTP/2 load: connections, and streams open at a time on each. */
export const H2_CONNECTIONS = 8;
export const H2_STREAMS = 16;
/** What policy allows where no certificate says who asks. */
export const ALLOWED_METHODS = ['GET', 'POST'];
/** Content of a gRPC message. */
export const GRPC_MESSAGE_BYTES = 100;
const GRPC_HEAD_BYTES = 5; // compressed or not, length

/** One gRPC message as it lies in DATA. */
export function grpcMessage(): Buffer {
  const message = Buffer.alloc(GRPC_HEAD_BYTES + GRPC_MESSAGE_BYTES, 'm');
  message.writeUInt8(0, 0);
  message.writeUInt32BE(GRPC_MESSAGE_BYTES, 1);
  return message;
}

/** First byte of a bulk connection: the app sends, or the app takes. */
export const SOURCE = 'S';
export const SINK = 'K';

export const TRUST_DOMAIN = 'bench.local';
export const NAMESPACE = 'bench';
/** Who calls: the load generator's identity inbound, the measured proxy's identity outbound. */
export const CLIENT_ID = `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/client`;
/** Who is called: the measured proxy's identity inbound, the app's identity outbound. */
export const SERVER_ID = `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/server`;
/** Verified by every peer, but not on the allow list. */
export const STRANGER_ID = `spiffe://${TRUST_DOMAIN}/ns/${NAMESPACE}/sa/stranger`;
/** The name that clients ask for; also the server's DNS SAN, for peers that cannot check a SPIFFE ID. */
export const SERVICE_HOST = 'server.bench.svc.cluster.local';

/** The TLS that the bench's own ends offer, so that every peer negotiates the same: TLS 1.3, AES-128-GCM, X25519. */
export const CLIENT_TLS = {
  minVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
  ecdhCurve: 'X25519',
} as const;
