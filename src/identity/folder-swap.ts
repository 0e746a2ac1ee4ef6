/**
 * Writing an identity folder as the kubelet writes a volume: the files lie in a folder named after the time, `..data`
 * links to it, and one rename of that link puts all of them in force at once. No reader sees half.
 */
import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { IdentityPems } from './dev-ca.ts';
import { CERT_CHAIN, KEY, ROOT_CERT } from './folder.ts';

const DATA = '..data';
/** Folders that a swap made, and links that one cut short left behind. */
const OURS = /^\.\.(?:\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d{3}_[0-9a-f]{8}|link_[0-9a-f]{8})$/;

/**
 * Puts one identity in force in `dir` and removes the one before. Files that lie there as such become links first, with
 * what they held. The key is readable by its owner only.
 *
 * @param now Unix milliseconds
 * @throws Error of node:fs when the folder cannot be made or written; what was in force stays so
 */
export function swapIdentity(dir: string, pems: IdentityPems, now: number = Date.now()): void {
  mkdirSync(dir, { recursive: true });
  const files = { [KEY]: pems.keyPem, [CERT_CHAIN]: pems.certChainPem, [ROOT_CERT]: pems.rootPem };
  const names = Object.keys(files);
  const plain = names.filter(name => lstatSync(join(dir, name), { throwIfNoEntry: false })?.isFile());
  if (plain.length > 0) {
    const before = makeFolder(dir, now);
    keepOthers(dir, before, names);
    for (const name of names)
      if (existsSync(join(dir, name))) copyFileSync(join(dir, name), join(dir, before, name));
    link(dir, before, DATA);
    for (const name of plain) link(dir, join(DATA, name), name);
  }
  const next = makeFolder(dir, now);
  try {
    keepOthers(dir, next, names);
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(dir, next, name), text, { mode: name === KEY ? 0o600 : 0o644, flag: 'wx' });
    }
    link(dir, next, DATA);
  } catch (error) {
    rmSync(join(dir, next), { recursive: true, force: true });
    throw error;
  }
  for (const name of names) if (!linksToData(dir, name)) link(dir, join(DATA, name), name);
  const stale = readdirSync(dir).filter(entry => OURS.test(entry) && entry !== next);
  for (const entry of stale) rmSync(join(dir, entry), { recursive: true, force: true });
}

/** `..2026_11_25_03_14_15.926_0a1b2c3d`; its name. */
function makeFolder(dir: string, now: number): string {
  const time = new Date(now).toISOString().slice(0, -1).replaceAll(/[-T:]/g, '_');
  const name = `..${time}_${randomBytes(4).toString('hex')}`;
  mkdirSync(join(dir, name), { mode: 0o755 });
  return name;
}

/** A link under another name, renamed into place: it is never missing. */
function link(dir: string, to: string, name: string): void {
  const temporary = join(dir, `..link_${randomBytes(4).toString('hex')}`);
  symlinkSync(to, temporary);
  renameSync(temporary, join(dir, name));
}

function linksToData(dir: string, name: string): boolean {
  const path = join(dir, name);
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
  return isLink && readlinkSync(path) === join(DATA, name);
}

/** A revocation list beside the three files would be gone with the old folder, without a word. */
function keepOthers(dir: string, next: string, names: readonly string[]): void {
  const old = join(dir, DATA);
  if (!existsSync(old)) return;
  for (const entry of readdirSync(old, { withFileTypes: true })) {
    if (entry.isFile() && !names.includes(entry.name)) {
      copyFileSync(join(old, entry.name), join(dir, next, entry.name));
    }
  }
}
