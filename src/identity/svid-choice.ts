/** Which SVID of a Workload API's answer is this workload's, as the files that an identity folder would hold. */
import { createHash, X509Certificate } from 'node:crypto';
import { readCertificate } from './certificate.ts';
import { maySign } from './chain.ts';
import { elements, SEQUENCE } from './der.ts';
import { CERT_CHAIN, CRL, KEY, ROOT_CERT } from './folder.ts';
import { type IdentityFault, type IdentityFaultReason, identityFault } from './identity-fault.ts';
import { isTrustDomain } from './spiffe.ts';
import type { IdentityFiles } from './svid.ts';
import type { X509Svid, X509SvidResponse } from './x509-svid-response.ts';

export type SvidChoice =
  | {
      readonly ok: true;
      readonly files: IdentityFiles;
      readonly digest: string;
      /** Trust domains whose bundle cannot be used, as the answer names them. */
      readonly unusable: readonly string[];
    }
  | { readonly ok: false; readonly fault: IdentityFault };

/** The protocol's words for the files, in messages. */
const FIELD_OF_FILE: readonly (readonly [file: string, field: string])[] = [
  [CERT_CHAIN, 'x509_svid'],
  [KEY, 'x509_svid_key'],
  [ROOT_CERT, 'bundle'],
  [CRL, 'crl'],
];
const SCHEME = 'spiffe://';
const MAX_NAMED = 300; // characters of a message that the server worded

export interface SvidWish {
  /** The SVID's SPIFFE ID; null takes the first, which is the default identity (Workload API 5.3). */
  readonly spiffeId: string | null;
  /** The Workload API's, for messages. */
  readonly address: string;
}

/**
 * Takes one SVID out of an answer, with its own bundle as roots. The bundles of other trust domains stand beside it, each
 * for its own trust domain only; one that cannot be used takes its own trust domain with it and nothing else.
 */
export function chooseSvid(response: X509SvidResponse, { spiffeId, address }: SvidWish): SvidChoice {
  const refuse = (reason: IdentityFaultReason, text: string): SvidChoice => ({
    ok: false,
    fault: identityFault(address, reason, text),
  });
  const { svids } = response;
  if (svids.length === 0)
    return refuse('no_svid', 'its answer has no SVID; register this workload with the SPIFFE server');
  const svid = spiffeId === null ? svids[0] : svids.find(one => one.spiffeId === spiffeId);
  if (svid === undefined) {
    const named = svids.map(one => JSON.stringify(one.spiffeId)).join(', ');
    const text = `has no SVID of ${spiffeId}, only of ${named.slice(0, MAX_NAMED)}; name one of them with --spiffe-id`;
    return refuse('svid_not_found', text);
  }
  const incomplete = missingField(svid);
  if (incomplete !== null)
    return refuse('bad_response', `its SVID has no ${incomplete}; look at the SPIFFE server`);
  const own = filesOf(svid, response.crls);
  if (own === null) return refuse('bad_response', 'its answer is not DER; look at the SPIFFE server');
  const leaf = readCertificate(svid.chain.subarray(0, endOfFirst(svid.chain)));
  if (leaf?.uris.length === 1 && leaf.uris[0] !== svid.spiffeId) {
    const [said, held] = [svid.spiffeId, leaf.uris[0]].map(id => JSON.stringify(id?.slice(0, MAX_NAMED)));
    return refuse(
      'bad_response',
      `names ${said} and sends a certificate of ${held}; look at the SPIFFE server`,
    );
  }
  const { bundles, unusable } = federatedOf(response.federated);
  const files = bundles.size === 0 ? own : { ...own, federated: bundles };
  return { ok: true, files, digest: digestOf(files), unusable };
}

function federatedOf(federated: X509SvidResponse['federated']) {
  const bundles = new Map<string, string>();
  const unusable: string[] = [];
  for (const [name, der] of federated) {
    const domain = trustDomainOf(name);
    const pem = isBundle(der) ? pemOf('CERTIFICATE', der) : null;
    if (domain !== null) bundles.set(domain, pem?.toString('latin1') ?? '');
    if (domain === null || pem === null) unusable.push(name);
  }
  return { bundles, unusable };
}

/** Workload API 6.2.1: bundles go by the trust domain's SPIFFE ID. */
function trustDomainOf(name: string): string | null {
  const domain = name.startsWith(SCHEME) ? name.slice(SCHEME.length).replace(/\/$/, '') : '';
  return isTrustDomain(domain) ? domain : null;
}

/** One CA or more, each in DER that both readers take. */
function isBundle(bytes: Buffer): boolean {
  const list = elements(bytes, { tag: SEQUENCE, at: 0, start: 0, end: bytes.length });
  return (
    list !== null && list.length > 0 && list.every(({ at, end }) => isAuthority(bytes.subarray(at, end)))
  );
}

function isAuthority(der: Buffer): boolean {
  const fields = readCertificate(der);
  if (!fields || !maySign(fields)) return false;
  try {
    return new X509Certificate(der).publicKey !== null;
  } catch {
    return false;
  }
}

/** A fault of the files, in the words of the protocol. */
export function rewordFault(fault: IdentityFault, address: string): IdentityFault {
  const message = FIELD_OF_FILE.reduce((text, [file, field]) => text.replaceAll(file, field), fault.message);
  return { file: address, reason: fault.reason, message: `${address}: ${message}` };
}

/** Workload API 4.5: an SVID with an empty one must be discarded. */
function missingField({ spiffeId, chain, key, bundle }: X509Svid): string | null {
  if (spiffeId === '') return 'spiffe_id';
  if (chain.length === 0) return 'x509_svid';
  if (key.length === 0) return 'x509_svid_key';
  return bundle.length === 0 ? 'bundle' : null;
}

function filesOf(svid: X509Svid, crls: readonly Buffer[]): IdentityFiles | null {
  const certChain = pemOf('CERTIFICATE', svid.chain);
  const key = pemOf('PRIVATE KEY', svid.key);
  const root = pemOf('CERTIFICATE', svid.bundle);
  if (certChain === null || key === null || root === null) return null;
  if (crls.length === 0) return { certChain, key, root };
  const crl = pemOf('X509 CRL', Buffer.concat(crls));
  return crl === null ? null : { certChain, key, root, crl };
}

/** DER sequences one after the other as PEM blocks; null when the bytes are not that. */
function pemOf(label: string, bytes: Buffer): Buffer | null {
  const list = elements(bytes, { tag: SEQUENCE, at: 0, start: 0, end: bytes.length });
  if (list === null || list.some(({ tag }) => tag !== SEQUENCE)) return null;
  const blocks = list.map(({ at, end }) => {
    const lines = bytes.toString('base64', at, end).match(/.{1,64}/g) ?? [];
    return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
  });
  return Buffer.from(blocks.join(''), 'latin1');
}

function endOfFirst(bytes: Buffer): number {
  return elements(bytes, { tag: SEQUENCE, at: 0, start: 0, end: bytes.length })?.[0]?.end ?? 0;
}

function digestOf({ certChain, key, root, crl, federated }: IdentityFiles): string {
  const digest = createHash('sha256');
  for (const bytes of [certChain, key, root, crl])
    digest.update(`${bytes?.length ?? -1}\n`).update(bytes ?? '');
  digest.update(JSON.stringify([...(federated ?? [])].sort()));
  return digest.digest('hex');
}
