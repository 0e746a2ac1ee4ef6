/**
 * Mutual TLS on accepted connections: one `tls.Server` a generation of key material, which never listens and is fed
 * with sockets, because only `tls.Server` verifies a client's chain.
 */
import type { Socket } from 'node:net';
import { createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import type { Terminator, TerminatorOptions, TlsMaterial } from './tls.ts';
import { contextOptions, factsOf, judged, release, withoutCertificates } from './tls-context.ts';
import { tlsFailure } from './tls-errors.ts';
import { groupOfNumber } from './tls-group.ts';
import { sessionFactsOf } from './tls-peer-certificate.ts';
import type { TlsSettings } from './tls-settings.ts';
import { ticketOptions } from './tls-tickets.ts';

// tls.Server's own timeout starts anew with every byte, so it is switched off and ours counts from accept.
const NEVER_MS = 2 ** 31 - 1;
const NONE_OFFERED: readonly string[] = [];

export class ServerTerminator<P> implements Terminator {
  readonly #options: TerminatorOptions<P>;
  #tls: TlsSettings;
  /** Handshakes under way, with their deadlines. */
  readonly #pending = new Map<Socket, NodeJS.Timeout>();
  /** What their clients offered. */
  readonly #offered = new WeakMap<Socket, readonly string[]>();
  #server: Server | null;

  constructor(options: TerminatorOptions<P>) {
    this.#options = options;
    this.#tls = options.tls;
    this.#server = this.#serverOf(options.material, options.tls);
  }

  accept(raw: Socket): void {
    if (raw.destroyed || this.#server === null) {
      raw.destroy();
      return;
    }
    raw.setNoDelay(true);
    void raw.remoteAddress; // kept by the socket, so that a refusal after it closed still names its client
    this.#pending.set(raw, setTimeout(this.#expire, this.#options.handshakeTimeoutMs, raw));
    const { allowHalfOpen } = raw;
    raw.allowHalfOpen = false; // until the handshake is done: who ends before that is gone, not half-open
    this.#server.emit('connection', raw);
    raw.allowHalfOpen = allowHalfOpen;
  }

  replace(material: TlsMaterial, tls: TlsSettings = this.#tls): void {
    const before = this.#server;
    this.#server = this.#serverOf(material, tls);
    this.#tls = tls;
    releaseServer(before);
  }

  close(): void {
    releaseServer(this.#server);
    this.#server = null;
    for (const raw of [...this.#pending.keys()]) {
      this.#settle(raw);
      raw.destroy();
    }
  }

  #serverOf(material: TlsMaterial, tls: TlsSettings): Server {
    const { agree, resumption } = this.#options;
    const tickets = resumption?.allowed(tls) ? ticketOptions(resumption, material, tls) : null;
    const server = createServer({
      ...contextOptions(material, tls, { tickets: tickets !== null }),
      ...tickets,
      requestCert: true,
      rejectUnauthorized: false, // Node would close without a reason; #onSecure checks and says why
      handshakeTimeout: NEVER_MS,
      ...(agree && { ALPNCallback: this.#agreement(agree) }),
    });
    server.on('secureConnection', socket => this.#onSecure(socket));
    server.on('tlsClientError', (error, socket) => this.#refuse(rawOf(socket), tlsFailure(error)));
    return server;
  }

  /** Node calls it on the TLS socket whose hello it is, which its types and its manual leave out. */
  #agreement(agree: NonNullable<TerminatorOptions<P>['agree']>) {
    const offered = this.#offered;
    return function (this: unknown, { protocols }: { protocols: string[] }): string | undefined {
      const raw = rawOf(this as TLSSocket);
      offered.set(raw, protocols);
      return agree(protocols, raw) ?? undefined;
    };
  }

  /** Judged before this returns: later, session tickets would be on their way, to whomever. */
  #onSecure(socket: TLSSocket): void {
    const raw = rawOf(socket);
    if (!this.#settle(raw)) {
      socket.destroy();
      return;
    }
    socket.allowHalfOpen = raw.allowHalfOpen;
    const { der, group } = sessionFactsOf(socket);
    const facts = {
      ...factsOf(socket, der, groupOfNumber(group)),
      offered: this.#offered.get(raw) ?? NONE_OFFERED,
    };
    const verdict = judged(this.#options.judge, facts);
    if (verdict.ok) this.#options.onSecure(socket, verdict.value, withoutCertificates(facts), raw);
    else this.#close(raw, verdict.reason);
  }

  #expire = (raw: Socket): void => this.#refuse(raw, 'handshake_timeout');

  #refuse(raw: Socket, reason: string): void {
    if (this.#settle(raw)) this.#close(raw, reason);
  }

  #close(raw: Socket, reason: string): void {
    this.#options.onRefused(reason, raw);
    raw.destroy(); // tls.Server leaves it open after its own errors; the TLS socket goes with it
  }

  /** True the first time only: a handshake ends once, whatever events still come. */
  #settle(raw: Socket): boolean {
    clearTimeout(this.#pending.get(raw));
    return this.#pending.delete(raw);
  }
}

/** Its context; tls.Server makes that itself, and handshakes under way have it by now. */
function releaseServer(server: Server | null): void {
  release((server as { _sharedCreds?: SecureContext } | null)?._sharedCreds);
}

/** The accepted socket under a TLS socket; tls.Server makes the latter itself and tells of no other link. */
function rawOf(socket: TLSSocket): Socket {
  return (socket as TLSSocket & { readonly _parent: Socket })._parent;
}
