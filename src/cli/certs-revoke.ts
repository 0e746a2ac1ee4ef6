/** `outrider certs revoke`: the revocation lists of a development CA, with certificates added to them. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCertificate } from '../identity/certificate.ts';
import { type Authority, revokedSerials, signRevocations } from '../identity/dev-ca.ts';
import { CERT_CHAIN, CRL, replaceFile } from '../identity/folder.ts';
import { readPem } from '../identity/pem.ts';
import { readAuthority, readRoot } from './certs-authority.ts';
import { Complaint } from './certs-complaint.ts';

export interface RevocationPlan {
  /** The folder of the CA; its `crl.pem` holds the lists. */
  readonly ca: string;
  /** Folders whose certificate is revoked, or serials in hex; none = the lists are only signed anew. */
  readonly targets: readonly string[];
  /** Folders that get the lists too. */
  readonly outs: readonly string[];
  /** How long the lists count. */
  readonly ttlMs: number;
}

/**
 * Signs the lists of every certificate of the CA, which a sidecar wants all: the root's and the intermediate's.
 *
 * @returns what to tell
 * @throws Complaint when the CA, a folder or a serial is wrong; Error of node:fs
 */
export async function revoke({ ca, targets, outs, ttlMs }: RevocationPlan): Promise<string> {
  const missing = outs.find(dir => !existsSync(dir));
  if (missing !== undefined) refuse(missing, 'is no folder; make it, or name another with --out');
  const now = Date.now();
  const { authority } = readAuthority(ca, now);
  const root = readRoot(ca);
  const wanted = targets.map(target => readTarget(target));
  const path = join(ca, CRL);
  const before = existsSync(path) ? readFileSync(path, 'latin1') : '';
  const nextUpdate = now + ttlMs;
  const intermediate = serialOf(authority.certPem);
  const ofRoot = root === null ? [] : wanted.filter(serial => serial === intermediate);
  const ofSigner = wanted.filter(serial => !ofRoot.includes(serial));
  let lists = await listOf(authority, before, ofSigner, { now, nextUpdate });
  if (root !== null) lists += await listOf(root, before, ofRoot, { now, nextUpdate });
  for (const dir of [ca, ...outs]) replaceFile(join(dir, CRL), lists, 0o644);
  const revoked = wanted.length === 0 ? 'revoked nothing more' : `revoked ${wanted.join(', ')}`;
  return `${revoked}; lists in ${[ca, ...outs].map(dir => join(dir, CRL)).join(', ')}, valid until ${new Date(nextUpdate).toISOString().slice(0, 19)}Z`;
}

async function listOf(
  authority: Authority,
  before: string,
  added: readonly string[],
  { now, nextUpdate }: { now: number; nextUpdate: number },
): Promise<string> {
  const known = (await revokedSerials(authority, before)).map(normal);
  const serials = [...new Set([...known, ...added])];
  return signRevocations(authority, { serials, now, nextUpdate });
}

/** A serial, or the folder of the certificate that has it. */
function readTarget(target: string): string {
  const path = join(target, CERT_CHAIN);
  if (existsSync(path)) return serialOf(readFileSync(path, 'latin1')) ?? refuse(path, 'holds no certificate');
  if (/^[0-9a-f]{1,40}$/i.test(target)) return normal(target);
  return refuse(target, `is neither a folder with a ${CERT_CHAIN} nor a serial in hex; name one of the two`);
}

/** Of the first certificate. */
function serialOf(pem: string): string | null {
  const read = readPem(pem);
  const der = read.ok ? read.blocks[0]?.der : undefined;
  return der === undefined ? null : (readCertificate(new X509Certificate(der).raw)?.serial ?? null);
}

/** As certificates print it: upper case, whole octets, no zero octet before others. */
function normal(serial: string): string {
  const digits = serial.replace(/^0+(?=.)/, '').toUpperCase();
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

function refuse(what: string, why: string): never {
  throw new Complaint(1, `${what}: ${why}`);
}
