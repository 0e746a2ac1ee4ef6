/** envoyExtAuthzGrpc: envoy.service.auth.v3.Authorization/Check, one channel an endpoint. */
import type { Client, ClientUnaryCall } from '@grpc/grpc-js';
import type { Writer } from 'protobufjs';
import type { ExtAuthzGrpc } from '../config/resources.ts';
import type { Cluster, EndpointTarget, OpenTls } from './cluster.ts';
import { type Grpc, openChannel } from './ext-authz-channel.ts';
import { verdictOf } from './ext-authz-check.ts';
import type { AuthzConnection, AuthzQuestion } from './ext-authz-question.ts';
import { writeHttpCheck, writeTcpCheck } from './ext-authz-request.ts';
import { readCheckResponse } from './ext-authz-response.ts';
import { ABANDONED, type Authorizer, failed, type Verdict } from './ext-authz-verdict.ts';

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
    const target = this.#pick();
    if (target === null) return failed('no route');
    const message = Buffer.from(write(protobuf.Writer.create()));
    target.active++;
    const reply = await this.#call(this.#channelTo(target, grpc), message, signal);
    target.active--;
    if (typeof reply === 'string') {
      if (signal.aborted) return ABANDONED;
      this.#cluster?.report(target, 'gateway_error');
      return failed(reply);
    }
    this.#cluster?.report(target, 'ok');
    try {
      return verdictOf(readCheckResponse(protobuf.Reader.create(reply)), head);
    } catch {
      return failed('its answer is no CheckResponse');
    }
  }

  /** @returns the answer's bytes, or why there are none */
  #call(client: Client, message: Buffer, signal: AbortSignal): Promise<Buffer | string> {
    const { timeoutMs } = this.#provider;
    const deadline = timeoutMs > 0 ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY;
    return new Promise(resolve => {
      let call: ClientUnaryCall | null = null;
      const cancel = (): void => call?.cancel();
      call = client.makeUnaryRequest<Buffer, Buffer>(
        CHECK,
        request => request,
        response => response,
        message,
        { deadline },
        (error, response) => {
          signal.removeEventListener('abort', cancel);
          resolve(error === null && response !== undefined ? response : (error?.message ?? 'no message'));
        },
      );
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel, { once: true });
    });
  }

  #pick(): EndpointTarget | null {
    const cluster = this.#parts.cluster();
    if (cluster !== this.#cluster) this.renew();
    this.#cluster = cluster;
    return cluster?.pick() ?? null;
  }

  #channelTo(target: EndpointTarget, grpc: Grpc): Client {
    let channel = this.#channels.get(target);
    if (channel === undefined) {
      const { service: authority } = this.#provider;
      channel = openChannel({ grpc, target, authority, openTls: this.#parts.openTls });
      this.#channels.set(target, channel);
    }
    return channel;
  }

  renew(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  close(): void {
    this.renew();
  }
}

async function load(): Promise<Loaded> {
  const [grpc, protobuf] = await Promise.all([import('@grpc/grpc-js'), import('protobufjs/minimal.js')]);
  // What goes wrong comes back with the call; standard error is the log's.
  grpc.setLogVerbosity(grpc.logVerbosity.NONE);
  return { grpc, protobuf: protobuf.default };
}
