/** TLS to other workloads and to external hosts: judged before one byte is sent, no session kept. */
import { isIP } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import type { Originated, OriginateOptions, Originator, TlsMaterial } from './tls.ts';
import { contextOptions, factsOf, judged, withoutCertificates } from './tls-context.ts';
import { tlsFailure } from './tls-errors.ts';
import { groupOfClient } from './tls-group.ts';
import type { TlsSettings } from './tls-settings.ts';

const MAX_SIMPLE = 64;

/** Contexts are made once a generation: each costs 250 µs, which tls.connect would pay a connection. */
export class ContextOriginator implements Originator {
  #tls: TlsSettings;
  #mutual: SecureContext;
  /** SIMPLE contexts by their roots; a handful of configured files. */
  readonly #simple = new Map<string | null, SecureContext>();

  constructor(material: TlsMaterial, tls: TlsSettings) {
    this.#tls = tls;
    this.#mutual = createSecureContext(contextOptions(material, tls));
  }

  connect<P>(options: OriginateOptions<P>, done: Originated<P>): TLSSocket {
    const context = options.mode === 'SIMPLE' ? this.#simpleContext(options.roots ?? null) : this.#mutual;
    return originate(context, options, done);
  }

  replace(material: TlsMaterial, tls: TlsSettings = this.#tls): void {
    this.#mutual = createSecureContext(contextOptions(material, tls));
    if (tls !== this.#tls) this.#simple.clear();
    this.#tls = tls;
  }

  #simpleContext(rootPem: string | null): SecureContext {
    let context = this.#simple.get(rootPem);
    if (!context) {
      if (this.#simple.size >= MAX_SIMPLE) this.#simple.clear(); // files that were rotated leave theirs behind
      context = createSecureContext(contextOptions({ rootPem }, this.#tls));
      this.#simple.set(rootPem, context);
    }
    return context;
  }
}

/** What tls.connect hands on to the socket; its types leave them out. */
interface SocketOptions {
  readonly allowHalfOpen: boolean;
  readonly noDelay: boolean;
  onread?: OriginateOptions<never>['onread'];
}

function originate<P>(secureContext: SecureContext, to: OriginateOptions<P>, done: Originated<P>): TLSSocket {
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
  const socket = connect(options);
  let settled = false;
  const settle = (): boolean => {
    if (settled) return false;
    settled = true;
    clearTimeout(timer);
    return true;
  };
  const fail = (reason: string): void => {
    if (!settle()) return;
    socket.destroy();
    done(reason, null, null, null);
  };
  const timer = setTimeout(
    () => fail(socket.connecting ? 'connect_timeout' : 'handshake_timeout'),
    to.timeoutMs,
  );
  socket.on('error', error => fail(tlsFailure(error))); // stays: a socket without one takes the thread down
  socket.once('close', () => fail('aborted'));
  socket.once('secureConnect', () => {
    if (settled) return;
    const der = socket.getPeerX509Certificate()?.raw ?? null;
    const facts = factsOf(socket, der, groupOfClient(socket));
    const verdict = judged(to.judge, facts);
    if (!verdict.ok) fail(verdict.reason);
    else if (settle()) done(null, socket, verdict.value, withoutCertificates(facts));
  });
  return socket;
}
