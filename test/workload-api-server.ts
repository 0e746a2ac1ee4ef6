/** A SPIFFE Workload API for tests: grpc-js serves it, and its messages are made from the field numbers of workloadapi.proto. */
import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import {
  type handleServerStreamingCall,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { readPem } from '../src/identity/pem.ts';
import { type IdentityPems, temporaryFolder } from './certificates.ts';

const one = (id: number, type: string) => ({ id, type });

const root = protobuf.Root.fromJSON({
  nested: {
    X509SVIDResponse: {
      fields: {
        svids: { id: 1, type: 'X509SVID', rule: 'repeated' },
        crl: { id: 2, type: 'bytes', rule: 'repeated' },
        federatedBundles: { id: 3, type: 'bytes', keyType: 'string' } as protobuf.IField,
      },
    },
    X509SVID: {
      fields: {
        spiffeId: one(1, 'string'),
        x509Svid: one(2, 'bytes'),
        x509SvidKey: one(3, 'bytes'),
        bundle: one(4, 'bytes'),
        hint: one(5, 'string'),
      },
    },
  },
});
const X509SVIDResponse = root.lookupType('X509SVIDResponse');

export interface Svid {
  readonly spiffeId: string;
  readonly x509Svid: Buffer;
  readonly x509SvidKey: Buffer;
  readonly bundle: Buffer;
  readonly hint?: string;
}

export interface SvidAnswer {
  readonly svids?: readonly Svid[];
  readonly crl?: readonly Buffer[];
  readonly federatedBundles?: Readonly<Record<string, Buffer>>;
}

/** What whoever asks gets: a message, its bytes, an error that ends the stream, or nothing ever. */
export type WorkloadApiAnswer =
  | SvidAnswer
  | Buffer
  | { readonly code: number; readonly details: string }
  | null;

/** DER blocks one after the other. */
export function derOf(pem: string): Buffer {
  const read = readPem(pem);
  if (!read.ok) throw new Error(read.fault);
  return Buffer.concat(read.blocks.map(block => block.der));
}

/** One SVID of an identity. */
export function svidOf(spiffeId: string, pems: IdentityPems): Svid {
  return {
    spiffeId,
    x509Svid: derOf(pems.certChainPem),
    x509SvidKey: createPrivateKey(pems.keyPem).export({ type: 'pkcs8', format: 'der' }),
    bundle: derOf(pems.rootPem),
  };
}

const SERVICE: ServiceDefinition = {
  FetchX509SVID: {
    path: '/SpiffeWorkloadAPI/FetchX509SVID',
    requestStream: false,
    responseStream: true,
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
};

export class WorkloadApiServer {
  readonly target: string;
  #answer: WorkloadApiAnswer;
  #server = new Server();
  #open = new Set<ServerWritableStream<Buffer, Buffer>>();
  #asked = 0;
  #waiting: (() => void)[] = [];

  constructor(target: string, answer: WorkloadApiAnswer) {
    this.target = target;
    this.#answer = answer;
  }

  /** Streams that were begun. */
  get asked(): number {
    return this.#asked;
  }

  async whenAsked(times: number): Promise<void> {
    while (this.#asked < times) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  /** @returns the port, where the target has one */
  async start(): Promise<number> {
    this.#server = new Server();
    const fetch: handleServerStreamingCall<Buffer, Buffer> = call => this.#take(call);
    this.#server.addService(SERVICE, { FetchX509SVID: fetch });
    return new Promise((resolve, reject) =>
      this.#server.bindAsync(this.target, ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      ),
    );
  }

  /** Answers this from now on, on the streams that are open too. */
  say(answer: WorkloadApiAnswer): void {
    this.#answer = answer;
    for (const call of this.#open) this.#reply(call);
  }

  /** Ends every stream in good order; who asks again is served. */
  hangUp(): void {
    for (const call of this.#open) call.end();
  }

  stop(): void {
    this.#server.forceShutdown();
    this.#open.clear();
  }

  #take(call: ServerWritableStream<Buffer, Buffer>): void {
    this.#asked++;
    for (const wake of this.#waiting.splice(0)) wake();
    if (call.metadata.get('workload.spiffe.io').join() !== 'true') {
      call.emit('error', { code: status.INVALID_ARGUMENT, details: 'security header missing from request' });
      return;
    }
    this.#open.add(call);
    call.on('cancelled', () => this.#open.delete(call)).on('close', () => this.#open.delete(call));
    this.#reply(call);
  }

  #reply(call: ServerWritableStream<Buffer, Buffer>): void {
    const answer = this.#answer;
    if (answer === null) return;
    if ('code' in answer) call.emit('error', answer);
    else if (Buffer.isBuffer(answer)) call.write(answer);
    else call.write(Buffer.from(X509SVIDResponse.encode(X509SVIDResponse.fromObject(answer)).finish()));
  }
}

type Teardown = { teardown(fn: () => void): unknown };

/** Serves on a Unix socket of its own until the test ends. */
export async function startWorkloadApi(t: Teardown, answer: WorkloadApiAnswer): Promise<WorkloadApiServer> {
  const server = new WorkloadApiServer(`unix:${join(temporaryFolder(t), 'api.sock')}`, answer);
  await server.start();
  t.teardown(() => server.stop());
  return server;
}
