/**
 * Who the peer is, and whether it may be anybody at all: the leaf certificate of a finished handshake is judged by the
 * rules of X509-SVID section 5 and OpenSSL's verdict on its chain. Refusing is a value with a stable reason.
 */
import { hash } from 'node:crypto';
import { type CertificateFields, KEY_USAGE, readCertificate } from './certificate.ts';
import { maySign } from './chain.ts';
import { parseSpiffeId, type SpiffeId } from './spiffe.ts';

/** A peer that proved who it is. */
export interface PeerIdentity {
  readonly id: SpiffeId;
  /** Unix milliseconds. */
  readonly notAfter: number;
  /** When its certificate expires, or one of those that led to the root when it was first believed; Unix milliseconds. */
  readonly validUntil: number;
  /** DER of its own certificate and of those that came with it, as they came when it was first believed. */
  readonly chain: readonly Uint8Array[];
  /** Lower-case hex SHA-256 of the certificate's DER, as `x-forwarded-client-cert` carries it. */
  readonly hash: string;
  /** RFC 2253, '' for an empty subject. */
  readonly subject: string;
  /** Upper-case hex. */
  readonly serial: string;
}

/** Why a peer is refused; the same word in logs, metrics and `explain`. */
export type PeerRefusal =
  | 'no_certificate'
  | 'malformed_certificate'
  | 'untrusted'
  | 'expired'
  | 'not_yet_valid'
  | 'revoked'
  | 'no_crl'
  | 'crl_expired'
  | 'bad_chain'
  | 'is_ca'
  | 'bad_key_usage'
  | 'bad_extended_key_usage'
  | 'malformed_san'
  | 'no_uri_san'
  | 'many_uri_sans'
  | 'bad_spiffe_id'
  | 'foreign_trust_domain'
  | 'wrong_trust_root';

/** The refusals that come from the subject alternative name. */
export type SanRefusal = Extract<
  PeerRefusal,
  'malformed_san' | 'no_uri_san' | 'many_uri_sans' | 'bad_spiffe_id'
>;

/** Whom this workload believes. */
export interface PeerTrust {
  /** Those whose SPIFFE IDs are accepted. */
  readonly trustDomains: readonly string[];
  /**
   * What speaks against a peer now that was believed, in this handshake by OpenSSL or earlier; null = nothing. The one
   * question for new connections, resumed ones and those that are open.
   *
   * @param now Unix milliseconds
   */
  refusal(peer: PeerIdentity, now: number): PeerRefusal | null;
  /**
   * Until when the certificates lead to a root, for a peer that is not refused; Unix milliseconds. Without it all that
   * came count.
   */
  validUntil?(peer: PeerIdentity, now: number): number;
}

export interface PeerEvidence {
  /** The leaf's DER; null when the peer sent none. */
  readonly der: Uint8Array | null;
  /** Reads the DER of the certificates that came with the leaf; asked for a leaf that is not known yet, or refused now. */
  signers?(): readonly Uint8Array[];
  /** OpenSSL's verdict on the chain as Node names it; null when the chain leads to the bundle. */
  readonly authorizationError: string | null;
  readonly trust: PeerTrust;
  /** What the peer is on this connection. */
  readonly role: 'client' | 'server';
  /** Unix milliseconds. */
  readonly now: number;
}

export type PeerVerdict =
  | { readonly ok: true; readonly peer: PeerIdentity }
  | { readonly ok: false; readonly reason: PeerRefusal };

/**
 * Node's names of OpenSSL's verification errors (X509_V_ERR_…); every other one is `untrusted`. INVALID_PURPOSE is the
 * chain's: the leaf's own purposes were judged before.
 */
const CHAIN_REFUSALS: ReadonlyMap<string, PeerRefusal> = new Map([
  ['CERT_HAS_EXPIRED', 'expired'],
  ['CERT_NOT_YET_VALID', 'not_yet_valid'],
  ['CERT_REVOKED', 'revoked'],
  ['UNABLE_TO_GET_CRL', 'no_crl'],
  ['CRL_HAS_EXPIRED', 'crl_expired'],
  ['CRL_NOT_YET_VALID', 'crl_expired'],
  ['CRL_SIGNATURE_FAILURE', 'no_crl'],
  ['UNABLE_TO_DECRYPT_CRL_SIGNATURE', 'no_crl'],
  ['INVALID_PURPOSE', 'bad_chain'],
  ['INVALID_CA', 'bad_chain'],
  ['INVALID_NON_CA', 'bad_chain'],
  ['PATH_LENGTH_EXCEEDED', 'bad_chain'],
  ['CERT_CHAIN_TOO_LONG', 'bad_chain'],
  ['PERMITTED_VIOLATION', 'bad_chain'],
  ['EXCLUDED_VIOLATION', 'bad_chain'],
]);

/**
 * Judges one peer; the first rule that it breaks is the reason. What is wrong with the leaf itself comes before what
 * OpenSSL says of the chain, because OpenSSL names one error only and a leaf's own fault tells more.
 *
 * A leaf without keyUsage passes, as in Istio and go-spiffe (X509-SVID 4.3 asks it of issuers only).
 */
export function judgePeer(evidence: PeerEvidence): PeerVerdict {
  const { der, authorizationError, role, now, trust } = evidence;
  if (!der || der.length === 0) return refuse('no_certificate');
  const digest = hash('sha256', der, 'hex');
  const kept = KNOWN.get(digest);
  const known = kept ?? read(der, digest);
  if (!known) return refuse('malformed_certificate');
  const { leaf, verdict } = known;
  const fault = leafFault(leaf, role, now) ?? chainRefusal(authorizationError);
  if (fault) return refuse(fault);
  if (!verdict.ok) return verdict;
  if (!trust.trustDomains.includes(verdict.peer.id.trustDomain)) return refuse('foreign_trust_domain');
  const before = kept ? trust.refusal(verdict.peer, now) : null;
  if (kept && before === null) return verdict;
  // What was kept may lead nowhere now, and what came this time somewhere: a renewed intermediate below the same leaf.
  const came = withSigners(verdict.peer, evidence.signers?.() ?? []);
  if (came === null) return refuse('bad_chain');
  // Trust knows which of them matter.
  const peer = trust.validUntil ? { ...came, validUntil: came.notAfter } : came;
  const refusal = trust.refusal(peer, now);
  if (refusal !== null) return refuse(before ?? refusal);
  const validUntil = trust.validUntil?.(peer, now) ?? peer.validUntil;
  const believed: PeerVerdict = Object.freeze({ ok: true, peer: Object.freeze({ ...peer, validUntil }) });
  keep(digest, { leaf, verdict: believed });
  return believed;
}

/** What a certificate says, whoever judges it and when. */
interface KnownLeaf {
  readonly leaf: CertificateFields;
  readonly verdict: PeerVerdict;
}

/**
 * Certificates that were believed, by SHA-256: a peer connects many times with one, and its connections then share one
 * PeerIdentity. Dates, chain and trust domain are judged each time. Only the believed are kept, so strangers cannot fill it.
 */
const KNOWN = new Map<string, KnownLeaf>();
const MAX_KNOWN = 250; // under 1 MB; emptied when full, which costs each peer one reading, some microseconds of a handshake

function keep(digest: string, leaf: KnownLeaf): void {
  if (KNOWN.size >= MAX_KNOWN) KNOWN.clear();
  KNOWN.set(digest, leaf);
}

function read(der: Uint8Array, digest: string): KnownLeaf | null {
  const leaf = readCertificate(der);
  if (!leaf) return null;
  const id = spiffeIdOf(leaf);
  if (typeof id === 'string') return { leaf, verdict: refuse(id) };
  const { notAfter, subject, serial } = leaf;
  const peer = {
    id: Object.freeze(id),
    notAfter,
    validUntil: notAfter,
    chain: [der],
    hash: digest,
    subject,
    serial,
  };
  return { leaf, verdict: { ok: true, peer } };
}

/** The peer with what came with its certificate this time; null when one of them may not sign. */
function withSigners(peer: PeerIdentity, signers: readonly Uint8Array[]): PeerIdentity | null {
  let validUntil = peer.notAfter;
  for (const signer of signers) {
    // OpenSSL, which verified the chain, knows nothing of SPIFFE IDs.
    const fields = readCertificate(signer);
    if (fields === null || !maySign(fields)) return null;
    validUntil = Math.min(validUntil, fields.notAfter);
  }
  const chain = [...peer.chain.slice(0, 1), ...signers].map(ownBytes);
  return { ...peer, validUntil, chain: Object.freeze(chain) };
}

/** A copy with memory of its own: a small Buffer lies in a slab of 64 KB, and who keeps the one keeps the other. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function leafFault(leaf: CertificateFields, role: 'client' | 'server', now: number): PeerRefusal | null {
  if (now > leaf.notAfter) return 'expired';
  if (now < leaf.notBefore) return 'not_yet_valid';
  if (leaf.ca) return 'is_ca';
  if (leaf.keyUsage !== null && !isLeafKeyUsage(leaf.keyUsage)) return 'bad_key_usage';
  if (leaf.purposes && !(role === 'client' ? leaf.purposes.clientAuth : leaf.purposes.serverAuth)) {
    return 'bad_extended_key_usage';
  }
  return null;
}

/** The one SPIFFE ID of a leaf (X509-SVID section 2: exactly one URI SAN), or why it has none. */
export function spiffeIdOf(leaf: CertificateFields): SpiffeId | SanRefusal {
  if (leaf.unprintableUri) return 'malformed_san';
  const uri = leaf.uris[0];
  if (uri === undefined) return 'no_uri_san';
  if (leaf.uris.length > 1) return 'many_uri_sans';
  const parsed = parseSpiffeId(uri);
  return parsed.ok ? parsed.id : 'bad_spiffe_id';
}

/** X509-SVID 4.3: digitalSignature set, keyCertSign and cRLSign not. */
export function isLeafKeyUsage(bits: number): boolean {
  return (
    (bits & KEY_USAGE.digitalSignature) !== 0 && (bits & (KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign)) === 0
  );
}

/** What OpenSSL has against the chain; null when nothing. */
export function chainRefusal(authorizationError: string | null): PeerRefusal | null {
  return authorizationError === null ? null : (CHAIN_REFUSALS.get(authorizationError) ?? 'untrusted');
}

const REFUSALS = new Map<PeerRefusal, PeerVerdict>();

/** One frozen object a reason: a flood of refused handshakes allocates nothing here. */
function refuse(reason: PeerRefusal): PeerVerdict {
  let verdict = REFUSALS.get(reason);
  if (!verdict) {
    verdict = Object.freeze({ ok: false, reason });
    REFUSALS.set(reason, verdict);
  }
  return verdict;
}
