import { createHash } from 'node:crypto';
import { type FSWatcher, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { listManifestFiles, readManifestFile } from './files.ts';

export interface WatchOptions {
  /** Called each time the files' names or bytes have changed and come to rest. It must not throw. */
  readonly onChange: () => void;
  /** How long to gather events, and how long the bytes must stay the same, before a change counts. */
  readonly debounceMs?: number;
  /** How often to look without any event: some file systems (network, bind mounts of single files) give none. */
  readonly pollMs?: number;
}

const DEBOUNCE_MS = 100; // Istio's own; a writer that truncates and rewrites is done in less
const POLL_MS = 5_000; // hashing a few hundred kilobytes costs about a millisecond
const MAX_ROUNDS = 50; // a file that changes at every look is left to the next event or poll

/**
 * Watches the manifests of the paths: in-place rewriting, renaming over, new and removed files, and the swap of a
 * ConfigMap mount's `..data` link. Start it before the first load, so that no change falls between.
 */
export function watchManifests(paths: readonly string[], options: WatchOptions): { close(): void } {
  const watcher = new ManifestWatch(paths, options);
  return { close: () => watcher.close() };
}

class ManifestWatch {
  readonly #paths: readonly string[];
  readonly #onChange: () => void;
  readonly #debounceMs: number;
  readonly #folders = new Map<string, { watcher: FSWatcher; inode: number }>();
  readonly #poll: NodeJS.Timeout;
  #pending: NodeJS.Timeout | null = null;
  #known: string;
  #seen: string;
  #rounds = 0;
  #closed = false;

  constructor(
    paths: readonly string[],
    { onChange, debounceMs = DEBOUNCE_MS, pollMs = POLL_MS }: WatchOptions,
  ) {
    this.#paths = paths;
    this.#onChange = onChange;
    this.#debounceMs = debounceMs;
    this.#watchFolders();
    this.#known = digestOf(paths);
    this.#seen = this.#known;
    this.#poll = setInterval(() => this.#wake(), pollMs).unref();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    if (this.#pending) clearTimeout(this.#pending);
    for (const { watcher } of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  #wake(): void {
    if (this.#closed || this.#pending) return;
    this.#rounds = 0;
    this.#look();
  }

  #later(): void {
    if (this.#closed || this.#pending) return;
    this.#pending = setTimeout(() => {
      this.#pending = null;
      this.#look();
    }, this.#debounceMs).unref();
  }

  /** A change counts when two looks in a row see the same new bytes: half a file must not be taken for the whole. */
  #look(): void {
    this.#watchFolders();
    const digest = digestOf(this.#paths);
    const settled = digest === this.#seen;
    this.#seen = digest;
    if (digest === this.#known) return;
    if (settled) {
      this.#known = digest;
      this.#rounds = 0;
      this.#onChange();
    } else if (++this.#rounds < MAX_ROUNDS) this.#later();
  }

  /** (Re)watches the folders that are there; one that was replaced has another inode. */
  #watchFolders(): void {
    for (const folder of new Set(this.#paths.map(folderOf))) {
      const inode = inodeOf(folder);
      const watched = this.#folders.get(folder);
      if (watched?.inode === inode) continue;
      watched?.watcher.close();
      this.#folders.delete(folder);
      if (inode === null) continue;
      const watcher = this.#watchFolder(folder);
      if (watcher) this.#folders.set(folder, { watcher, inode });
    }
  }

  #watchFolder(folder: string): FSWatcher | null {
    try {
      const watcher = watch(folder, { persistent: false });
      watcher.on('change', () => {
        this.#rounds = 0;
        this.#later();
      });
      watcher.on('error', () => {
        watcher.close();
        this.#folders.delete(folder);
      });
      return watcher;
    } catch {
      return null; // no more watches on this machine: the poll is left
    }
  }
}

/** A hash of every file's name and bytes; what cannot be read counts by its reason. */
function digestOf(paths: readonly string[]): string {
  const hash = createHash('sha256');
  for (const entry of listManifestFiles(paths)) {
    const content = entry.ok ? readManifestFile(entry.file) : entry;
    const text = content.ok ? content.text : content.message;
    hash.update(JSON.stringify([entry.file, content.ok, text.length])).update(text);
  }
  return hash.digest('hex');
}

function folderOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? path : dirname(path);
}

function inodeOf(folder: string): number | null {
  return statSync(folder, { throwIfNoEntry: false })?.ino ?? null;
}
