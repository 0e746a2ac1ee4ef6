/**
 * Mutual TLS, both ways. Whoever answers is judged in the tick of the handshake, on every connection, resumed ones too:
 * Node shows a resumed peer as authorized whatever became of its certificates since. Renegotiation is off.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { ContextOriginator } from './tls-originate.ts';
import { DEFAULT_TLS, type TlsSettings } from './tls-settings.ts';
import { ServerTerminator } from './tls-terminate.ts';

/** One generation of key material: plain data, as the identity store hands it out. */
export interface TlsMaterial {
  /** Leaf first. */
  readonly certChainPem: string;
  readonly keyPem: string;
  /** Trusted roots. */
  readonly rootPem: string;
  /** Another epoch may judge peers otherwise: no session outlives it. */
  readonly epoch: string;
}

/** What a finished handshake says of the peer. */
export interface HandshakeFacts {
  /** The peer's leaf certificate; null when it sent none, and after the judgement (it is let go then). */
  readonly der: Buffer | null;
  /**
   * Reads the certificates that came with the leaf, nearest first (20 µs each); for the judge, and empty after it. Empty
   * on a resumed inbound connection, whose ticket holds the leaf only.
   */
  signers(): readonly Uint8Array[];
  /** The peer showed a ticket in place of a certificate: what is said of it is of an earlier handshake. */
  readonly resumed: boolean;
  /** OpenSSL's verdict on the chain in Node's words; null when it leads to the roots. Of the earlier handshake when resumed. */
  readonly authorizationError: string | null;
  /** `TLSv1.3` */
  readonly tlsVersion: string;
  /** OpenSSL's name, `TLS_AES_128_GCM_SHA256`. */
  readonly cipher: string;
  /** Of the key exchange: `X25519MLKEM768`; `none` without one, `other` for what has no name here. */
  readonly group: string;
  /** Lower case, as host names compare; null on a resumed TLS 1.2 connection, where OpenSSL does not say. */
  readonly sni: string | null;
  readonly alpn: string | null;
  /** Inbound: the protocols that the client offered, in its order; empty when none, or when none was agreed on. */
  readonly offered: readonly string[];
}

export type Judgement<P> =
  | {
      readonly ok: true;
      readonly value: P;
      /** What was believed; an originator without it keeps no session. */
      readonly proof?: Proof;
    }
  | { readonly ok: false; readonly reason: string };

/** The certificates that a peer was believed for. */
export interface Proof {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** When the first of them expires, Unix ms. */
  readonly validUntil: number;
}

/** Judges a peer before one byte of it is used, or one byte sent to it. Must not wait. */
export type Judge<P> = (facts: HandshakeFacts) => Judgement<P>;

/** Clients may come back with a ticket instead of a whole handshake. */
export interface Resumption {
  /** Random bytes, the same on all threads, known to nobody else. */
  readonly secret: Uint8Array;
  /** A ticket of one listener is no good at another. */
  readonly listener: string;
  /** Whether tickets are given out under these settings; asked whenever material or settings are replaced. */
  allowed(tls: TlsSettings): boolean;
}

export interface TerminatorOptions<P> {
  readonly material: TlsMaterial;
  readonly tls: TlsSettings;
  /** Absent = every handshake is a whole one. */
  readonly resumption?: Resumption;
  /** From accept to the end of the handshake, in ms, however slowly the client sends. */
  readonly handshakeTimeoutMs: number;
  /**
   * Which of the offered protocols is agreed on; null refuses the client with the alert that says so, since Node cannot
   * leave the question unanswered as Envoy does. Without it none is negotiated, and what was offered is not known.
   */
  agree?(offered: readonly string[], raw: Socket): string | null;
  readonly judge: Judge<P>;
  /** The peer is who `value` says; runs in the handshake's tick. The callee owns both sockets from here. */
  onSecure(socket: TLSSocket, value: P, facts: HandshakeFacts, raw: Socket): void;
  /** The connection is refused; `raw` still says where it came from, and is destroyed after this. */
  onRefused(reason: string, raw: Socket): void;
}

/** Terminates TLS on sockets that others accepted. */
export interface Terminator {
  /** Takes over one accepted socket (`allowHalfOpen` is kept). Bytes that were read too early: `unshift` them before. */
  accept(raw: Socket): void;
  /**
   * Handshakes that begin from now on use `material` and, where given, `tls`; those under way finish on what they
   * began with.
   *
   * @throws Error of node:tls when OpenSSL does not take the material; the old one stays in force
   */
  replace(material: TlsMaterial, tls?: TlsSettings): void;
  /** Destroys the handshakes under way; accepts no more. */
  close(): void;
}

/**
 * ISTIO_MUTUAL and MUTUAL present the originator's certificate and trust its roots; SIMPLE presents none and trusts
 * `roots`. Who is believed is the judge's affair in every mode.
 */
export type OriginateMode = 'ISTIO_MUTUAL' | 'MUTUAL' | 'SIMPLE';

export interface OriginateOptions<P> {
  /** An IP address or a DNS name. */
  readonly host: string;
  readonly port: number;
  /** SNI; null sends none. An IP address is never sent (RFC 6066 section 3). */
  readonly servername: string | null;
  readonly mode: OriginateMode;
  /** SIMPLE only: PEM of the roots to trust; absent or null = the operating system's. */
  readonly roots?: string | null;
  /** Protocols to offer, best first. */
  readonly alpn?: readonly string[];
  /**
   * Whom the judge will believe, in words. A session is kept when the judge gives its proof, and offered to the same
   * address under the same name where the same is expected. Absent = every handshake is a whole one.
   */
  readonly expects?: string;
  /** A connection to `host:port` that is there already; absent = one is made. */
  readonly socket?: Socket;
  /** From the call to the end of the handshake, in ms. */
  readonly timeoutMs: number;
  readonly judge: Judge<P>;
  /** Reads go to this buffer instead of `data` events. */
  readonly onread?: { readonly buffer: Buffer | (() => Buffer); callback(bytes: number): boolean };
}

/** Called once: with one word why not and nulls (nothing is left open then), or with null and the judged connection. */
export type Originated<P> = (
  reason: string | null,
  socket: TLSSocket | null,
  value: P | null,
  facts: HandshakeFacts | null,
) => void;

/** A connection that is being made. */
export interface Opening {
  /** Before `done`, which is called with `aborted` then. */
  destroy(): void;
}

/** Opens TLS connections with one generation of key material. */
export interface Originator {
  connect<P>(options: OriginateOptions<P>, done: Originated<P>): Opening;
  /**
   * Connections that begin from now on use `material` and, where given, `tls`; sessions made before are forgotten.
   *
   * @throws Error of node:tls when OpenSSL does not take the material; the old one stays in force
   */
  replace(material: TlsMaterial, tls?: TlsSettings): void;
  /** No connection begins any more; those under way are made, and those that were made live on. */
  close(): void;
}

/**
 * Makes a terminator.
 *
 * @throws Error of node:tls when OpenSSL does not take the material
 */
export function createTerminator<P>(options: TerminatorOptions<P>): Terminator {
  return new ServerTerminator(options);
}

/**
 * Makes an originator; one a set of client files.
 *
 * @throws Error of node:tls when OpenSSL does not take the material
 */
export function createOriginator(material: TlsMaterial, tls: TlsSettings = DEFAULT_TLS): Originator {
  return new ContextOriginator(material, tls);
}
