/** The licence texts of the packages that are inside the bundle. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

// At the top of the package, or in its LICENSES folder (the REUSE layout).
const LICENCE_FILE = /^(licenses\/.*|(licen[cs]e|copying|notice)[^/]*)$/i;
const RULE = '-'.repeat(80);

/** One section a package: name, version, licence name, and the text that the package carries. */
export async function thirdPartyLicenses(metafile: Metafile, root: string): Promise<string> {
  const sections = await Promise.all(bundledPackages(metafile).map(folder => section(join(root, folder))));
  return `Outrider's bundle contains the packages below, under their own licences.\n\n${sections.join('\n')}`;
}

/** Folders of the packages with at least one byte in the output, each once, sorted. */
export function bundledPackages(metafile: Metafile): string[] {
  const folders = new Set<string>();
  for (const { inputs } of Object.values(metafile.outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      const folder = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
      if (folder !== undefined && bytesInOutput > 0) folders.add(folder);
    }
  }
  return [...folders].sort();
}

async function section(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const texts = await Promise.all(
    entries
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name))
      .filter(path => LICENCE_FILE.test(path.slice(folder.length + 1)))
      .sort()
      .map(path => readFile(path, 'utf8')),
  );
  const text =
    texts.length > 0 ? texts.map(text => text.trim()).join('\n\n') : '(the package carries no text)';
  return `${RULE}\n${name} ${version}  ${license}\n${RULE}\n\n${text}\n`;
}
