/**
 * Who an external server is (DestinationRule tls.mode SIMPLE and MUTUAL): a chain to the given roots, and the host name
 * or one of the listed subject alternative names. Workloads of the mesh are judged by their SPIFFE ID instead (peer.ts).
 */
import { X509Certificate } from 'node:crypto';
import { readCertificate } from './certificate.ts';
import { chainRefusal, type PeerRefusal } from './peer.ts';
import type { ServerRevocation } from './server-revocation.ts';

export type ServerRefusal = PeerRefusal | 'wrong_host_name' | 'unexpected_identity';

export interface ServerEvidence {
  readonly der: Uint8Array | null;
  /** Reads what came with it. */
  signers(): readonly Uint8Array[];
  readonly authorizationError: string | null;
  /** The lists to go by; null = none are given. */
  readonly revocation?: ServerRevocation | null;
  /** The name that the client asked for, DNS or IP; null when there is none to compare. */
  readonly host: string | null;
  /** ClientTLSSettings.subjectAltNames: DNS names, URIs and IP addresses, compared exactly; when given, `host` is not. */
  readonly subjectAltNames: readonly string[];
  /** ClientTLSSettings.insecureSkipVerify: whoever answers is believed. */
  readonly insecureSkipVerify: boolean;
  /** Unix milliseconds. */
  readonly now: number;
}

/** An external server that was believed. */
export interface BelievedServer {
  /** It is no workload of the mesh. */
  readonly id: null;
  /** Its URI SAN when it has one, '' otherwise. */
  readonly uri: string;
  /** Unix milliseconds; Infinity = whoever answers is believed. */
  readonly validUntil: number;
}

export type ServerVerdict =
  | { readonly ok: true; readonly value: BelievedServer }
  | { readonly ok: false; readonly reason: ServerRefusal };

/** Judges an external server. */
export function judgeServer(evidence: ServerEvidence): ServerVerdict {
  const { der, host, subjectAltNames, now } = evidence;
  if (!der || der.length === 0) return { ok: false, reason: 'no_certificate' };
  const leaf = readCertificate(der);
  if (!leaf) return { ok: false, reason: 'malformed_certificate' };
  const server = { id: null, uri: leaf.uris[0] ?? '', validUntil: leaf.notAfter };
  if (evidence.insecureSkipVerify) {
    return { ok: true, value: { ...server, validUntil: Number.POSITIVE_INFINITY } };
  }
  const believed = { ok: true, value: server } as const;
  if (now > leaf.notAfter) return { ok: false, reason: 'expired' };
  if (now < leaf.notBefore) return { ok: false, reason: 'not_yet_valid' };
  const fault = chainRefusal(evidence.authorizationError);
  if (fault) return { ok: false, reason: fault };
  const revoked = evidence.revocation?.refusal(der, evidence.signers(), now) ?? null;
  if (revoked) return { ok: false, reason: revoked };
  if (leaf.unprintableUri) return { ok: false, reason: 'malformed_san' };
  const x509 = new X509Certificate(der);
  if (subjectAltNames.length > 0) {
    const listed = subjectAltNames.some(name => leaf.uris.includes(name) || carries(x509, name));
    return listed ? believed : { ok: false, reason: 'unexpected_identity' };
  }
  return host !== null && !carriesHost(x509, host) ? { ok: false, reason: 'wrong_host_name' } : believed;
}

const IP_ADDRESS = /^[\d.]+$|^[\da-f.]*:[\da-f:.]*$/i; // enough to tell it from a DNS name or a URI

/** A SAN that is exactly this DNS name or IP address: wildcards of the certificate do not count, nor does the subject. */
function carries(x509: X509Certificate, name: string): boolean {
  if (IP_ADDRESS.test(name)) return x509.checkIP(name) !== undefined;
  return x509.checkHost(name, { subject: 'never', wildcards: false }) !== undefined;
}

/** RFC 6125 by OpenSSL; the subject's common name never counts. */
function carriesHost(x509: X509Certificate, host: string): boolean {
  if (IP_ADDRESS.test(host)) return x509.checkIP(host) !== undefined;
  return x509.checkHost(host, { subject: 'never', partialWildcards: false }) !== undefined;
}
