/** envoyExtAuthzGrpc: envoy.service.auth.v3.Authorization/Check, one channel an endpoint. */
import type { Client } from '@grpc/grpc-js';
import type { Writer } from 'protobufjs';
import type { ExtAuthzGrpc } from '../config/resources.ts';
import type { Cluster, EndpointTarget, OpenTls } from './cluster.ts';
import { type Grpc, openChannel } from './ext-authz-channel.ts';
import { verdictOf } from './ext-authz-check.ts';
import type { AuthzConnection, AuthzQuestion } from './ext-authz-question.ts';
import { writeHttpCheck, writeTcpCheck } from './ext-authz-request.ts';
import { readCheckResponse } from './ext-authz-response.ts';
import { ABANDONED, type Authorizer, failed, type Verdict } from './ext-authz-verdict.ts';

/** Of a reason that the provider may have worded, so much goes to the log. */
const MAX_REASON = 200;
const CHECK = '/envoy.service.auth.v3.Authorization/Check';

type Protobuf = typeof import('protobufjs');

interface Loaded {
  readonly grpc: Grpc;
  readonly protobuf: Protobuf;
}

export interface GrpcAuthorizerParts {
  readonly cluster: () => Cluster | null;
  readonly openTls: OpenTls;
}

export class GrpcAuthorizer implements Authorizer {
  readonly #provider: ExtAuthzGrpc;
  readonly #parts: GrpcAuthorizerParts;
  #loaded: Promise<Loaded> | null = null;
  /** The cluster that the channels belong to; another configuration has others. */
  #cluster: Cluster | null = null;
  #channels = new Map<EndpointTarget, Client>();
  #closed = false;

  constructor(provider: ExtAuthzGrpc, parts: GrpcAuthorizerParts) {
    this.#provider = provider;
    this.#parts = parts;
  }

  ask(question: AuthzQuestion, signal: AbortSignal): Promise<Verdict> {
    const packAsBytes = this.#provider.includeRequestBodyInCheck?.packAsBytes ?? false;
    return this.#check(writer => writeHttpCheck(writer, question, packAsBytes), question.head, signal);
  }

  askConnection(connection: AuthzConnection, signal: AbortSignal): Promise<Verdict> {
    return this.#check(writer => writeTcpCheck(writer, connection), null, signal);
  }

  async #check(
    write: (writer: Writer) => Uint8Array,
    head: AuthzQuestion['head'] | null,
    signal: AbortSignal,
  ): Promise<Verdict> {
    this.#loaded ??= load();
    const { grpc, protobuf } = await this.#loaded;
    const message = Buffer.from(write(protobuf.Writer.create()));
    const { timeoutMs } = this.#provider;
    const deadline = timeoutMs > 0 ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY;
    const { READY } = grpc.connectivityState;
    const tried: EndpointTarget[] = [];
    let repeated = false;
    let why = 'no healthy endpoint';
    for (;;) {
      const cluster = this.#clusterInForce();
      if (cluster === null) return failed('no route');
      const target = tried.length < cluster.tries ? cluster.pick(tried) : null;
      if (target === null || tried.includes(target)) return failed(why);
      const client = this.#channelTo(target, grpc);
      const ready = stateOf(client) === READY;
      target.active++;
      const reply = await call({ client, message, deadline, signal });
      target.active--;
      if (signal.aborted) return ABANDONED;
      if (reply.bytes !== null) {
        cluster.report(target, 'ok');
        return readVerdict(protobuf, reply.bytes, head);
      }
      // A check changes nothing: it may be asked again when its connection broke or was given up, and elsewhere when the
      // endpoint is away.
      const away = reply.code === grpc.status.UNAVAILABLE;
      const lost = this.#channels.get(target) !== client || (ready && stateOf(client) !== READY);
      if (away && lost && !repeated && !this.#closed) {
        repeated = true;
        continue;
      }
      cluster.report(target, 'gateway_error');
      why = reply.why;
      if (!away) return failed(why);
      tried.push(target);
    }
  }

  #clusterInForce(): Cluster | null {
    const cluster = this.#parts.cluster();
    if (cluster !== this.#cluster) this.renew();
    this.#cluster = cluster;
    return cluster;
  }

  #channelTo(target: EndpointTarget, grpc: Grpc): Client {
    let channel = this.#channels.get(target);
    if (channel === undefined) {
      const { service: authority } = this.#provider;
      const { openTls } = this.#parts;
      const opened = openChannel({
        grpc,
        target,
        authority,
        openTls,
        onDisbelieved: () => this.#giveUp(target, opened),
      });
      this.#channels.set(target, opened);
      channel = opened;
    }
    return channel;
  }

  /** The next check opens another; what is being asked is still answered, until its connection is closed. */
  #giveUp(target: EndpointTarget, channel: Client): void {
    if (this.#channels.get(target) !== channel) return;
    this.#channels.delete(target);
    channel.close();
  }

  renew(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  close(): void {
    this.#closed = true;
    this.renew();
  }
}

interface Call {
  readonly client: Client;
  readonly message: Buffer;
  /** Unix milliseconds. */
  readonly deadline: number;
  readonly signal: AbortSignal;
}

type Reply =
  | { readonly bytes: Buffer }
  | { readonly bytes: null; readonly code: number; readonly why: string };

function call({ client, message, deadline, signal }: Call): Promise<Reply> {
  return new Promise(resolve => {
    const unary = client.makeUnaryRequest<Buffer, Buffer>(
      CHECK,
      request => request,
      response => response,
      message,
      { deadline },
      (error, bytes) => {
        signal.removeEventListener('abort', cancel);
        if (error !== null)
          resolve({ bytes: null, code: error.code, why: error.message.slice(0, MAX_REASON) });
        else resolve({ bytes: bytes as Buffer });
      },
    );
    const cancel = (): void => unary.cancel();
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  });
}

function stateOf(client: Client): number {
  return client.getChannel().getConnectivityState(false);
}

function readVerdict(protobuf: Protobuf, bytes: Buffer, head: AuthzQuestion['head'] | null): Verdict {
  try {
    return verdictOf(readCheckResponse(protobuf.Reader.create(bytes)), head);
  } catch {
    return failed('its answer is no CheckResponse');
  }
}

async function load(): Promise<Loaded> {
  // Both are CommonJS: `default` is what they export, under Node and in the bundle, which has no names beside it.
  const [{ default: grpc }, { default: protobuf }] = await Promise.all([
    import('@grpc/grpc-js'),
    import('protobufjs/minimal.js'),
  ]);
  // What goes wrong comes back with the call; standard error is the log's.
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  return { grpc, protobuf };
}
