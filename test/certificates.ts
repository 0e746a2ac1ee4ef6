/** Real certificates for tests: an authority and identities made in the test, right ones and every kind of wrong one. */
import { createPrivateKey, webcrypto } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Authority,
  type AuthorityOptions,
  type CertificatePlan,
  createAuthority,
  createIntermediate,
  type ExtensionPlan,
  type IdentityPems,
  type IssueOptions,
  issue,
} from '../src/identity/dev-ca.ts';
import { CERT_CHAIN, KEY, ROOT_CERT, replaceFile } from '../src/identity/folder.ts';

export type { Authority, CertificatePlan, ExtensionPlan, IdentityPems };

/** A fresh root for `cluster.local` unless told otherwise. */
export function testAuthority(options: AuthorityOptions = {}): Promise<Authority> {
  return createAuthority({ days: 2, ...options });
}

/** An intermediate authority below another. */
export function testIntermediate(
  parent: Authority,
  options: Omit<AuthorityOptions, 'trustDomain'> = {},
): Promise<Authority> {
  return createIntermediate(parent, { days: 2, ...options });
}

/** A workload's three PEMs; `spiffeId` may be short: `foo/sleep` means `spiffe://<trust domain>/ns/foo/sa/sleep`. */
export function testIdentity(
  authority: Authority,
  spiffeId: string,
  options: Omit<IssueOptions, 'spiffeId'> = {},
): Promise<IdentityPems> {
  const [namespace, account] = spiffeId.split('/');
  const short = /^[a-z0-9-]+\/[a-z0-9-]+$/.test(spiffeId);
  const id = short ? `spiffe://${authority.trustDomain}/ns/${namespace}/sa/${account}` : spiffeId;
  return issue(authority, { ttlMs: 3_600_000, ...options, spiffeId: id });
}

/** A revocation list of the authority, PEM; `serials` in hex. Dates in Unix milliseconds, by default now to tomorrow. */
export async function testCrl(
  authority: Authority,
  serials: readonly string[],
  { nextUpdate = Date.now() + 86_400_000 }: { nextUpdate?: number } = {},
): Promise<string> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const pkcs8 = createPrivateKey(authority.keyPem).export({ type: 'pkcs8', format: 'der' });
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const crl = await x509.X509CrlGenerator.create({
    issuer: new x509.X509Certificate(authority.certPem).subject,
    thisUpdate: new Date(Math.min(Date.now(), nextUpdate) - 60_000),
    nextUpdate: new Date(nextUpdate),
    entries: serials.map(serialNumber => ({ serialNumber })),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    signingKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
  });
  return `${crl.toString('pem')}\n`.replaceAll(' CRL-----', ' X509 CRL-----'); // RFC 7468 section 6
}

/** Writes the three files, each beside its place and renamed over it, and gives the folder back. */
export function writeIdentityFolder(dir: string, pems: IdentityPems): string {
  mkdirSync(dir, { recursive: true });
  replaceFile(join(dir, KEY), pems.keyPem, 0o600);
  replaceFile(join(dir, CERT_CHAIN), pems.certChainPem, 0o644);
  replaceFile(join(dir, ROOT_CERT), pems.rootPem, 0o644);
  return dir;
}

/** A new folder with the identity in it; removed when the test ends. */
export function temporaryIdentity(t: { teardown(fn: () => void): unknown }, pems: IdentityPems): string {
  return writeIdentityFolder(temporaryFolder(t), pems);
}

/** A new empty folder; removed when the test ends. */
export function temporaryFolder(t: { teardown(fn: () => void): unknown }): string {
  const dir = mkdtempSync(join(tmpdir(), 'outrider-test-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** One DER element: tag, length, content. */
export function der(tag: number, ...contents: (Uint8Array | string)[]): Buffer {
  const content = Buffer.concat(
    contents.map(part => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
  );
  if (content.length < 128) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  const bytes = length.subarray(length.findIndex(byte => byte !== 0));
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length]), bytes, content]);
}

/** A SAN extension of raw URIs (latin1 text, NUL and all), critical as the one it replaces. */
export function rawUris(...uris: string[]): (plan: CertificatePlan) => CertificatePlan {
  return withExtension('2.5.29.17', der(0x30, ...uris.map(uri => der(0x86, uri))));
}

/** Replaces (or, with `null`, removes) one extension. */
export function withExtension(
  oid: string,
  value: Uint8Array | null,
  critical = true,
): (plan: CertificatePlan) => CertificatePlan {
  return plan => ({
    ...plan,
    extensions: [
      ...plan.extensions.filter(extension => extension.oid !== oid),
      ...(value ? [{ oid, critical, der: value }] : []),
    ],
  });
}

/** keyUsage bits, RFC 5280 4.2.1.3; the first byte of the BIT STRING. */
export const KEY_USAGE = {
  digitalSignature: 0x80,
  keyEncipherment: 0x20,
  keyCertSign: 0x04,
  cRLSign: 0x02,
} as const;

/** A keyUsage extension with just these bits. */
export function withKeyUsage(...bits: number[]): (plan: CertificatePlan) => CertificatePlan {
  const byte = bits.reduce((sum, bit) => sum | bit, 0);
  const unused = byte === 0 ? 0 : Math.clz32(byte & -byte) === 31 ? 0 : 31 - Math.clz32(byte & -byte);
  return withExtension('2.5.29.15', der(0x03, Uint8Array.of(unused, byte)));
}

/** basicConstraints with cA true or false. */
export function withCa(ca: boolean): (plan: CertificatePlan) => CertificatePlan {
  return withExtension('2.5.29.19', der(0x30, ca ? der(0x01, Uint8Array.of(0xff)) : ''));
}

/** An extKeyUsage of the id-kp purposes with these last numbers: 1 serverAuth, 2 clientAuth. */
export function withPurposes(...purposes: number[]): (plan: CertificatePlan) => CertificatePlan {
  const oids = purposes.map(last => der(0x06, Uint8Array.of(0x2b, 6, 1, 5, 5, 7, 3, last)));
  return withExtension('2.5.29.37', der(0x30, ...oids), false);
}

/** Several mutations, one after the other. */
export function mutations(
  ...list: ((plan: CertificatePlan) => CertificatePlan)[]
): (plan: CertificatePlan) => CertificatePlan {
  return plan => list.reduce((changed, mutate) => mutate(changed), plan);
}
