/** `outrider certs`: a development CA, workload certificates of it, and what is in a certificate folder. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCertificate } from '../identity/certificate.ts';
import { type Authority, createAuthority, issue } from '../identity/dev-ca.ts';
import { replaceFile, writeIdentity } from '../identity/folder.ts';
import { isTrustDomain, parseSpiffeId } from '../identity/spiffe.ts';
import { showCertificates } from './certs-show.ts';

export interface CertsInit {
  readonly action: 'init';
  /** The folder of the CA: ca-cert.pem and ca-key.pem, as Istio names them. */
  readonly dir: string;
  readonly trustDomain: string;
  readonly days: number;
  /** Replace a CA that is there already. */
  readonly force?: boolean;
}

export interface CertsIssue {
  readonly action: 'issue';
  readonly ca: string;
  /** Where the three files go. */
  readonly dir: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly hours: number;
  /** A whole SPIFFE ID in place of namespace and service account. */
  readonly spiffeId?: string | null;
  /** DNS names besides it; none by default. */
  readonly dnsNames?: readonly string[];
}

export interface CertsShow {
  readonly action: 'show';
  readonly dir: string;
  readonly json: boolean;
}

export type CertsOptions = CertsInit | CertsIssue | CertsShow;

/** Where the command writes; `process` is one. */
export interface CertsIo {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

const CA_CERT = 'ca-cert.pem';
const CA_KEY = 'ca-key.pem';
const HOUR_MS = 3_600_000;

/** A line for the person at the command line, and the exit code. */
class Complaint extends Error {
  readonly exitCode: 1 | 2;

  constructor(exitCode: 1 | 2, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

/**
 * Runs the command.
 *
 * @returns the exit code: 0; 1 when a file is in the way, missing or wrong; 2 for a name that is none
 */
export async function runCerts(options: CertsOptions, io: CertsIo = process): Promise<number> {
  try {
    if (options.action === 'show') return await showCertificates(options.dir, { json: options.json, io });
    const done = options.action === 'init' ? await init(options) : await issueTo(options);
    io.stdout.write(`${done}\n`);
    return 0;
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (error instanceof Complaint) io.stderr.write(`outrider: ${error.message}\n`);
    else if (code && path) io.stderr.write(`outrider: ${path}: cannot be read or written (${code})\n`);
    else throw error;
    return error instanceof Complaint ? error.exitCode : 1;
  }
}

async function init({ dir, trustDomain, days, force }: CertsInit): Promise<string> {
  if (!isTrustDomain(trustDomain)) {
    throw new Complaint(
      2,
      `--trust-domain must be lower-case letters, digits, ".", "-" or "_", not ${JSON.stringify(trustDomain)}`,
    );
  }
  const taken = [CA_KEY, CA_CERT].find(file => existsSync(join(dir, file)));
  if (taken && !force) {
    throw new Complaint(
      1,
      `${join(dir, taken)} is there already: a new CA would make its certificates worthless; remove it first`,
    );
  }
  const authority = await createAuthority({ trustDomain, days });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  replaceFile(join(dir, CA_KEY), authority.keyPem, 0o600);
  replaceFile(join(dir, CA_CERT), authority.certPem, 0o644);
  return `made a development CA for ${trustDomain} in ${dir}; keep ${CA_KEY} to yourself`;
}

async function issueTo({
  ca,
  dir,
  namespace,
  serviceAccount,
  hours,
  spiffeId,
  dnsNames = [],
}: CertsIssue): Promise<string> {
  const { authority, notAfter } = readAuthority(ca);
  const uri = spiffeId ?? `spiffe://${authority.trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
  const parsed = parseSpiffeId(uri);
  if (!parsed.ok) throw new Complaint(2, `${JSON.stringify(uri)} is no SPIFFE ID (${parsed.reason})`);
  if (parsed.id.trustDomain !== authority.trustDomain) {
    throw new Complaint(
      2,
      `the CA in ${ca} is for ${authority.trustDomain}, not for ${parsed.id.trustDomain}`,
    );
  }
  const now = Date.now();
  const until = Math.min(now + hours * HOUR_MS, notAfter); // a leaf that outlives its CA fails without saying why
  writeIdentity(dir, await issue(authority, { spiffeId: uri, now, ttlMs: until - now, dnsNames }));
  return `issued ${uri} in ${dir}, valid until ${new Date(until).toISOString().slice(0, 19)}Z`;
}

function readAuthority(dir: string): { authority: Authority; notAfter: number } {
  const certPem = readOwn(dir, CA_CERT);
  const keyPem = readOwn(dir, CA_KEY);
  const [x509, key] = [attempt(() => new X509Certificate(certPem)), attempt(() => createPrivateKey(keyPem))];
  const fields = x509 && readCertificate(x509.raw);
  if (!x509 || !fields?.ca)
    throw new Complaint(1, `${join(dir, CA_CERT)}: is no CA certificate; run certs init`);
  if (key?.asymmetricKeyDetails?.namedCurve !== 'prime256v1' || !x509.checkPrivateKey(key)) {
    throw new Complaint(1, `${join(dir, CA_KEY)}: is not the P-256 key of ${CA_CERT}; run certs init`);
  }
  if (Date.now() > fields.notAfter) {
    throw new Complaint(1, `${join(dir, CA_CERT)}: expired ${x509.validTo}; remove it and run certs init`);
  }
  const trustDomain = fields.uris[0]?.replace('spiffe://', '') ?? '';
  if (!isTrustDomain(trustDomain)) {
    throw new Complaint(1, `${join(dir, CA_CERT)}: names no trust domain; run certs init`);
  }
  const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const authority = { trustDomain, rootPem: certPem, certPem, keyPem: pem, chainPem: '' };
  return { authority, notAfter: fields.notAfter };
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
