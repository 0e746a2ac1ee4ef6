import { type FSWatcher, type Stats, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { readManifestFiles } from './files.ts';

export interface WatchOptions {
  /** Called each time the files' names or bytes have changed and come to rest. It must not throw. */
  readonly onChange: () => void;
  /** The digest of what was loaded last; what has changed since is a change. Without it, what stands there now is. */
  readonly known?: string;
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
 * ConfigMap mount's `..data` link.
 */
export function watchManifests(paths: readonly string[], options: WatchOptions): { close(): void } {
  const watcher = new ManifestWatch(paths, options);
  return { close: () => watcher.close() };
}

class ManifestWatch {
  readonly #paths: readonly string[];
  readonly #onChange: () => void;
  readonly #debounceMs: number;
  readonly #folders = new Map<string, { watcher: FSWatcher; identity: string }>();
  readonly #poll: NodeJS.Timeout;
  #pending: NodeJS.Timeout | null = null;
  #known: string;
  #seen: string;
  #rounds = 0;
  #closed = false;

  constructor(
    paths: readonly string[],
    { onChange, known, debounceMs = DEBOUNCE_MS, pollMs = POLL_MS }: WatchOptions,
  ) {
    this.#paths = paths;
    this.#onChange = onChange;
    this.#debounceMs = debounceMs;
    this.#watchFolders();
    this.#seen = digestOf(paths);
    this.#known = known ?? this.#seen;
    if (this.#seen !== this.#known) this.#later();
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

  /** (Re)watches the folders that are there; one that was replaced is another. */
  #watchFolders(): void {
    for (const folder of new Set(this.#paths.map(folderOf))) {
      const identity = identityOf(folder);
      const watched = this.#folders.get(folder);
      if (watched && watched.identity === identity) continue;
      watched?.watcher.close();
      this.#folders.delete(folder);
      if (identity === null) continue;
      const watcher = this.#watchFolder(folder);
      if (watcher) this.#folders.set(folder, { watcher, identity });
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

function digestOf(paths: readonly string[]): string {
  return readManifestFiles(paths).digest;
}

function folderOf(path: string): string {
  return statOf(path)?.isDirectory() ? path : dirname(path);
}

/** Which folder stands at a path; null when none does. */
function identityOf(folder: string): string | null {
  const stat = statOf(folder);
  return stat?.isDirectory() ? `${stat.dev}:${stat.ino}` : null;
}

function statOf(path: string): Stats | null {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? null;
  } catch {
    return null; // no permission, or links in a circle: as good as absent
  }
}
