/** One call of grpc.health.v1.Health/Check in cleartext, as the kubelet's gRPC probe makes it. */
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';

const SERVING = 1;
const STATES: Readonly<Record<number, string>> = { 0: 'UNKNOWN', 2: 'NOT_SERVING', 3: 'SERVICE_UNKNOWN' };
const MAX_ANSWER_BYTES = 1_024; // a HealthCheckResponse has two

export interface HealthQuestion {
  readonly host: string;
  readonly port: number;
  /** '' asks for the server as a whole. */
  readonly service: string;
  readonly timeoutMs: number;
}

/** Resolves when the service is SERVING; @throws Error with what it is, or why there was no answer */
export async function checkGrpcHealth({ host, port, service, timeoutMs }: HealthQuestion): Promise<void> {
  const { connect } = await import('node:http2');
  const session = connect(`http://${host}:${port}`);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const deadline = setTimeout(() => reject(new Error('timeout')), timeoutMs);
  session.on('error', reject);
  session.on('close', () => reject(new Error('the connection was closed')));
  call(session, service).then(resolve, reject);
  try {
    await promise;
  } finally {
    clearTimeout(deadline);
    session.destroy();
  }
}

async function call(session: ClientHttp2Session, service: string): Promise<void> {
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let fields: IncomingHttpHeaders = {};
  stream.on('response', headers => {
    fields = { ...fields, ...headers };
  });
  stream.on('trailers', trailers => {
    fields = { ...fields, ...trailers };
  });
  stream.end(messageOf(service));
  const answer = await bytesOf(stream);
  const status = fields['grpc-status'];
  if (fields[':status'] !== undefined && Number(fields[':status']) !== 200)
    throw new Error(`HTTP ${fields[':status']}`);
  if (status !== '0') throw new Error(`grpc-status ${status ?? 'is missing'}`);
  const state = stateOf(answer);
  if (state !== SERVING) throw new Error(STATES[state] ?? `state ${state}`);
}

async function bytesOf(stream: ClientHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too long');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

/** gRPC's prefix of five bytes, and HealthCheckRequest: its field 1 is the service. */
function messageOf(service: string): Buffer {
  const name = Buffer.from(service, 'utf8');
  const body = name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(body.length, 1);
  return Buffer.concat([prefix, body]);
}

function varint(value: number): readonly number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** Field 1 of HealthCheckResponse; absent = 0. @throws Error when it is compressed or no such message */
function stateOf(answer: Buffer): number {
  if (answer.length < 5 || answer[0] !== 0 || answer.readUInt32BE(1) !== answer.length - 5) {
    throw new Error('the answer is no HealthCheckResponse');
  }
  return answer[5] === 0x08 ? (answer[6] ?? 0) : 0;
}
