/** What TLS is made of, both ways: key material → SecureContext options, a finished handshake → facts. */
import { constants, X509Certificate } from 'node:crypto';
import { createSecureContext, getCACertificates, type SecureContextOptions, type TLSSocket } from 'node:tls';
import type { HandshakeFacts, Judge, Judgement, TlsMaterial, TlsVersion } from './tls.ts';

/** Without a certificate nothing is presented; `rootPem` null = the operating system's roots. */
type Material = TlsMaterial | { readonly rootPem: string | null };

// AES-128 first: 8 % cheaper a handshake than AES-256 and as safe here. Below, Istio's TLS 1.2 suites for sidecars.
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
].join(':');

// The post-quantum hybrid costs 70 µs more; it is last, so that only peers who offer nothing else pay for it.
const GROUPS = 'X25519:P-256:X25519MLKEM768';

// No tickets and no renegotiation: a resumed or renegotiated session would not be judged (Node resumes a client whose CA
// was removed as `authorized`). TLS 1.3 still sends two tickets, which nobody can redeem: there is no session store.
const SECURE_OPTIONS =
  constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_CIPHER_SERVER_PREFERENCE;

/** Options of tls.createSecureContext and tls.createServer for this material. */
export function contextOptions(material: Material, minVersion: TlsVersion): SecureContextOptions {
  const options: SecureContextOptions = {
    ca: material.rootPem === null ? systemRoots() : pemBlocks(material.rootPem),
    minVersion,
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    ecdhCurve: GROUPS,
    honorCipherOrder: true,
    secureOptions: SECURE_OPTIONS,
  };
  if ('keyPem' in material) {
    options.cert = presented(material);
    options.key = material.keyPem;
    if (material.crlPem !== null) options.crl = pemBlocks(material.crlPem); // before 26.10 a text = its first list only
  }
  return options;
}

/**
 * Builds a context and drops it, to know that OpenSSL takes the material.
 *
 * @throws Error of node:tls when it does not
 */
export function tryMaterial(material: TlsMaterial): void {
  createSecureContext(contextOptions(material, 'TLSv1.2'));
}

/** The facts of a finished handshake; `der` is the peer's certificate. */
export function factsOf(socket: TLSSocket, der: Buffer | null): HandshakeFacts {
  const { servername, alpnProtocol } = socket as { servername?: string | false | null } & TLSSocket;
  const error: unknown = socket.authorizationError; // a code, whatever its type says
  return {
    der,
    authorizationError: error ? String(error) : null,
    tlsVersion: socket.getProtocol() ?? '',
    cipher: socket.getCipher().name,
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

/** Runs a judge; one that throws refuses, and no peer takes the thread down. */
export function judged<P>(judge: Judge<P>, facts: HandshakeFacts): Judgement<P> {
  try {
    return judge(facts);
  } catch {
    return { ok: false, reason: 'judge_failed' };
  }
}

/** The operating system's roots, or Node's own where it has none (an image without ca-certificates). */
function systemRoots(): string[] {
  const system = getCACertificates('system');
  return system.length > 0 ? system : getCACertificates('default');
}

/** One PEM a block: OpenSSL takes every one of an array, but only what it can read of a text. */
function pemBlocks(text: string): string[] {
  return text.match(/-----BEGIN [^-]+-----[\s\S]+?-----END [^-]+-----/g) ?? [];
}
