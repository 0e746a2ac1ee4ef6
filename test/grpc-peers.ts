/** gRPC apps on both sides of a pair of sidecars: @grpc/grpc-js, with bytes for messages. */
import {
  type CallOptions,
  type ChannelOptions,
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceError,
  type StatusObject,
} from '@grpc/grpc-js';
import { type Authority, temporaryIdentity, testIdentity } from './certificates.ts';
import { mutual, service } from './proxy/services.ts';
import { type Sidecar, startSidecar } from './sidecar.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

export const GRPC_HOST = 'grpc.foo';
const CLIENT_ID = 'foo/sleep';
const SERVER_ID = 'foo/httpbin';
export const CLIENT_SPIFFE = `spiffe://cluster.local/ns/foo/sa/sleep`;
const SERVER_SPIFFE = 'spiffe://cluster.local/ns/foo/sa/httpbin';

export const same = (bytes: Buffer): Buffer => bytes;

/** A method whose messages are bytes. @param path `/package.Service/Method` */
export function bytesMethod(
  path: string,
  requestStream: boolean,
  responseStream: boolean,
): MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream,
    responseStream,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

/** What the server does with a call, by its method. */
export const ECHO = {
  /** Answers with what it got, and its metadata in the trailers. */
  Unary: bytesMethod('/test.Echo/Unary', false, false),
  /** The same, and policy denies it. */
  Denied: bytesMethod('/test.Echo/Denied', false, false),
  /** Answers with all that it got. */
  Gather: bytesMethod('/test.Echo/Gather', true, false),
  /** As many messages as the request says, of as many bytes: `count bytes`. */
  Scatter: bytesMethod('/test.Echo/Scatter', false, true),
  /** Each message back. */
  Both: bytesMethod('/test.Echo/Both', true, true),
  /** An error with details and metadata. */
  Fail: bytesMethod('/test.Echo/Fail', false, false),
  /** One message, then an error. */
  FailLate: bytesMethod('/test.Echo/FailLate', false, true),
  /** No answer. */
  Never: bytesMethod('/test.Echo/Never', false, false),
  /** Its head and one message, and then nothing. */
  Stuck: bytesMethod('/test.Echo/Stuck', false, true),
} as const;

export const FAILURE = { code: 9, details: 'nicht möglich: ☃ 100 % \u0000' } as const;

const POLICY = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: foo}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: denied, namespace: foo}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/test.Echo/Denied]}}]}]}
`;

/** Things that happen, counted; `reach` waits for them. */
export class Tally {
  count = 0;
  #wake = new Set<() => void>();

  add(): void {
    this.count++;
    for (const wake of this.#wake) wake();
  }

  async reach(count: number): Promise<void> {
    while (this.count < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake.add(resolve);
      await promise;
      this.#wake.delete(resolve);
    }
  }
}

export interface GrpcApp {
  readonly port: number;
  /** Calls of Never and Stuck that came. */
  readonly held: Tally;
  /** Calls of any method that their client gave up. */
  readonly cancelled: Tally;
  /** Ends every connection at once. */
  stop(): void;
}

/** @param port 0 = any; another to come back where it was */
export async function startGrpcApp(
  t: Teardown,
  { port = 0, options = {} }: { readonly port?: number; readonly options?: ChannelOptions } = {},
): Promise<GrpcApp> {
  const [held, cancelled] = [new Tally(), new Tally()];
  const server = new Server({
    'grpc.max_receive_message_length': -1,
    'grpc.max_metadata_size': 128 * 1024,
    ...options,
  });
  const Unary: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    call.on('cancelled', () => cancelled.add());
    const told = call.metadata.clone();
    told.set('x-told', call.metadata.get('x-forwarded-client-cert').join());
    done(null, call.request, told);
  };
  const Gather: handleClientStreamingCall<Buffer, Buffer> = (call, done) => {
    const parts: Buffer[] = [];
    call.on('cancelled', () => cancelled.add());
    call.on('error', () => {});
    call.on('data', part => parts.push(part)).on('end', () => done(null, Buffer.concat(parts)));
  };
  const Scatter: handleServerStreamingCall<Buffer, Buffer> = call => {
    const [count = 0, bytes = 0] = String(call.request).split(' ').map(Number);
    let sent = 0;
    const send = (): void => {
      while (sent < count) {
        sent++;
        if (!call.write(Buffer.alloc(bytes, `${sent} `))) {
          call.once('drain', send);
          return;
        }
      }
      call.end();
    };
    call.on('cancelled', () => cancelled.add());
    send();
  };
  const Both: handleBidiStreamingCall<Buffer, Buffer> = call => {
    call.on('cancelled', () => cancelled.add());
    call.on('error', () => {});
    call.on('data', part => call.write(part)).on('end', () => call.end());
  };
  const Fail: handleUnaryCall<Buffer, Buffer> = (_, done) => {
    const metadata = new Metadata();
    metadata.set('x-more', 'told');
    metadata.set('x-bytes-bin', Buffer.from([0, 255, 10]));
    done({ ...FAILURE, metadata });
  };
  const FailLate: handleServerStreamingCall<Buffer, Buffer> = call => {
    call.write(Buffer.from('first'));
    call.emit('error', FAILURE);
  };
  const Never: handleUnaryCall<Buffer, Buffer> = call => {
    call.on('cancelled', () => cancelled.add());
    held.add();
  };
  const Stuck: handleServerStreamingCall<Buffer, Buffer> = call => {
    call.on('cancelled', () => cancelled.add());
    call.write(Buffer.from('first'));
    held.add();
  };
  server.addService(ECHO, { Unary, Denied: Unary, Gather, Scatter, Both, Fail, FailLate, Never, Stuck });
  const bound = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) =>
      error ? reject(error) : resolve(at),
    ),
  );
  t.teardown(() => server.forceShutdown());
  return { port: bound, held, cancelled, stop: () => server.forceShutdown() };
}

export interface GrpcPair {
  readonly inbound: Sidecar;
  readonly outbound: Sidecar;
  readonly serverIdentity: string;
}

export interface PairOptions {
  readonly app: number;
  /** Where the outbound sidecar finds the inbound one; absent = at its port. */
  readonly via?: (inbound: number) => Promise<number>;
  /** More of the DestinationRule's trafficPolicy, YAML flow. */
  readonly policy?: string;
  /** What the app speaks. */
  readonly speaks?: 'http' | 'http2' | 'auto';
}

/** client → outbound sidecar → mutual TLS → inbound sidecar → server */
export async function startGrpcPair(
  t: Teardown,
  authority: Authority,
  options: PairOptions,
): Promise<GrpcPair> {
  const serverIdentity = temporaryIdentity(t, await testIdentity(authority, SERVER_ID));
  const inbound = await startInbound(t, { ...options, serverIdentity });
  const endpoint = (await options.via?.(inbound.ports.inbound)) ?? inbound.ports.inbound;
  const policy = options.policy === undefined ? '' : `, ${options.policy}`;
  const outbound = await startSidecar(t, {
    certs: temporaryIdentity(t, await testIdentity(authority, CLIENT_ID)),
    manifests: `kind: MeshConfig${service({
      host: GRPC_HOST,
      endpoints: [endpoint],
      protocol: 'GRPC',
      policy: `${mutual(SERVER_SPIFFE)}${policy}`,
    })}`,
  });
  return { inbound, outbound, serverIdentity };
}

/** The sidecar beside the server. @param port 0 = any; another to come back where it was */
export function startInbound(
  t: Teardown,
  {
    app,
    speaks = 'http2',
    serverIdentity,
    port = 0,
  }: Pick<PairOptions, 'app' | 'speaks'> & { readonly serverIdentity: string; readonly port?: number },
): Promise<Sidecar> {
  return startSidecar(t, {
    certs: serverIdentity,
    app,
    manifests: POLICY,
    flags: ['--protocol', `${app}=${speaks}`, '--inbound', `127.0.0.1:${port}`],
  });
}

/** A channel to the outbound sidecar; it retries nothing by itself. */
export function grpcClient(t: Teardown, port: number, options: ChannelOptions = {}): Client {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.default_authority': GRPC_HOST,
    'grpc.enable_retries': 0,
    'grpc.max_receive_message_length': -1,
    'grpc.max_metadata_size': 128 * 1024,
    'grpc.initial_reconnect_backoff_ms': 100,
    ...options,
  });
  t.teardown(() => client.close());
  return client;
}

export interface Ended {
  readonly status: StatusObject;
  readonly answer: Buffer | undefined;
}

export interface UnaryOptions {
  readonly metadata?: Metadata;
  readonly options?: CallOptions;
  /** Gets what cancels the call. */
  readonly given?: (cancel: () => void) => void;
}

/** A unary call to its end; never rejects. */
export function unary(
  client: Client,
  { path }: MethodDefinition<Buffer, Buffer>,
  request: Buffer,
  { metadata = new Metadata(), options = {}, given }: UnaryOptions = {},
): Promise<Ended> {
  return new Promise(resolve => {
    let answer: Buffer | undefined;
    const done = (_: ServiceError | null, value?: Buffer): void => {
      answer = value;
    };
    const call = client.makeUnaryRequest(path, same, same, request, metadata, options, done);
    call.on('status', status => queueMicrotask(() => resolve({ status, answer })));
    given?.(() => call.cancel());
  });
}

export interface Streamed {
  readonly status: StatusObject;
  readonly parts: readonly Buffer[];
}

/** Reads a stream to its end; never rejects. `onPart` gets each message. */
export function drainStream(
  stream: NodeJS.ReadableStream,
  onPart: (count: number) => void = () => {},
): Promise<Streamed> {
  return new Promise(resolve => {
    const parts: Buffer[] = [];
    let status: StatusObject | null = null;
    let over = false;
    const end = (): void => {
      if (status !== null && over) resolve({ status, parts });
    };
    stream.on('data', (part: Buffer) => onPart(parts.push(part)));
    stream.on('error', () => {});
    for (const event of ['end', 'close', 'error'])
      stream.on(event, () => {
        over = true;
        end();
      });
    stream.on('status', (told: StatusObject) => {
      status = told;
      end();
    });
  });
}
