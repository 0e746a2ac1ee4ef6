/** A terminator behind a real listener, and clients of it that are not ours. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { judgePeer, type PeerIdentity } from '../../src/identity/peer.ts';
import {
  createTerminator,
  type HandshakeFacts,
  type Judgement,
  type Terminator,
  type TerminatorOptions,
  type TlsMaterial,
} from '../../src/net/tls.ts';
import { DEFAULT_TLS } from '../../src/net/tls-settings.ts';
import type { IdentityPems } from '../certificates.ts';

export type Teardown = { teardown(fn: () => void): unknown };

/** One thing that happened to a connection. */
export type Outcome =
  | { ok: true; socket: TLSSocket; peer: PeerIdentity; facts: HandshakeFacts; raw: Socket }
  | { ok: false; reason: string; from: string | undefined };

export function materialOf(pems: IdentityPems, epoch = '1'): TlsMaterial {
  return { ...pems, epoch };
}

/** Judges by SPIFFE rules as `cluster.local`. */
export function spiffeJudge(role: 'client' | 'server') {
  return (facts: HandshakeFacts): Judgement<PeerIdentity> => {
    const { der, signers, authorizationError } = facts;
    const verdict = judgePeer({
      der,
      signers,
      authorizationError,
      role,
      trust: { trustDomains: ['cluster.local'], refusal: () => null },
      now: Date.now(),
    });
    return verdict.ok ? { ok: true, value: verdict.peer } : verdict;
  };
}

/** A terminator on a free port of the loopback; outcomes can be waited for in order. */
export class TestServer {
  readonly terminator: Terminator;
  readonly outcomes: Outcome[] = [];
  readonly raws: Socket[] = [];
  port = 0;
  #waiting: (() => void)[] = [];
  #taken = 0;

  constructor(material: TlsMaterial, options: Partial<TerminatorOptions<PeerIdentity>> = {}) {
    this.terminator = createTerminator<PeerIdentity>({
      material,
      tls: DEFAULT_TLS,
      handshakeTimeoutMs: 20_000,
      judge: spiffeJudge('client'),
      onSecure: (socket, peer, facts, raw) => {
        socket.on('error', () => {});
        this.#note({ ok: true, socket, peer, facts, raw });
      },
      onRefused: (reason, raw) => this.#note({ ok: false, reason, from: raw.remoteAddress }),
      ...options,
    });
  }

  static async start(
    t: Teardown,
    material: TlsMaterial,
    options: Partial<TerminatorOptions<PeerIdentity>> = {},
  ): Promise<TestServer> {
    const test = new TestServer(material, options);
    const server = createServer({ allowHalfOpen: true }, raw => {
      raw.on('error', () => {});
      test.raws.push(raw);
      test.terminator.accept(raw);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    test.port = (server.address() as AddressInfo).port;
    t.teardown(() => {
      test.terminator.close();
      for (const raw of test.raws) raw.destroy();
      server.close();
    });
    return test;
  }

  #note(outcome: Outcome): void {
    this.outcomes.push(outcome);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The next outcome that nobody has taken. */
  async next(): Promise<Outcome> {
    while (this.outcomes.length === this.#taken)
      await new Promise<void>(resolve => this.#waiting.push(resolve));
    this.#taken += 1;
    return this.outcomes[this.#taken - 1]!;
  }

  /** The next outcome as one word: the peer's SPIFFE ID, or the reason. */
  async nextWord(): Promise<string> {
    const outcome = await this.next();
    return outcome.ok ? outcome.peer.id.uri : outcome.reason;
  }
}

/** A client that trusts anybody and presents `pems` (or nothing). Its errors are its own affair. */
export function client(
  t: Teardown,
  port: number,
  pems: IdentityPems | null,
  options: ConnectionOptions = {},
): TLSSocket {
  const socket = connect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    ...(pems ? { cert: pems.certChainPem, key: pems.keyPem } : {}),
    ...options,
  });
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

/** Everything that a socket receives until it is closed. */
export async function received(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!socket.closed) await new Promise<void>(resolve => socket.once('close', () => resolve()));
  return Buffer.concat(chunks).toString();
}
