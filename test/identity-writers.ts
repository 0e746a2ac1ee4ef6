/** The ways in which agents rewrite an identity folder: whole, file by file, in place, torn. */
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type IdentityPems, writeIdentityFolder } from './certificates.ts';

export type IdentityWriter = (dir: string, pems: IdentityPems) => void | Promise<void>;

/** As the kubelet: a new folder, then `..data` renamed over, then the old folder removed. */
export function swapDataLink(dir: string, pems: IdentityPems): void {
  const old = readdirSync(dir).filter(entry => entry.startsWith('..2026'));
  const name = `..2026_${old.length === 0 ? 1 : Number(old[0]?.split('_')[1]) + 1}`;
  mkdirSync(join(dir, name));
  for (const [file, text] of filesOf(pems)) {
    writeFileSync(join(dir, name, file), text);
    if (old.length > 0) continue;
    rmSync(join(dir, file), { force: true });
    symlinkSync(join('..data', file), join(dir, file));
  }
  symlinkSync(name, join(dir, '..data_tmp'));
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
  for (const entry of old) rmSync(join(dir, entry), { recursive: true });
}

/** As Vault's agent: each file beside its place, then renamed over it. */
export function renameOver(dir: string, pems: IdentityPems): void {
  writeIdentityFolder(dir, pems);
}

/** As spiffe-helper: truncates and writes each file where it is. */
export function rewriteInPlace(dir: string, pems: IdentityPems): void {
  for (const [file, text] of filesOf(pems)) writeFileSync(join(dir, file), text);
}

let torn = 0;

/** In place and slowly, every file in pieces; now and then the writer rests for so long that the torn state is looked at. */
export async function writeTorn(dir: string, pems: IdentityPems): Promise<void> {
  const rests = torn++ % 10 === 0;
  for (const [file, text] of filesOf(pems)) {
    const handle = await open(join(dir, file), 'w');
    for (let at = 0; at < text.length; at += 200) {
      await handle.write(text.slice(at, at + 200));
      await pause(rests && at === 200 ? 200 : 1);
    }
    await handle.close();
  }
}

function filesOf(pems: IdentityPems): [file: string, text: string][] {
  return [
    ['cert-chain.pem', pems.certChainPem],
    ['key.pem', pems.keyPem],
    ['root-cert.pem', pems.rootPem],
  ];
}
