/** How node:http (llhttp, strict) reads bytes: the second opinion of the differential tests. */
import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import { MemorySocket } from './memory-socket.ts';
import { settled } from './settled.ts';

export interface NodeMessage {
  /** Method and target, or status and reason. */
  readonly start: string;
  readonly version: string;
  /** Names and values in order, as they came. */
  readonly fields: readonly (readonly [string, string])[];
  /** latin1 */
  body: string;
  trailers: readonly (readonly [string, string])[];
  complete: boolean;
}

export interface NodeReading {
  readonly messages: readonly NodeMessage[];
  /** llhttp's code, or null. */
  readonly error: string | null;
}

interface Reading {
  messages: NodeMessage[];
  error: string | null;
}

const MAX_HEADER_BYTES = 64 * 1024;
const readings = new WeakMap<object, Reading>();

/** One server for all readings; it never listens and is handed sockets in memory. */
const server: Server = createServer({ maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: 0 });
server.timeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) {
  server.on(event, (incoming: IncomingMessage, response: { end(): void }) => {
    const reading = readings.get(incoming.socket);
    if (reading === undefined) throw new Error('a request from nowhere');
    gather(reading, incoming, `${incoming.method} ${incoming.url}`);
    incoming.once('end', () => response.end());
  });
}
server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
  const reading = readings.get(socket);
  if (reading !== undefined) reading.error ??= error.code ?? error.message;
  socket.destroy();
});

/** Reads requests; what is incomplete at the end of `bytes` stays incomplete. */
export async function nodeReadsRequests(bytes: Buffer): Promise<NodeReading> {
  const socket = new MemorySocket();
  const reading: Reading = { messages: [], error: null };
  readings.set(socket, reading);
  server.emit('connection', socket.socket);
  socket.feed(bytes);
  await settled(() => progressOf(reading) + socket.bytesWritten);
  socket.destroy();
  return reading;
}

/** Reads the response to one request with `method`, interim ones before it. `ended`: the bytes are followed by an end. */
export async function nodeReadsResponse(bytes: Buffer, method: string, ended: boolean): Promise<NodeReading> {
  const socket = new MemorySocket();
  const reading: Reading = { messages: [], error: null };
  const asked = request({ method, createConnection: () => socket.socket, maxHeaderSize: MAX_HEADER_BYTES });
  asked.on('response', response =>
    gather(reading, response, `${response.statusCode} ${response.statusMessage}`),
  );
  asked.on('upgrade', () => {
    reading.error ??= 'UPGRADE';
  });
  asked.on('error', (error: NodeJS.ErrnoException) => {
    reading.error ??= error.code ?? error.message;
  });
  asked.end();
  await settled(() => socket.bytesWritten);
  socket.feed(bytes);
  if (ended) socket.finish();
  await settled(() => progressOf(reading));
  socket.destroy();
  return reading;
}

function gather(reading: Reading, incoming: IncomingMessage, start: string): void {
  const message: NodeMessage = {
    start,
    version: incoming.httpVersion,
    fields: pairs(incoming.rawHeaders),
    body: '',
    trailers: [],
    complete: false,
  };
  reading.messages.push(message);
  incoming.on('data', (chunk: Buffer) => {
    message.body += chunk.toString('latin1');
  });
  incoming.on('end', () => {
    message.complete = incoming.complete;
    message.trailers = pairs(incoming.rawTrailers);
  });
  incoming.on('error', () => {});
}

function progressOf(reading: Reading): number {
  const bodies = reading.messages.reduce(
    (sum, message) => sum + message.body.length + Number(message.complete),
    0,
  );
  return reading.messages.length * 1_000_000 + bodies + (reading.error === null ? 0 : 0.5);
}

function pairs(flat: readonly string[]): [string, string][] {
  const found: [string, string][] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) found.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return found;
}
