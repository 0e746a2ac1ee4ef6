/** FetchX509SVID of the SPIFFE Workload API: one connection with one stream of answers. */
import type { Client } from '@grpc/grpc-js';

export type Grpc = typeof import('@grpc/grpc-js');
export type Protobuf = typeof import('protobufjs');

const METHOD = '/SpiffeWorkloadAPI/FetchX509SVID';
const NO_MESSAGE = Buffer.alloc(0); // X509SVIDRequest has no fields
const MAX_ANSWER_BYTES = 4 * 1024 * 1024; // gRPC's own default: thousands of certificates
const KEEPALIVE_MS = 360_000; // gRPC servers in Go hang up on who pings more often than every five minutes

export interface SvidStreamOptions {
  readonly grpc: Grpc;
  /** As gRPC names it. */
  readonly target: string;
  onAnswer(bytes: Buffer): void;
  /** The stream is over, with gRPC's status; not called after `close`. */
  onEnd(code: number, details: string): void;
}

export interface SvidStream {
  close(): void;
}

/** Connects and asks; each stream has a connection of its own, so that asking again really asks again. */
export function openSvidStream({ grpc, target, onAnswer, onEnd }: SvidStreamOptions): SvidStream {
  const client: Client = new grpc.Client(target, grpc.credentials.createInsecure(), {
    'grpc.primary_user_agent': 'outrider',
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
  });
  const metadata = new grpc.Metadata();
  metadata.set('workload.spiffe.io', 'true'); // Workload Endpoint 3: shows that no forged request came this way
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    call.cancel();
    client.close();
  };
  const call = client.makeServerStreamRequest<Buffer, Buffer>(
    METHOD,
    bytes => bytes,
    bytes => bytes,
    NO_MESSAGE,
    metadata,
  );
  call.on('error', () => {}); // comes as the status too
  call.on('data', (bytes: Buffer) => {
    if (open) onAnswer(bytes);
  });
  call.on('status', ({ code, details }) => {
    if (!open) return;
    close();
    onEnd(code, details);
  });
  return { close };
}

/** Loads what speaks the protocol: tens of milliseconds that an identity from files does not need. */
export async function loadGrpc(): Promise<{ readonly grpc: Grpc; readonly protobuf: Protobuf }> {
  // Both are CommonJS: `default` is what they export, under Node and in the bundle, which has no names beside it.
  const [{ default: grpc }, { default: protobuf }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('protobufjs/minimal.js'),
  ]);
  // What goes wrong comes back with the status; standard error is the log's.
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  return { grpc, protobuf };
}
