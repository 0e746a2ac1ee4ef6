/** A gRPC authorizer for tests: grpc-js serves it, and the messages are read by reflection from the field numbers below. */
import {
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import type { IdentityPems } from '../certificates.ts';

type Teardown = { teardown(fn: () => unknown): unknown };

const string = 'string';
const one = (id: number, type: string) => ({ id, type });
const many = (id: number, type: string) => ({ id, type, rule: 'repeated' });
const map = (id: number) => ({ id, type: string, keyType: string });

/** From envoy/service/auth/v3, envoy/config/core/v3, envoy/type/v3 and google/rpc. */
const root = protobuf.Root.fromJSON({
  nested: {
    CheckRequest: { fields: { attributes: one(1, 'AttributeContext') } },
    AttributeContext: {
      fields: {
        source: one(1, 'Peer'),
        destination: one(2, 'Peer'),
        request: one(4, 'Request'),
        tlsSession: one(12, 'TlsSession'),
      },
    },
    Peer: {
      fields: {
        address: one(1, 'Address'),
        service: one(2, string),
        labels: map(3),
        principal: one(4, string),
        certificate: one(5, string),
      },
    },
    Address: { fields: { socketAddress: one(1, 'SocketAddress') } },
    SocketAddress: {
      fields: { protocol: one(1, 'int32'), address: one(2, string), portValue: one(3, 'uint32') },
    },
    Request: { fields: { time: one(1, 'Timestamp'), http: one(2, 'HttpRequest') } },
    Timestamp: { fields: { seconds: one(1, 'int64'), nanos: one(2, 'int32') } },
    HttpRequest: {
      fields: {
        id: one(1, string),
        method: one(2, string),
        headers: map(3),
        path: one(4, string),
        host: one(5, string),
        scheme: one(6, string),
        query: one(7, string),
        fragment: one(8, string),
        size: one(9, 'int64'),
        protocol: one(10, string),
        body: one(11, string),
        rawBody: one(12, 'bytes'),
      },
    },
    TlsSession: { fields: { sni: one(1, string) } },
    CheckResponse: {
      fields: {
        status: one(1, 'RpcStatus'),
        denied: one(2, 'Denied'),
        ok: one(3, 'Ok'),
        dynamicMetadata: one(4, 'Struct'),
        error: one(5, 'Denied'),
      },
    },
    RpcStatus: { fields: { code: one(1, 'int32'), message: one(2, string) } },
    Denied: {
      fields: { status: one(1, 'HttpStatus'), headers: many(2, 'HeaderValueOption'), body: one(3, string) },
    },
    HttpStatus: { fields: { code: one(1, 'int32') } },
    Ok: {
      fields: {
        headers: many(2, 'HeaderValueOption'),
        headersToRemove: many(5, string),
        responseHeadersToAdd: many(6, 'HeaderValueOption'),
        queryParametersToSet: many(7, 'HeaderValue'),
        queryParametersToRemove: many(8, string),
      },
    },
    HeaderValueOption: {
      fields: { header: one(1, 'HeaderValue'), append: one(2, 'BoolValue'), appendAction: one(3, 'int32') },
    },
    HeaderValue: { fields: { key: one(1, string), value: one(2, string), rawValue: one(3, 'bytes') } },
    BoolValue: { fields: { value: one(1, 'bool') } },
    Struct: { fields: { fields: map(1) } },
  },
});

const CheckRequest = root.lookupType('CheckRequest');
const CheckResponse = root.lookupType('CheckResponse');

export interface CheckedHttp {
  readonly id?: string;
  readonly method?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly size?: number;
  readonly body?: string;
  readonly rawBody?: Buffer;
}

export interface Check {
  readonly attributes: {
    readonly source: object;
    readonly destination: object;
    readonly request?: { readonly time: { seconds: number; nanos: number }; readonly http: CheckedHttp };
    readonly tlsSession?: object;
  };
}

/** What comes of a check: a CheckResponse, its bytes, a gRPC error, or nothing ever. */
export type CheckAnswer = object | Buffer | Partial<ServiceError> | null;

const SERVICE: ServiceDefinition = {
  Check: {
    path: '/envoy.service.auth.v3.Authorization/Check',
    requestStream: false,
    responseStream: false,
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  },
};

/** Serves until the test ends, on a free port; `identity`: mutual TLS with it, any client of its authority is taken. */
export async function startGrpcAuthorizer(
  t: Teardown,
  answer: (check: Check) => CheckAnswer,
  { identity = null, port: wanted = 0 }: { identity?: IdentityPems | null; port?: number } = {},
) {
  const checks: Check[] = [];
  const authorities: string[] = [];
  const clients = new Set<string>();
  let cancelled = 0;
  const waiting: (() => void)[] = [];
  const check: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    const asked = CheckRequest.toObject(CheckRequest.decode(call.request), { longs: Number }) as Check;
    checks.push(asked);
    authorities.push(call.getHost());
    clients.add(call.getPeer());
    call.on('cancelled', () => {
      cancelled++;
      for (const wake of waiting.splice(0)) wake();
    });
    const given = answer(asked);
    if (given === null) return;
    if ('code' in given) done(given as ServiceError);
    else if (Buffer.isBuffer(given)) done(null, given);
    else done(null, Buffer.from(CheckResponse.encode(CheckResponse.fromObject(given)).finish()));
  };
  const server = new Server();
  server.addService(SERVICE, { Check: check });
  const credentials =
    identity === null
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(
          Buffer.from(identity.rootPem),
          [{ private_key: Buffer.from(identity.keyPem), cert_chain: Buffer.from(identity.certChainPem) }],
          true,
        );
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`127.0.0.1:${wanted}`, credentials, (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  t.teardown(() => server.forceShutdown());
  return {
    port,
    checks,
    authorities,
    /** Connections that checks came on. */
    connections: () => clients.size,
    /** Resolves when a call was cancelled by its client. */
    whenCancelled: async (): Promise<void> => {
      if (cancelled === 0) await new Promise<void>(resolve => waiting.push(resolve));
    },
    stop: () => server.forceShutdown(),
  };
}

/** HeaderValueOption. */
export function option(key: string, value: string, more: { append?: boolean; appendAction?: number } = {}) {
  const { append, ...action } = more;
  return { header: { key, value }, ...(append !== undefined && { append: { value: append } }), ...action };
}

export const OK = { status: { code: 0 } };
