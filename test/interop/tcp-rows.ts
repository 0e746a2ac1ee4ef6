/** Bytes over mutual TLS, as Istio's TCP clusters and chains carry them: no peer-exchange preamble gets among them. */
import { deepEqual, equal } from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { startTcpApp, type Wire, wirePlain } from '../peers.ts';
import {
  envoyToOutrider,
  HTTPBIN,
  outriderToEnvoy,
  type Pair,
  type PairOptions,
  SLEEP,
  SNI,
} from './pair.ts';
import { type Row, type Stage, TO_ENVOY, TO_OUTRIDER } from './stage.ts';

const MIB = 1024 * 1024;
const BULK = randomBytes(4 * MIB);
const GREETING = '220 ready\r\n';
/** Looks like the start of a handshake. */
const WORDS = Buffer.from('\x16\x03\x01 is no handshake, and \x00 is a byte');

type Options = Partial<PairOptions>;

export const TCP_ROWS: readonly Row[] = [
  toOutrider('a port declared tcp', {}),
  toEnvoy('a port declared tcp', {}),
  toOutrider('a port that declares nothing', { declared: 'auto' }),
  toEnvoy('a port that declares nothing', { declared: 'auto' }),
  toEnvoy('a PERMISSIVE port', { mode: 'PERMISSIVE' }),
  toEnvoy('a PERMISSIVE port that declares nothing', { mode: 'PERMISSIVE', declared: 'auto' }),
  toOutrider('a PERMISSIVE port', { mode: 'PERMISSIVE' }),
  toOutrider('a PERMISSIVE port that declares nothing', { mode: 'PERMISSIVE', declared: 'auto' }),
  toOutrider('offered as istio', { offers: ['istio'] }),
  toOutrider('offered as istio-peer-exchange, istio, h2', { offers: ['istio-peer-exchange', 'istio', 'h2'] }),
  toOutrider('offered without ALPN', { offers: [] }),
];

function toOutrider(what: string, options: Options): Row {
  return row(TO_OUTRIDER, what, async stage => {
    const pair = await envoyToOutrider(stage, await withApp(stage, options));
    const bytes = await speak(stage, pair.entry);
    await seenByOutrider(pair, bytes);
  });
}

function toEnvoy(what: string, options: Options): Row {
  return row(TO_ENVOY, what, async stage => {
    const pair = await outriderToEnvoy(stage, await withApp(stage, options));
    const bytes = await speak(stage, pair.entry);
    const line = await pair.envoy.access.take(l => l.chain === 'mtls-tcp' && l.received === bytes);
    deepEqual([line.client, line.sni], [SLEEP, SNI]);
  });
}

function row(direction: string, what: string, run: Row['run']): Row {
  return { peer: 'Envoy', protocol: 'TCP', direction, what, run };
}

async function withApp(stage: Stage, options: Options): Promise<PairOptions> {
  return { app: (await startTcpApp(stage, greetAndEcho)).port, spoken: 'tcp', ...options };
}

/** Speaks first, sends back what comes, and says how much it was after the client has ended its side. */
function greetAndEcho(socket: Socket): void {
  let bytes = 0;
  socket.write(GREETING);
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    socket.write(chunk);
  });
  socket.on('end', () => socket.end(`bye ${bytes}`));
}

/** @returns how many bytes went to the app */
async function speak(stage: Stage, entry: number): Promise<number> {
  const wire = await wirePlain(stage, entry);
  equal((await wire.take(GREETING.length)).toString(), GREETING);
  await echoed(wire, WORDS);
  await echoed(wire, BULK);
  const sent = WORDS.length + BULK.length;
  wire.socket.end();
  equal(await wire.rest(), `bye ${sent}`);
  return sent;
}

async function echoed(wire: Wire, bytes: Buffer): Promise<void> {
  wire.send(bytes);
  equal(digest(await wire.take(bytes.length)), digest(bytes));
}

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function seenByOutrider({ outrider, envoy }: Pair, bytes: number): Promise<void> {
  const line = await outrider.access.take(l => l.bytes_received === bytes);
  deepEqual(
    [line.source_principal, line.requested_server_name, line.connection_security_policy, line.protocol],
    [SLEEP, SNI, 'mutual_tls', null],
  );
  equal((await envoy.access.take(l => l.received === bytes)).server, HTTPBIN);
}
