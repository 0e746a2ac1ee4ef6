/** WebSocket, by the upgrade of HTTP/1.1: the handshake is a request to both sidecars, what follows are bytes. */
import { equal, match } from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { listenUntilEnd, type Wire, wirePlain } from '../peers.ts';
import { head } from './http1-rows.ts';
import { envoyToOutrider, outriderToEnvoy, type Pair, type PairOptions } from './pair.ts';
import { seenByEnvoy, seenByOutrider, XFCC } from './seen.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455 1.3
const TEXT = 0x81; // FIN and opcode
const MASKED = 0x80;

type Options = Partial<PairOptions>;

export const WEBSOCKET_ROWS: readonly Row[] = [
  toOutrider('a port declared http', {}),
  toEnvoy('a port declared http', {}),
  toOutrider('a port that declares nothing', { declared: 'auto' }),
  toEnvoy('a port that declares nothing', { declared: 'auto' }),
  toOutrider('HTTP/2 between the sidecars (RFC 8441)', { spoken: 'http2', appSpeaks: 'http/1.1' }),
  toEnvoy('HTTP/2 wanted between the sidecars: an HTTP/1.1 connection of its own', {
    traffic: 'connectionPool: {http: {h2UpgradePolicy: UPGRADE}}',
  }),
];

function toOutrider(what: string, options: Options): Row {
  const seen = options.spoken === 'http2' ? ({ status: 200, protocol: 'HTTP/2' } as const) : { status: 101 };
  return row(TO_OUTRIDER, what, async stage => {
    await seenByOutrider(await talk(stage, options, envoyToOutrider), { path: '/socket', ...seen });
  });
}

function toEnvoy(what: string, options: Options): Row {
  return row(TO_ENVOY, what, async stage => {
    await seenByEnvoy(await talk(stage, options, outriderToEnvoy), { path: '/socket', status: 101 });
  });
}

function row(direction: string, what: string, run: Row['run']): Row {
  return { peer: 'Envoy', protocol: 'WebSocket', direction, what, run };
}

/** A conversation to its end: texts both ways, one of them larger than a buffer, and the end of both sides. */
async function talk(stage: Stage, options: Options, start: typeof envoyToOutrider): Promise<Pair> {
  const pair = await start(stage, { app: await startEcho(stage), spoken: 'http/1.1', ...options });
  const wire = await wirePlain(stage, pair.entry);
  await open(wire);
  for (const text of ['hello', 'again', 'x'.repeat(60_000)]) {
    wire.send(frame(text, randomBytes(4)));
    equal(textOf(await wire.take(frame(text, null).length)), text);
  }
  wire.socket.end();
  equal(await wire.rest(), '');
  equal(wire.ended, 'end');
  return pair;
}

async function open(wire: Wire): Promise<void> {
  const key = randomBytes(16).toString('base64');
  const lines = ['connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13'];
  const reply = await wire.ask(head('GET', '/socket', ...lines, `sec-websocket-key: ${key}`));
  equal(reply.status, 101, reply.head);
  equal(reply.header('upgrade')?.toLowerCase(), 'websocket');
  equal(reply.header('sec-websocket-accept'), accept(key));
  match(reply.header('x-told') ?? '', XFCC);
}

/** Answers the handshake, and every text with the same text. */
async function startEcho(stage: Stage): Promise<number> {
  const server = createServer((_, response) => response.writeHead(426).end());
  server.on('upgrade', (request, socket: Duplex, first: Buffer) => {
    socket.on('error', () => {});
    const told = request.headers['x-forwarded-client-cert'];
    const lines = ['Connection: Upgrade', 'Upgrade: websocket', `x-told: ${told}`];
    const answer = accept(request.headers['sec-websocket-key'] ?? '');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\nSec-WebSocket-Accept: ${answer}\r\n\r\n`,
    );
    let rest = first;
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      for (let end = endOf(rest); end !== null; end = endOf(rest)) {
        socket.write(frame(textOf(rest.subarray(0, end)), null));
        rest = rest.subarray(end);
      }
    });
    socket.on('end', () => socket.end());
  });
  return listenUntilEnd(stage, server);
}

function accept(key: string): string {
  return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}

/** A text frame of RFC 6455 5.2, at most 64 KiB; masked as clients must. */
function frame(text: string, mask: Buffer | null): Buffer {
  const content = Buffer.from(text);
  const bit = mask === null ? 0 : MASKED;
  const short = content.length < 126;
  const start = Buffer.from(
    short ? [TEXT, bit | content.length] : [TEXT, bit | 126, content.length >> 8, content.length & 255],
  );
  return Buffer.concat([start, ...(mask === null ? [content] : [mask, masked(content, mask)])]);
}

/** Where the first frame ends; null while it is not whole. */
function endOf(bytes: Buffer): number | null {
  if (bytes.length < 2) return null;
  const end = contentAt(bytes) + lengthOf(bytes);
  return bytes.length < end ? null : end;
}

function textOf(bytes: Buffer): string {
  const start = contentAt(bytes);
  const content = bytes.subarray(start, start + lengthOf(bytes));
  return (isMasked(bytes) ? masked(content, bytes.subarray(start - 4, start)) : content).toString();
}

function lengthOf(bytes: Buffer): number {
  const length = (bytes[1] ?? 0) & 127;
  return length < 126 ? length : bytes.length < 4 ? Number.POSITIVE_INFINITY : bytes.readUInt16BE(2);
}

function contentAt(bytes: Buffer): number {
  return 2 + (((bytes[1] ?? 0) & 127) < 126 ? 0 : 2) + (isMasked(bytes) ? 4 : 0);
}

function isMasked(bytes: Buffer): boolean {
  return ((bytes[1] ?? 0) & MASKED) !== 0;
}

function masked(content: Buffer, mask: Buffer): Buffer {
  return content.map((byte, i) => byte ^ (mask[i & 3] ?? 0)) as Buffer;
}
