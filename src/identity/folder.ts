/** The files of an identity folder, as Istio names them, and how to write them so that no reader sees half a file. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const CERT_CHAIN = 'cert-chain.pem';
export const KEY = 'key.pem';
export const ROOT_CERT = 'root-cert.pem';
export const CRL = 'crl.pem';

/**
 * Writes one identity: each file to a temporary name, then renamed over, the key first and readable by its owner only.
 * A reader may still see files of two identities for a moment; IdentityStore waits until the set is whole.
 *
 * @throws Error of node:fs when the folder cannot be made or written.
 */
export function writeIdentity(
  dir: string,
  pems: { readonly certChainPem: string; readonly keyPem: string; readonly rootPem: string },
): void {
  mkdirSync(dir, { recursive: true });
  replaceFile(join(dir, KEY), pems.keyPem, 0o600);
  replaceFile(join(dir, CERT_CHAIN), pems.certChainPem, 0o644);
  replaceFile(join(dir, ROOT_CERT), pems.rootPem, 0o644);
}

/** Replaces one file by a rename; the temporary file does not outlive a failure. */
export function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    writeFileSync(temporary, text, { mode, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
