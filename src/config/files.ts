import { createHash } from 'node:crypto';
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

const EXTENSION = /\.(?:ya?ml|json)$/i;
const MAX_FILE_BYTES = 8 * 1024 * 1024; // Istio's own resource definitions, the largest manifests around, are 1 MiB

/** A file to read, or what is wrong with the path that was given. */
export type ManifestFile =
  | { readonly ok: true; readonly file: string }
  | {
      readonly ok: false;
      readonly file: string;
      readonly severity: 'error' | 'warning';
      readonly message: string;
    };

/**
 * The manifest files of the paths, in the order given, each folder's own in the order of their names. A folder gives its
 * *.yaml, *.yml and *.json files, symbolic links followed; names that start with a dot (a ConfigMap mount's `..data`,
 * an editor's lock file) are passed over. A file that two paths reach is listed once.
 */
export function listManifestFiles(paths: readonly string[]): readonly ManifestFile[] {
  const seen = new Set<string>();
  return paths.flatMap(listPath).filter(({ file }) => {
    const absolute = resolve(file);
    return !seen.has(absolute) && seen.add(absolute);
  });
}

function listPath(path: string): readonly ManifestFile[] {
  if (path === '') return [problem('(empty path)', 'the path is empty; name a file or a folder')];
  try {
    const stat = statSync(path);
    if (stat.isFile()) return [{ ok: true, file: path }];
    if (!stat.isDirectory()) return [problem(path, 'is neither a file nor a folder')];
    return listFolder(path);
  } catch (error) {
    return [problem(path, reasonOf(error))];
  }
}

function listFolder(folder: string): readonly ManifestFile[] {
  const names = readdirSync(folder).filter(name => !name.startsWith('.') && EXTENSION.test(name));
  const files = names.sort().flatMap((name): ManifestFile[] => {
    const file = join(folder, name);
    try {
      const stat = statSync(file);
      if (stat.isDirectory()) return [];
      return stat.isFile() ? [{ ok: true, file }] : [problem(file, 'is not a file')]; // reading a pipe would wait for ever
    } catch (error) {
      return [problem(file, reasonOf(error))];
    }
  });
  if (files.length > 0) return files;
  return [
    {
      ok: false,
      file: folder,
      severity: 'warning',
      message: 'the folder holds no .yaml, .yml or .json file',
    },
  ];
}

/** A file's text, or what is wrong with the file or the path that was given. */
export type ManifestText =
  | { readonly ok: true; readonly file: string; readonly text: string }
  | Extract<ManifestFile, { ok: false }>;

/** Reads every manifest of the paths once. `digest` is a hash of their names and texts, faults included. */
export function readManifestFiles(paths: readonly string[]): {
  readonly texts: readonly ManifestText[];
  readonly digest: string;
} {
  const hash = createHash('sha256');
  const texts = listManifestFiles(paths).map((entry): ManifestText => {
    const { file } = entry;
    const content = entry.ok ? readManifestFile(file) : entry;
    const text = content.ok ? content.text : content.message;
    hash.update(JSON.stringify([file, content.ok, text.length])).update(text);
    return content.ok ? { ok: true, file, text } : { severity: 'error', ...content, file };
  });
  return { texts, digest: hash.digest('hex') };
}

function readManifestFile(file: string): { ok: true; text: string } | { ok: false; message: string } {
  try {
    if (statSync(file).size > MAX_FILE_BYTES) {
      return { ok: false, message: `has more than ${MAX_FILE_BYTES} bytes; split it` };
    }
    const text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file));
    if (text.trim() !== '') return { ok: true, text };
    return {
      ok: false,
      message: 'is empty: half written, or meant to say nothing? remove it, or write a comment',
    };
  } catch (error) {
    return { ok: false, message: reasonOf(error) };
  }
}

/** True when the file can be read. */
export function canRead(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** True for the one file name that may hold a mesh config without a kind. */
export function isMeshFile(file: string): boolean {
  return /^mesh\.(?:ya?ml|json)$/.test(basename(file));
}

function problem(file: string, message: string): ManifestFile {
  return { ok: false, file, severity: 'error', message };
}

function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  if (code === 'ENOENT') return 'there is no such file or folder';
  if (code === 'EACCES' || code === 'EPERM') return 'cannot be read: permission denied';
  if (code === 'ELOOP') return 'cannot be read: its symbolic links lead in a circle';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'is not UTF-8 text';
  return `cannot be read: ${typeof code === 'string' ? code : String(error)}`;
}
