/** The files of an identity folder, as Istio names them, and how to replace one so that no reader sees half of it. */
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';

export const CERT_CHAIN = 'cert-chain.pem';
export const KEY = 'key.pem';
export const ROOT_CERT = 'root-cert.pem';
export const CRL = 'crl.pem';

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
