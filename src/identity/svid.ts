/**
 * A workload's identity, checked as a whole before anything uses it: one immutable generation, or one fault that names
 * the file, the reason and what to do.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { readIssuer } from './certificate.ts';
import { chainFault, date, type Link, linkOf, maySign } from './chain.ts';
import { CERT_CHAIN, CRL, KEY, ROOT_CERT } from './folder.ts';
import { type IdentityFault, type IdentityFaultReason, identityFault } from './identity-fault.ts';
import { authoritiesOf, type CrlSummary, ListsInForce, type SaidLists } from './lists-in-force.ts';
import { firstToExpire } from './own-path.ts';
import { isLeafKeyUsage, spiffeIdOf } from './peer.ts';
import { type PemBlock, readPem } from './pem.ts';
import type { SpiffeId } from './spiffe.ts';

/** One certificate for people and for `/certs`; never key material. Times in Unix milliseconds. */
export interface CertificateSummary {
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** URI SANs; one for a leaf, usually none or the trust domain for a CA. */
  readonly uris: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
}

/** One checked identity: plain data that crosses threads. Times in Unix milliseconds. */
export interface IdentityGeneration {
  /** Counts from 1 in this process. */
  readonly generation: number;
  readonly certChainPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
  readonly crlPem: string | null;
  /** `spiffe://…` */
  readonly id: string;
  readonly trustDomain: string;
  /** PEM bundles of other trust domains, which vouch for these only; '' = none that can be used. */
  readonly federated: Readonly<Record<string, string>>;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly loadedAt: number;
  /** Hex hash of roots, federated bundles and revocation lists: peers judged under another epoch are judged anew. */
  readonly trustEpoch: string;
  readonly chain: readonly CertificateSummary[];
  readonly roots: readonly CertificateSummary[];
  /** What `crlPem` holds. */
  readonly crls: readonly CrlSummary[];
}

export interface IdentityFiles {
  readonly certChain: Buffer;
  readonly key: Buffer;
  readonly root: Buffer;
  readonly crl?: Buffer;
  /** Why there may be a list that could not be read. */
  readonly crlFault?: IdentityFault;
  /** PEM bundles of other trust domains, checked; '' = one that could not be used, which nothing else stands in for. */
  readonly federated?: ReadonlyMap<string, string>;
}

export type IdentityCheck =
  | { readonly ok: true; readonly value: IdentityGeneration }
  | { readonly ok: false; readonly fault: IdentityFault };

/**
 * Checks the files of one identity together: strict PEM, the key pair, the leaf's dates, constraints and one SPIFFE ID,
 * the chain to the bundle, and that the revocation list, when there is one, covers every CA.
 *
 * @param now Unix milliseconds
 * @param generation the number that the result carries
 */
export function checkIdentity(files: IdentityFiles, now: number, generation: number): IdentityCheck {
  const check = checkCertificates(files, now, generation);
  if (!check.ok) return check;
  const lists = new ListsInForce();
  lists.say(CRL, listsIn(files));
  const { ok, fault } = lists.weigh(authoritiesOf(check.value), now);
  if (!ok && fault !== null) return { ok: false, fault };
  return { ok: true, value: withLists(check.value, lists) };
}

/** The same without the revocation list; that of the result is null. */
export function checkCertificates(files: IdentityFiles, now: number, generation: number): IdentityCheck {
  try {
    return { ok: true, value: assemble(files, now, generation) };
  } catch (error) {
    if (error instanceof Rejection) return { ok: false, fault: error.fault };
    throw error;
  }
}

/** What an identity's files say of revocation. */
export function listsIn({ crl, crlFault }: IdentityFiles): SaidLists {
  if (crlFault) return { file: CRL, fault: crlFault };
  return crl ? { file: CRL, bytes: crl } : { file: CRL, none: 'gone' };
}

/** An identity that was checked without lists, under those that are in force. */
export function withLists(
  identity: IdentityGeneration,
  { pem, summaries }: Pick<ListsInForce, 'pem' | 'summaries'>,
): IdentityGeneration {
  const epoch = createHash('sha256')
    .update(identity.trustEpoch)
    .update(pem ?? '');
  return Object.freeze({ ...identity, crlPem: pem, crls: summaries, trustEpoch: epoch.digest('hex') });
}

/** Carries a fault out of the nested checks; never leaves this file. */
class Rejection extends Error {
  readonly fault: IdentityFault;

  constructor(file: string, reason: IdentityFaultReason, text: string) {
    super(reason);
    this.fault = identityFault(file, reason, text);
  }
}

function assemble(files: IdentityFiles, now: number, generation: number): IdentityGeneration {
  const [leaf, ...intermediates] = certificates(CERT_CHAIN, files.certChain);
  const roots = certificates(ROOT_CERT, files.root);
  if (!leaf)
    throw new Rejection(
      CERT_CHAIN,
      'file_empty',
      'holds no certificate; write the leaf first, then its intermediates',
    );
  checkKey(leaf, files.key);
  const id = checkLeaf(leaf, now);
  checkRoots(leaf, intermediates, roots, now);
  const { fields: ending } = firstToExpire(leaf, intermediates, roots);
  const epoch = createHash('sha256');
  for (const root of roots.map(link => link.x509.fingerprint256).sort()) epoch.update(root);
  const federated = federatedBundles(files.federated, id.trustDomain);
  epoch.update(JSON.stringify(federated));
  return Object.freeze({
    generation,
    certChainPem: files.certChain.toString('latin1'),
    keyPem: files.key.toString('latin1'),
    rootPem: files.root.toString('latin1'),
    crlPem: null,
    crls: [],
    id: id.uri,
    trustDomain: id.trustDomain,
    federated,
    notBefore: ending.notBefore,
    notAfter: ending.notAfter,
    loadedAt: now,
    trustEpoch: epoch.digest('hex'),
    chain: [leaf, ...intermediates].map(summary),
    roots: roots.map(summary),
  });
}

function blocks(file: string, bytes: Buffer): readonly PemBlock[] {
  const read = readPem(bytes.toString('latin1'));
  if (read.ok) return read.blocks;
  const faults = {
    empty: 'is empty; wait for its writer to finish, or write it again',
    garbage: 'holds text that is no PEM block; write PEM blocks only',
    truncated: 'ends inside a PEM block; wait for its writer to finish, or write it again',
    bad_base64: 'holds a PEM block that is not base64; write it again',
  };
  throw new Rejection(file, read.fault === 'empty' ? 'file_empty' : 'not_pem', faults[read.fault]);
}

function certificates(file: string, bytes: Buffer): Link[] {
  return blocks(file, bytes).map(({ label, der }, at) => {
    const link = label === 'CERTIFICATE' ? linkOf(der) : null;
    if (!link) {
      const what = label === 'CERTIFICATE' ? 'cannot be read' : `is a ${label}`;
      throw new Rejection(file, 'bad_certificate', `block ${at + 1} ${what}; write certificates only`);
    }
    return link;
  });
}

function checkKey(leaf: Link, bytes: Buffer): void {
  const keys = blocks(KEY, bytes).filter(block => block.label !== 'EC PARAMETERS');
  const [block] = keys;
  if (!block || keys.length !== 1 || !block.label.endsWith('PRIVATE KEY')) {
    throw new Rejection(KEY, 'bad_key', 'must hold exactly one private key; write the key of the leaf');
  }
  if (block.label.startsWith('ENCRYPTED') || block.pem.includes('Proc-Type:')) {
    throw new Rejection(
      KEY,
      'key_encrypted',
      'is encrypted; write it without a passphrase, readable by its owner only',
    );
  }
  const key: KeyObject | null = attempt(() => createPrivateKey(block.pem));
  if (!key) throw new Rejection(KEY, 'bad_key', 'cannot be read as a private key; write it again');
  if (!leaf.x509.checkPrivateKey(key)) {
    const text = `does not belong to the first certificate of ${CERT_CHAIN}; write both from one issuance`;
    throw new Rejection(KEY, 'key_mismatch', text);
  }
}

function checkLeaf({ fields }: Link, now: number): SpiffeId {
  const reject = (reason: IdentityFaultReason, text: string) => new Rejection(CERT_CHAIN, reason, text);
  if (now > fields.notAfter)
    throw reject('expired', `expired ${date(fields.notAfter)}; issue a new certificate`);
  if (now < fields.notBefore) {
    throw reject('not_yet_valid', `is valid only from ${date(fields.notBefore)}; check this machine's clock`);
  }
  if (fields.ca) throw reject('is_ca', 'begins with a CA certificate; write the workload certificate first');
  if (fields.keyUsage !== null && !isLeafKeyUsage(fields.keyUsage)) {
    throw reject(
      'bad_key_usage',
      'its keyUsage is not that of a workload; issue it with digitalSignature only',
    );
  }
  const id = spiffeIdOf(fields);
  if (typeof id !== 'string') return id;
  const found = fields.uris.length === 0 ? 'none' : fields.uris.map(uri => JSON.stringify(uri)).join(', ');
  throw reject(id, `needs exactly one SPIFFE ID as its URI SAN, has ${found.slice(0, 300)}; issue it anew`);
}

function checkRoots(leaf: Link, intermediates: Link[], roots: Link[], now: number): void {
  for (const { fields } of roots) {
    if (!maySign(fields)) {
      const text = `"${fields.subject || fields.uris.join(' ')}" is not a CA; write the root certificates only`;
      throw new Rejection(ROOT_CERT, 'root_is_no_ca', text);
    }
  }
  const fault = chainFault(leaf, intermediates, roots, now);
  if (fault)
    throw new Rejection(
      CERT_CHAIN,
      'untrusted',
      `does not lead to ${ROOT_CERT}: ${fault}; write both from one CA`,
    );
}

/** Sorted, so that the same bundles are the same epoch. The own trust domain's roots are its own bundle's alone. */
function federatedBundles(
  bundles: ReadonlyMap<string, string> | undefined,
  own: string,
): Readonly<Record<string, string>> {
  const others = [...(bundles ?? [])].filter(([domain]) => domain !== own);
  return Object.freeze(Object.fromEntries(others.sort(([a], [b]) => (a < b ? -1 : 1))));
}

function summary({ x509, fields }: Link): CertificateSummary {
  const { subject, serial, uris, notBefore, notAfter } = fields;
  return { subject, issuer: readIssuer(x509.raw) ?? '', serial, uris, notBefore, notAfter };
}

function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}
