/** gRPC by @grpc/grpc-js at both ends: every kind of call, status and metadata in trailers, deadline, cancellation, denial. */
import { deepEqual, equal, match } from 'node:assert/strict';
import { once } from 'node:events';
import {
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
  status,
} from '@grpc/grpc-js';
import { testIdentity } from '../certificates.ts';
import { bytesMethod, same } from '../grpc-peers.ts';
import { envoyToOutrider, HOST, mesh, outriderToEnvoy, type Pair, type PairOptions } from './pair.ts';
import { seenByEnvoy, seenByOutrider, XFCC } from './seen.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const MIB = 1024 * 1024;
const MANY = 50;
const SERVICE = {
  Unary: bytesMethod('/interop.Echo/Unary', false, false),
  Gather: bytesMethod('/interop.Echo/Gather', true, false),
  Scatter: bytesMethod('/interop.Echo/Scatter', false, true),
  Both: bytesMethod('/interop.Echo/Both', true, true),
  Fail: bytesMethod('/interop.Echo/Fail', false, false),
  Never: bytesMethod('/interop.Echo/Never', false, false),
};

interface Call {
  readonly what: string;
  readonly path: string;
  run(client: Client, app: App): Promise<void>;
}

const CALLS: readonly Call[] = [
  { what: 'unary', path: SERVICE.Unary.path, run: unary },
  { what: 'client streaming', path: SERVICE.Gather.path, run: clientStreaming },
  { what: 'server streaming', path: SERVICE.Scatter.path, run: serverStreaming },
  { what: 'bidirectional streaming', path: SERVICE.Both.path, run: bidirectional },
  { what: 'an error with its status, message and metadata', path: SERVICE.Fail.path, run: failing },
  { what: 'a deadline that passes', path: SERVICE.Never.path, run: deadline },
  { what: 'a call that its client cancels', path: SERVICE.Never.path, run: cancellation },
];

export const GRPC_ROWS: readonly Row[] = [
  ...CALLS.flatMap(call => [
    row(TO_OUTRIDER, call.what, async stage => {
      const { pair, client, app } = await start(stage, envoyToOutrider, {});
      await call.run(client, app);
      if (!call.path.endsWith('Never')) await seenByOutrider(pair, { path: call.path, protocol: 'HTTP/2' });
    }),
    row(TO_ENVOY, call.what, async stage => {
      const { pair, client, app } = await start(stage, outriderToEnvoy, {});
      await call.run(client, app);
      if (!call.path.endsWith('Never')) await seenByEnvoy(pair, { path: call.path, protocol: 'HTTP/2' });
    }),
  ]),
  row(TO_OUTRIDER, 'a port that declares nothing', async stage => {
    const { client } = await start(stage, envoyToOutrider, { declared: 'auto' });
    await unary(client);
    await bidirectional(client);
  }),
  row(TO_ENVOY, 'a port that declares nothing', async stage => {
    const { client } = await start(stage, outriderToEnvoy, { declared: 'auto' });
    await unary(client);
    await bidirectional(client);
  }),
  row(TO_OUTRIDER, 'refused: the client is another workload', stage => denied(stage, envoyToOutrider)),
  row(TO_ENVOY, 'refused: the client is another workload', stage => denied(stage, outriderToEnvoy)),
];

function row(direction: string, what: string, run: Row['run']): Row {
  return { peer: 'Envoy', protocol: 'gRPC', direction, what, run };
}

async function start(stage: Stage, pairUp: typeof envoyToOutrider, options: Partial<PairOptions>) {
  const app = await startServer(stage);
  const entryProtocol = 'GRPC';
  const pair: Pair = await pairUp(stage, { app: app.port, spoken: 'http2', entryProtocol, ...options });
  const client = new Client(`127.0.0.1:${pair.entry}`, credentials.createInsecure(), {
    'grpc.default_authority': HOST,
    'grpc.enable_retries': 0,
    'grpc.max_receive_message_length': -1,
  });
  stage.teardown(() => client.close());
  return { pair, client, app };
}

interface App {
  readonly port: number;
  /** Resolves when a call was cancelled by its client. */
  readonly cancelled: Promise<void>;
  /** Resolves when a call came. */
  readonly asked: Promise<void>;
}

async function startServer(stage: Stage): Promise<App> {
  const cancelled = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const server = new Server({ 'grpc.max_receive_message_length': -1 });
  const Unary: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    const trailer = new Metadata();
    trailer.set('x-told', call.metadata.get('x-forwarded-client-cert').join());
    trailer.set('x-bytes-bin', Buffer.from([0, 255, 10]));
    done(null, call.request, trailer);
  };
  const Gather: handleClientStreamingCall<Buffer, Buffer> = (call, done) => {
    const parts: Buffer[] = [];
    call.on('data', part => parts.push(part)).on('end', () => done(null, Buffer.concat(parts)));
  };
  const Scatter: handleServerStreamingCall<Buffer, Buffer> = call => {
    for (let i = 0; i < MANY; i++) call.write(Buffer.concat([call.request, Buffer.from(` ${i}`)]));
    call.end();
  };
  const Both: handleBidiStreamingCall<Buffer, Buffer> = call => {
    call.on('data', part => call.write(part)).on('end', () => call.end());
  };
  const Fail: handleUnaryCall<Buffer, Buffer> = (_, done) => {
    const metadata = new Metadata();
    metadata.set('x-more', 'told');
    done({ code: status.FAILED_PRECONDITION, details: 'nicht möglich', metadata });
  };
  const Never: handleUnaryCall<Buffer, Buffer> = call => {
    asked.resolve();
    call.on('cancelled', () => cancelled.resolve());
  };
  server.addService(SERVICE, { Unary, Gather, Scatter, Both, Fail, Never });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  stage.teardown(() => server.forceShutdown());
  return { port, cancelled: cancelled.promise, asked: asked.promise };
}

interface Ended {
  readonly error: ServiceError | null;
  readonly answer: Buffer | undefined;
  readonly trailers: Metadata;
}

/** A unary call to its end. */
function call(
  client: Client,
  { path }: MethodDefinition<Buffer, Buffer>,
  request: Buffer,
  { deadlineMs, given }: { deadlineMs?: number; given?: (cancel: () => void) => void } = {},
): Promise<Ended> {
  return new Promise(resolve => {
    let trailers = new Metadata();
    let ended: [ServiceError | null, Buffer | undefined] | null = null;
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    const going = client.makeUnaryRequest(
      path,
      same,
      same,
      request,
      new Metadata(),
      options,
      (error, answer) => {
        ended = [error, answer];
      },
    );
    going.on('status', came => {
      trailers = came.metadata;
      queueMicrotask(() => resolve({ error: ended?.[0] ?? null, answer: ended?.[1], trailers }));
    });
    given?.(() => going.cancel());
  });
}

async function unary(client: Client): Promise<void> {
  const { error, answer, trailers } = await call(client, SERVICE.Unary, Buffer.from('hello'));
  equal(error, null);
  equal(String(answer), 'hello');
  match(String(trailers.get('x-told')[0]), XFCC);
  deepEqual(trailers.get('x-bytes-bin'), [Buffer.from([0, 255, 10])]);
  const large = Buffer.alloc(4 * MIB, 'large ');
  equal((await call(client, SERVICE.Unary, large)).answer?.equals(large), true);
}

async function clientStreaming(client: Client): Promise<void> {
  const answer = Promise.withResolvers<Buffer | undefined>();
  const stream = client.makeClientStreamRequest(SERVICE.Gather.path, same, same, (error, value) =>
    error ? answer.reject(error) : answer.resolve(value),
  );
  for (let i = 0; i < MANY; i++) stream.write(Buffer.from(`${i} `));
  stream.end();
  equal(String(await answer.promise), Array.from({ length: MANY }, (_, i) => `${i} `).join(''));
}

async function serverStreaming(client: Client): Promise<void> {
  const stream = client.makeServerStreamRequest(SERVICE.Scatter.path, same, same, Buffer.from('part'));
  const parts: string[] = [];
  for await (const part of stream) parts.push(String(part));
  deepEqual(
    parts,
    Array.from({ length: MANY }, (_, i) => `part ${i}`),
  );
}

/** In turns, so that neither side may wait for the other's end. */
async function bidirectional(client: Client): Promise<void> {
  const stream = client.makeBidiStreamRequest(SERVICE.Both.path, same, same);
  for (let i = 0; i < MANY; i++) {
    const word = Buffer.alloc(i === 0 ? MIB : 10, `${i} `);
    stream.write(word);
    const [back] = (await once(stream, 'data')) as [Buffer];
    equal(back.equals(word), true);
  }
  stream.end();
  stream.resume();
  const [end] = (await once(stream, 'status')) as [{ code: number }];
  equal(end.code, status.OK);
}

async function failing(client: Client): Promise<void> {
  const { error } = await call(client, SERVICE.Fail, Buffer.from('x'));
  deepEqual(
    [error?.code, error?.details, error?.metadata.get('x-more')],
    [status.FAILED_PRECONDITION, 'nicht möglich', ['told']],
  );
}

async function deadline(client: Client, app: App): Promise<void> {
  const { error } = await call(client, SERVICE.Never, Buffer.from('x'), { deadlineMs: 2_000 });
  equal(error?.code, status.DEADLINE_EXCEEDED);
  await app.cancelled;
}

async function cancellation(client: Client, app: App): Promise<void> {
  const { error } = await call(client, SERVICE.Never, Buffer.from('x'), {
    given: cancel => app.asked.then(cancel),
  });
  equal(error?.code, status.CANCELLED);
  await app.cancelled;
}

async function denied(stage: Stage, pairUp: typeof envoyToOutrider): Promise<void> {
  const other = await testIdentity((await mesh()).authority, 'foo/other');
  const { client } = await start(stage, pairUp, { client: other });
  const { error } = await call(client, SERVICE.Unary, Buffer.from('secret'));
  deepEqual([error?.code, error?.details], [status.PERMISSION_DENIED, 'RBAC: access denied']);
}
