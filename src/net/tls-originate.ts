/** TLS to other workloads and to external hosts: judged before one byte is sent, on resumed connections too. */
import { isIP } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { rememberOwn } from './own-connections.ts';
import type {
  HandshakeFacts,
  Opening,
  Originated,
  OriginateOptions,
  Originator,
  TlsMaterial,
} from './tls.ts';
import { contextOptions, factsOf, judged, release, withoutCertificates } from './tls-context.ts';
import { tlsFailure } from './tls-errors.ts';
import { groupOfClient } from './tls-group.ts';
import { type KeptSession, SessionStore } from './tls-sessions.ts';
import type { TlsSettings } from './tls-settings.ts';

const MAX_SIMPLE = 64;

/** A context, and the sessions that were made with it. It lives until the last connection that began with it is made. */
class Door {
  readonly context: SecureContext;
  readonly sessions = new SessionStore();
  #under = 0;
  #retired = false;

  constructor(context: SecureContext) {
    this.context = context;
  }

  /** A connection begins: until `leave` it may need the context, also to try the next address of a name. */
  enter(): void {
    if (this.#retired) throw new Error('the originator is closed'); // OpenSSL would end the process
    this.#under++;
  }

  leave(): void {
    this.#under--;
    if (this.#retired && this.#under === 0) release(this.context);
  }

  /** No connection begins with it any more. */
  retire(): void {
    this.#retired = true;
    if (this.#under === 0) release(this.context);
  }
}

/** Contexts are made once a generation: each costs 250 µs, which tls.connect would pay a connection. */
export class ContextOriginator implements Originator {
  #tls: TlsSettings;
  #mutual: Door;
  /** SIMPLE contexts by their roots; a handful of configured files. */
  readonly #simple = new Map<string | null, Door>();

  constructor(material: TlsMaterial, tls: TlsSettings) {
    this.#tls = tls;
    this.#mutual = doorOf(material, tls);
  }

  connect<P>(options: OriginateOptions<P>, done: Originated<P>): Opening {
    const door = options.mode === 'SIMPLE' ? this.#simpleDoor(options.roots ?? null) : this.#mutual;
    door.enter();
    return originate(door, options, (...outcome) => {
      door.leave();
      done(...outcome);
    });
  }

  replace(material: TlsMaterial, tls: TlsSettings = this.#tls): void {
    const mutual = doorOf(material, tls);
    this.close();
    this.#mutual = mutual;
    this.#tls = tls;
  }

  close(): void {
    this.#mutual.retire();
    this.#closeSimple();
  }

  #closeSimple(): void {
    for (const door of this.#simple.values()) door.retire();
    this.#simple.clear();
  }

  #simpleDoor(rootPem: string | null): Door {
    let door = this.#simple.get(rootPem);
    if (!door) {
      if (this.#simple.size >= MAX_SIMPLE) this.#closeSimple(); // files that were rotated leave theirs behind
      door = doorOf({ rootPem }, this.#tls);
      this.#simple.set(rootPem, door);
    }
    return door;
  }
}

function doorOf(material: TlsMaterial | { readonly rootPem: string | null }, tls: TlsSettings): Door {
  return new Door(createSecureContext(contextOptions(material, tls, { tickets: true })));
}

/** What sessions are kept apart by. */
function keyOf<P>(to: OriginateOptions<P>): string | null {
  const { host, port, servername, mode, alpn, expects } = to;
  if (expects === undefined) return null;
  return JSON.stringify([host, port, servername, mode, alpn ?? null, expects]);
}

/**
 * A session that does not work out is no failed connection: a handshake without one follows, unless the server did not
 * resume it anyway, or the connection is the caller's.
 */
function originate<P>(door: Door, to: OriginateOptions<P>, done: Originated<P>): Opening {
  const key = keyOf(to);
  const offered = key === null ? null : door.sessions.find(key, Date.now());
  if (key === null || offered === null) return shake({ door, to, key, offered: null, done });
  const until = performance.now() + to.timeoutMs;
  let current = shake({
    door,
    to,
    key,
    offered,
    done: (...outcome) => {
      const [reason] = outcome;
      if (reason !== null) door.sessions.forget(key, offered);
      const again = reason !== null && !to.socket && current.spoiled;
      const timeoutMs = until - performance.now();
      if (again && timeoutMs > 0) {
        current = shake({ door, to: { ...to, timeoutMs }, key, offered: null, done });
      } else done(...outcome);
    },
  });
  return { destroy: () => current.destroy() };
}

/** What tls.connect hands on to the socket; its types leave them out. */
interface SocketOptions {
  readonly allowHalfOpen: boolean;
  readonly noDelay: boolean;
  onread?: OriginateOptions<never>['onread'];
}

interface Shake<P> {
  readonly door: Door;
  readonly to: OriginateOptions<P>;
  /** Null = no session is kept. */
  readonly key: string | null;
  readonly offered: KeptSession | null;
  readonly done: Originated<P>;
}

/** One handshake under way. */
interface Shaking extends Opening {
  /** The server was reached, and nobody but the session may be to blame for what became of it. */
  readonly spoiled: boolean;
}

function shake<P>({ door, to, key, offered, done }: Shake<P>): Shaking {
  const socket = connect(socketOptions(door.context, to, offered));
  const shaking = { spoiled: false, destroy };
  let settled = false;
  let kept: Omit<KeptSession, 'session'> | null = null;
  function settle(): boolean {
    if (settled) return false;
    settled = true;
    clearTimeout(timer);
    return true;
  }
  function fail(reason: string): void {
    if (!settle()) return;
    socket.destroy();
    done(reason, null, null, null);
  }
  function destroy(): void {
    shaking.spoiled = false;
    socket.destroy();
  }
  const timer = setTimeout(
    () => fail(socket.connecting ? 'connect_timeout' : 'handshake_timeout'),
    to.timeoutMs,
  );
  socket.once('connect', () => {
    shaking.spoiled = true;
    rememberOwn(socket);
  });
  socket.on('error', error => fail(tlsFailure(error))); // stays: a socket without one takes the thread down
  socket.once('close', () => fail('aborted'));
  socket.once('secureConnect', () => {
    if (settled) return;
    shaking.spoiled = socket.isSessionReused();
    const facts = factsWith(socket, offered);
    const verdict = judged(to.judge, facts);
    if (!verdict.ok) {
      fail(verdict.reason);
      return;
    }
    if (verdict.proof) kept = { proof: verdict.proof, authorizationError: facts.authorizationError };
    if (settle()) done(null, socket, verdict.value, withoutCertificates(facts));
  });
  if (key !== null) keepSessions();
  return shaking;

  /** TLS 1.3 sends them after the handshake, TLS 1.2 in it; Node tells of both after `secureConnect`. */
  function keepSessions(): void {
    const { sessions } = door;
    if (key === null) return;
    socket.on('session', session => {
      if (kept !== null) sessions.keep(key, { session, ...kept }, Date.now());
    });
    // A server that thinks better of a session after the handshake only closes: the next connection must not meet that too.
    if (offered === null) return;
    socket.once('close', () => {
      if (socket.bytesRead === 0) sessions.forget(key, offered);
    });
  }
}

function socketOptions<P>(
  secureContext: SecureContext,
  to: OriginateOptions<P>,
  offered: KeptSession | null,
): ConnectionOptions & SocketOptions {
  const options: ConnectionOptions & SocketOptions = {
    host: to.host,
    port: to.port,
    secureContext,
    rejectUnauthorized: false, // the judge sees the chain's verdict and says why
    checkServerIdentity: () => undefined,
    allowHalfOpen: true,
    noDelay: true,
  };
  if (to.servername !== null && isIP(to.servername) === 0) options.servername = to.servername;
  if (to.alpn) options.ALPNProtocols = [...to.alpn];
  if (to.socket) options.socket = to.socket;
  if (to.onread) options.onread = to.onread;
  if (offered !== null) options.session = offered.session;
  return options;
}

/** The certificates of a resumed connection are those that its session was given out with: Node shows none. */
function factsWith(socket: TLSSocket, offered: KeptSession | null): HandshakeFacts {
  const group = groupOfClient(socket);
  if (!socket.isSessionReused()) {
    return factsOf(socket, socket.getPeerX509Certificate()?.raw ?? null, group);
  }
  const [leaf, ...signers] = offered?.proof.chain ?? [];
  // No copy: that would be a view of a slab, which the session that follows would keep whole.
  const der = leaf === undefined ? null : Buffer.from(leaf.buffer, leaf.byteOffset, leaf.byteLength);
  const authorizationError = offered?.authorizationError ?? null;
  return { ...factsOf(socket, der, group), signers: () => signers, authorizationError };
}
