/** What TLS is made of, both ways: key material → SecureContext options, a finished handshake → facts. */
import { constants, X509Certificate } from 'node:crypto';
import { getCACertificates, type SecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { HandshakeFacts, Judge, Judgement, TlsMaterial } from './tls.ts';
import { groupList, type TlsSettings } from './tls-settings.ts';

/** Without a certificate nothing is presented; `rootPem` null = the operating system's roots. */
type Material = TlsMaterial | { readonly rootPem: string | null };

// No renegotiation: a renegotiated session would not be judged.
const SECURE_OPTIONS = constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_CIPHER_SERVER_PREFERENCE;

/**
 * Options of tls.createSecureContext and tls.createServer for this material. Without `tickets`, TLS 1.3 still sends two,
 * which nobody can redeem: there is no session store.
 */
export function contextOptions(
  material: Material,
  tls: TlsSettings,
  { tickets }: { readonly tickets: boolean } = { tickets: false },
): SecureContextOptions {
  const options: SecureContextOptions = {
    ca: material.rootPem === null ? systemRoots() : pemBlocks(material.rootPem),
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    ciphers: tls.cipherSuites.join(':'),
    ecdhCurve: groupList(tls.groups),
    honorCipherOrder: true,
    secureOptions: tickets ? SECURE_OPTIONS : SECURE_OPTIONS | constants.SSL_OP_NO_TICKET,
  };
  if ('keyPem' in material) {
    options.cert = presented(material);
    options.key = material.keyPem;
  }
  return options;
}

/**
 * Lets go of a context that no connection begins with any more; those that began hold what they need. Node 26 keeps each
 * context that ever shook hands for good, 50 KB a generation. Its method for it is not documented: without it, all is as before.
 */
export function release(context: SecureContext | undefined): void {
  (context as { context?: { close?(): void } } | undefined)?.context?.close?.();
}

/** The facts of a finished handshake; `der` is the peer's certificate. */
export function factsOf(socket: TLSSocket, der: Buffer | null, group: string): HandshakeFacts {
  const { servername, alpnProtocol } = socket as { servername?: string | false | null } & TLSSocket;
  const error: unknown = socket.authorizationError; // a code, whatever its type says
  return {
    der,
    signers: () => signersOf(socket),
    resumed: socket.isSessionReused(),
    authorizationError: error ? String(error) : null,
    tlsVersion: socket.getProtocol() ?? '',
    cipher: socket.getCipher().name,
    group,
    sni: servername ? servername.toLowerCase() : null,
    alpn: alpnProtocol || null,
    offered: [],
  };
}

/**
 * What is sent. OpenSSL completes a lone leaf from the roots on its own, by verifying it in every handshake (3 % of its
 * CPU); with the root written out it sends the same bytes and verifies nothing.
 */
function presented({ certChainPem, rootPem }: TlsMaterial): string {
  const [leafPem, ...others] = pemBlocks(certChainPem);
  if (leafPem === undefined || others.length > 0) return certChainPem;
  const leaf = new X509Certificate(leafPem);
  const root = pemBlocks(rootPem).find(pem => signed(pem, leaf));
  return root === undefined ? certChainPem : `${leafPem}\n${root}\n`;
}

function signed(issuerPem: string, leaf: X509Certificate): boolean {
  try {
    const issuer = new X509Certificate(issuerPem);
    return leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey);
  } catch {
    return false; // whatever it is, it does not go out
  }
}

const MAX_SIGNERS = 16; // as deep as an own chain may be (identity/chain.ts)

/** As they were sent: Node leaves out the root where the peer did. */
function signersOf(socket: TLSSocket): readonly Buffer[] {
  const found: Buffer[] = [];
  let next = socket.getPeerX509Certificate()?.issuerCertificate;
  for (; next && found.length < MAX_SIGNERS; next = next.issuerCertificate) found.push(next.raw);
  return found;
}

/** What is left of the facts after the judgement: the certificates are let go. */
export function withoutCertificates(facts: HandshakeFacts): HandshakeFacts {
  return { ...facts, der: null, signers: NO_SIGNERS };
}

const NO_SIGNERS = (): readonly Uint8Array[] => [];

/** Runs a judge; one that throws refuses, and no peer takes the thread down. */
export function judged<P>(judge: Judge<P>, facts: HandshakeFacts): Judgement<P> {
  try {
    return judge(facts);
  } catch {
    return { ok: false, reason: 'judge_failed' };
  }
}

/** The operating system's roots, or Node's own where it has none (an image without ca-certificates). */
export function systemRoots(): string[] {
  const system = getCACertificates('system');
  return system.length > 0 ? system : getCACertificates('default');
}

/** One PEM a block: OpenSSL takes every one of an array, but only what it can read of a text. */
function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN [^-]+-----[\s\S]+?-----END [^-]+-----/g) ?? [];
}
