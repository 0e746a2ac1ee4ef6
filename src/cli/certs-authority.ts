/** The folder of a development CA, under the names that Istio gives a CA's files. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCertificate } from '../identity/certificate.ts';
import { type Authority, createAuthority, createIntermediate } from '../identity/dev-ca.ts';
import { ROOT_CERT, replaceFile } from '../identity/folder.ts';
import { isTrustDomain } from '../identity/spiffe.ts';
import { Complaint } from './certs-complaint.ts';

/** What signs workload certificates: an intermediate, or the root itself where there is no root-cert.pem. */
const CA_CERT = 'ca-cert.pem';
const CA_KEY = 'ca-key.pem';
const ROOT_KEY = 'root-key.pem';

export interface AuthorityPlan {
  readonly dir: string;
  readonly trustDomain: string;
  /** The life of the root and of the intermediate. */
  readonly days: number;
  /** Replace a CA that is there already. */
  readonly force?: boolean;
}

/**
 * Makes a root and an intermediate below it.
 *
 * @returns what to tell
 * @throws Complaint when a name is none or a CA is in the way; Error of node:fs
 */
export async function makeAuthority({ dir, trustDomain, days, force }: AuthorityPlan): Promise<string> {
  if (!isTrustDomain(trustDomain)) {
    throw new Complaint(
      2,
      `--trust-domain must be lower-case letters, digits, ".", "-" or "_", not ${JSON.stringify(trustDomain)}`,
    );
  }
  const taken = [CA_KEY, CA_CERT, ROOT_KEY, ROOT_CERT].find(file => existsSync(join(dir, file)));
  if (taken && !force) {
    throw new Complaint(
      1,
      `${join(dir, taken)} is there already: a new CA would make its certificates worthless; remove it first`,
    );
  }
  const now = Date.now();
  const root = await createAuthority({ trustDomain, days, now });
  const intermediate = await createIntermediate(root, { days, now });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  replaceFile(join(dir, ROOT_KEY), root.keyPem, 0o600);
  replaceFile(join(dir, ROOT_CERT), root.certPem, 0o644);
  replaceFile(join(dir, CA_KEY), intermediate.keyPem, 0o600);
  replaceFile(join(dir, CA_CERT), intermediate.certPem, 0o644);
  return (
    `made a development CA for ${trustDomain} in ${dir}, a root and an intermediate; ` +
    `keep ${ROOT_KEY} and ${CA_KEY} to yourself`
  );
}

/**
 * The CA of a folder, checked; `notAfter` is when the first of its certificates ends, in Unix milliseconds.
 *
 * @throws Complaint when a file is missing or wrong
 */
export function readAuthority(dir: string, now: number): { authority: Authority; notAfter: number } {
  const certPem = readOwn(dir, CA_CERT);
  const keyPem = readOwn(dir, CA_KEY);
  const signer = readCa(dir, CA_CERT, certPem, now);
  const key = attempt(() => createPrivateKey(keyPem));
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1' || !signer.x509.checkPrivateKey(key)) {
    throw new Complaint(1, `${join(dir, CA_KEY)}: is not the P-256 key of ${CA_CERT}; run certs init`);
  }
  const trustDomain = signer.fields.uris[0]?.replace('spiffe://', '') ?? '';
  if (!isTrustDomain(trustDomain)) {
    throw new Complaint(1, `${join(dir, CA_CERT)}: names no trust domain; run certs init`);
  }
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const own = { trustDomain, certPem, keyPem: pem };
  if (!existsSync(join(dir, ROOT_CERT))) {
    return { authority: { ...own, rootPem: certPem, chainPem: '' }, notAfter: signer.fields.notAfter };
  }
  const rootPem = readOwn(dir, ROOT_CERT);
  const root = readCa(dir, ROOT_CERT, rootPem, now);
  if (!signer.x509.checkIssued(root.x509) || !signer.x509.verify(root.x509.publicKey)) {
    throw new Complaint(1, `${join(dir, CA_CERT)}: was not signed by ${ROOT_CERT}; run certs init`);
  }
  const notAfter = Math.min(signer.fields.notAfter, root.fields.notAfter);
  return { authority: { ...own, rootPem, chainPem: certPem }, notAfter };
}

/**
 * The root of a folder that has one above the certificate that signs; null where there is none.
 *
 * @throws Complaint when its key is missing or another's
 */
export function readRoot(dir: string): Authority | null {
  if (!existsSync(join(dir, ROOT_CERT))) return null;
  const rootPem = readOwn(dir, ROOT_CERT);
  const keyPem = readOwn(dir, ROOT_KEY);
  const key = attempt(() => createPrivateKey(keyPem));
  if (key === null || !attempt(() => new X509Certificate(rootPem))?.checkPrivateKey(key)) {
    throw new Complaint(1, `${join(dir, ROOT_KEY)}: is not the key of ${ROOT_CERT}; run certs init`);
  }
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { trustDomain: '', rootPem, certPem: rootPem, keyPem: pem, chainPem: '' };
}

function readCa(dir: string, file: string, pem: string, now: number) {
  const x509 = attempt(() => new X509Certificate(pem));
  const fields = x509 && readCertificate(x509.raw);
  if (!x509 || !fields?.ca) {
    throw new Complaint(1, `${join(dir, file)}: is no CA certificate; run certs init`);
  }
  if (now > fields.notAfter) {
    throw new Complaint(1, `${join(dir, file)}: expired ${x509.validTo}; remove it and run certs init`);
  }
  return { x509, fields };
}

function readOwn(dir: string, file: string): string {
  const path = join(dir, file);
  if (!existsSync(path)) throw new Complaint(1, `${path} is missing; make a CA with certs init`);
  return readFileSync(path, 'latin1');
}

function attempt<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}
