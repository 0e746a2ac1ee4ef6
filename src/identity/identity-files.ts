/** Reading an identity folder while others may be writing it. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CERT_CHAIN, CRL, KEY, ROOT_CERT } from './folder.ts';
import { type IdentityFault, identityFault } from './identity-fault.ts';
import type { IdentityFiles } from './svid.ts';

/** The bytes of one look at the folder. */
export type Reading =
  | { readonly ok: true; readonly files: IdentityFiles; readonly digest: string }
  | { readonly ok: false; readonly fault: IdentityFault };

const MAX_BYTES = 1_048_576; // hundreds of roots; more is a mistake, and would be read every poll
const MAX_LIST_BYTES = 16_777_216; // some 300,000 revoked certificates
const MAX_READS = 10;
const BETWEEN_READS_MS = 15; // a writer that truncates and rewrites is done with one file in less
const UNSTABLE = 'changes each time it is read; wait for its writer to finish';
const REQUIRED = [CERT_CHAIN, KEY, ROOT_CERT] as const;

/**
 * Reads all files until two readings in a row agree, so that a file being rewritten in place is not taken half
 * (`file_unstable` when ten do not).
 *
 * @throws never
 */
export async function readSettled(dir: string): Promise<Reading> {
  let last = await readOnce(dir);
  for (let reads = 1; reads < MAX_READS; reads += 1) {
    await delay(reads === 1 ? 1 : BETWEEN_READS_MS);
    const next = await readOnce(dir);
    if (same(last, next)) return next;
    last = next;
  }
  return { ok: false, fault: identityFault(dir, 'file_unstable', UNSTABLE) };
}

/** Reads all files once; `digest` is a hash of names and bytes. */
export async function readOnce(dir: string): Promise<Reading> {
  const digest = createHash('sha256');
  const read: Buffer[] = [];
  let crlFault: IdentityFault | null = null;
  for (const name of [...REQUIRED, CRL]) {
    const bytes = await readOne(join(dir, name), name === CRL ? MAX_LIST_BYTES : MAX_BYTES);
    if (bytes === null && name === CRL) continue;
    if (typeof bytes === 'string' && name === CRL) {
      crlFault = listsFault(CRL, bytes); // holds up no certificate
      digest.update(crlFault.message);
      continue;
    }
    if (!Buffer.isBuffer(bytes)) return { ok: false, fault: await faultOf(dir, name, bytes) };
    digest.update(`${name} ${bytes.length}\n`).update(bytes);
    read.push(bytes);
  }
  const [certChain, key, root, crl] = read as [Buffer, Buffer, Buffer, Buffer?];
  return {
    ok: true,
    files: { certChain, key, root, ...(crl && { crl }), ...(crlFault && { crlFault }) },
    digest: digest.digest('hex'),
  };
}

/** The bytes; null when there is no such file; else what is wrong with it. */
async function readOne(path: string, maxBytes: number): Promise<Buffer | null | string> {
  try {
    const found = await stat(path);
    if (!found.isFile()) return 'is not a file';
    return found.size > maxBytes ? 'too large' : await readFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    return code === 'ENOENT' || code === 'ENOTDIR' ? null : code;
  }
}

/** Of revocation lists. @param problem as `readOne` says it */
function listsFault(file: string, problem: string): IdentityFault {
  const text =
    problem === 'too large'
      ? `is larger than ${MAX_LIST_BYTES} bytes; write lists only`
      : `cannot be read (${problem}); check its owner and mode`;
  return identityFault(file, 'crl_unreadable', text);
}

async function faultOf(dir: string, name: string, problem: string | null): Promise<IdentityFault> {
  if (problem === 'too large') {
    return identityFault(
      name,
      'file_too_large',
      `is larger than ${MAX_BYTES} bytes; write PEM certificates only`,
    );
  }
  if (problem !== null) {
    return identityFault(name, 'file_unreadable', `cannot be read (${problem}); check its owner and mode`);
  }
  const there = await stat(dir).then(
    found => found.isDirectory(),
    () => false,
  );
  if (there)
    return identityFault(
      name,
      'file_missing',
      `is missing in ${dir}; the folder needs ${REQUIRED.join(', ')}`,
    );
  return identityFault(dir, 'folder_missing', `is no folder; mount or make it with ${REQUIRED.join(', ')}`);
}

/**
 * Reads one file of revocation lists in the same way.
 *
 * @returns its bytes; null when there is none; else what is wrong with it
 */
export async function readListsSettled(path: string): Promise<Buffer | IdentityFault | null> {
  let last = await readOne(path, MAX_LIST_BYTES);
  for (let reads = 1; reads < MAX_READS; reads += 1) {
    await delay(reads === 1 ? 1 : BETWEEN_READS_MS);
    const next = await readOne(path, MAX_LIST_BYTES);
    if (sameBytes(last, next)) {
      if (next === null || Buffer.isBuffer(next)) return next;
      return listsFault(path, next);
    }
    last = next;
  }
  const text = 'changes each time it is read; wait for its writer to finish';
  return identityFault(path, 'crl_unreadable', text);
}

function sameBytes(a: Buffer | string | null, b: Buffer | string | null): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : a === b;
}

function same(a: Reading, b: Reading): boolean {
  if (a.ok && b.ok) return a.digest === b.digest;
  return !a.ok && !b.ok && a.fault.message === b.fault.message;
}
