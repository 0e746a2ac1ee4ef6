/** The ways in which agents rewrite an identity folder: whole, file by file, in place, torn, and with what goes wrong meanwhile. */
import { randomBytes } from 'node:crypto';
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { type IdentityPems, writeIdentityFolder } from './certificates.ts';

/**
 * Ends with `pems` in the folder.
 *
 * @param between identities that may be written before it and must not be the last
 */
export type IdentityWriter = (
  dir: string,
  pems: IdentityPems,
  between?: readonly IdentityPems[],
) => void | Promise<void>;

/** Long enough for a reader that watches and waits for rest to look at what is there. */
const NOTICED_MS = 250;

/** As the kubelet: a new folder, then `..data` renamed over, then the old folder removed. */
export function swapDataLink(dir: string, pems: IdentityPems): void {
  mkdirSync(dir, { recursive: true });
  const old = readdirSync(dir).filter(entry => entry.startsWith('..2026_'));
  const name = `..2026_${randomBytes(6).toString('hex')}`;
  mkdirSync(join(dir, name));
  for (const [file, text] of filesOf(pems)) writeFileSync(join(dir, name, file), text);
  link(dir, name, '..data');
  for (const [file] of filesOf(pems)) {
    const there = lstatSync(join(dir, file), { throwIfNoEntry: false });
    if (!there?.isSymbolicLink()) link(dir, join('..data', file), file);
  }
  for (const entry of old) rmSync(join(dir, entry), { recursive: true });
}

/** The same, many times in a row. */
export async function swapManyTimes(
  dir: string,
  pems: IdentityPems,
  between: readonly IdentityPems[] = [],
): Promise<void> {
  for (const one of between) {
    swapDataLink(dir, one);
    await turn();
  }
  swapDataLink(dir, pems);
}

/** As Vault's agent: each file beside its place, then renamed over it. */
export function renameOver(dir: string, pems: IdentityPems): void {
  writeIdentityFolder(dir, pems);
}

/** As spiffe-helper: truncates and writes each file where it is. */
export function rewriteInPlace(dir: string, pems: IdentityPems): void {
  mkdirSync(dir, { recursive: true });
  for (const [file, text] of inSomeOrder(pems)) writeFileSync(join(dir, file), text);
}

let torn = 0;

/** In place and slowly, every file in pieces; now and then the writer rests for so long that the torn state is looked at. */
export async function writeTorn(dir: string, pems: IdentityPems): Promise<void> {
  mkdirSync(dir, { recursive: true });
  const rests = torn++ % 10 === 0;
  for (const [file, text] of inSomeOrder(pems)) {
    const handle = await open(join(dir, file), 'w');
    for (let at = 0; at < text.length; at += 200) {
      await handle.write(text.slice(at, at + 200));
      await pause(rests && at === 200 ? NOTICED_MS : 1);
    }
    await handle.close();
  }
}

/** Certificate and bundle first; for a while the key is that of the one before. */
export async function keyComesLate(dir: string, pems: IdentityPems): Promise<void> {
  mkdirSync(dir, { recursive: true });
  const files = filesOf(pems).toSorted(([a], [b]) => Number(a === 'key.pem') - Number(b === 'key.pem'));
  for (const [file, text] of files) {
    if (file === 'key.pem') await pause(NOTICED_MS);
    writeFileSync(join(dir, file), text);
  }
}

/** A file becomes noise, and for a while stays so. */
export async function garbageFirst(dir: string, pems: IdentityPems): Promise<void> {
  mkdirSync(dir, { recursive: true });
  const [[file] = ['key.pem']] = inSomeOrder(pems);
  writeFileSync(join(dir, file), randomBytes(1_000));
  await pause(NOTICED_MS);
  rewriteInPlace(dir, pems);
}

/** A file is emptied, and for a while stays so. */
export async function emptyFirst(dir: string, pems: IdentityPems): Promise<void> {
  rewriteInPlace(dir, pems);
  const [[file] = ['key.pem']] = inSomeOrder(pems);
  truncateSync(join(dir, file));
  await pause(NOTICED_MS);
  rewriteInPlace(dir, pems);
}

/** Every file is taken away, and a while later put back. */
export async function removeAndPutBack(dir: string, pems: IdentityPems): Promise<void> {
  for (const [file] of filesOf(pems)) rmSync(join(dir, file), { force: true });
  await pause(NOTICED_MS);
  renameOver(dir, pems);
}

/** The folder itself goes, and another one comes late. */
export async function folderComesLate(dir: string, pems: IdentityPems): Promise<void> {
  rmSync(dir, { recursive: true, force: true });
  await pause(NOTICED_MS);
  mkdirSync(dir);
  await turn();
  swapDataLink(dir, pems);
}

export const HOSTILE_WRITERS: readonly (readonly [name: string, write: IdentityWriter])[] = [
  ['a swap of ..data', swapDataLink],
  ['swaps of ..data, many in a row', swapManyTimes],
  ['a rename over each file', renameOver],
  ['a rewrite in place', rewriteInPlace],
  ['torn writes with pauses', writeTorn],
  ['a key that comes late', keyComesLate],
  ['garbage for a while', garbageFirst],
  ['an empty file for a while', emptyFirst],
  ['removing and putting back', removeAndPutBack],
  ['a folder that comes late', folderComesLate],
];

/** A link under another name, renamed into place. */
function link(dir: string, to: string, name: string): void {
  const temporary = join(dir, '..link_tmp');
  symlinkSync(to, temporary);
  renameSync(temporary, join(dir, name));
}

let orders = 0;

/** Each of the six orders in turn. */
function inSomeOrder(pems: IdentityPems): [file: string, text: string][] {
  const [a, b, c] = filesOf(pems);
  const order = orders++ % 6;
  const turned = [
    [a, b, c],
    [b, c, a],
    [c, a, b],
  ][order % 3] as [string, string][];
  return order < 3 ? turned : turned.reverse();
}

function filesOf(pems: IdentityPems): [file: string, text: string][] {
  return [
    ['cert-chain.pem', pems.certChainPem],
    ['key.pem', pems.keyPem],
    ['root-cert.pem', pems.rootPem],
  ];
}
