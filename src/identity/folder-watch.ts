/**
 * Hints that a folder may have changed. The folder is watched, never its files: a watch on a file goes dead when
 * Kubernetes swaps `..data` (inotify follows the old inode). Hints may be missing or too many; a poll stands behind them.
 */
import { type BigIntStats, type FSWatcher, statSync, watch } from 'node:fs';
import { basename } from 'node:path';

/** Watches one folder that may be absent, removed and made again. */
export class FolderWatch {
  readonly #dir: string;
  readonly #onHint: () => void;
  #watcher: FSWatcher | null = null;
  #watched = '';

  constructor(dir: string, onHint: () => void) {
    this.#dir = dir;
    this.#onHint = onHint;
  }

  /** Starts to watch, or watches anew when another folder stands there now. Never throws. */
  renew(): void {
    const found = identityOf(this.#dir);
    if (found !== '' && found === this.#watched) return;
    const changed = this.#watched !== '' || found !== '';
    this.close();
    if (found === '') return;
    try {
      this.#watcher = watch(this.#dir, { persistent: false }, (_event, name) => this.#hear(name));
      this.#watcher.on('error', () => this.close());
      this.#watched = found;
    } catch {
      this.close(); // out of inotify watches, or gone again: the poll carries on
    }
    if (changed) this.#onHint();
  }

  /** The folder's own name is heard when it is removed or moved: what stands there now, if anything, is not watched. */
  #hear(name: string | null): void {
    if (name === basename(this.#dir)) this.close();
    this.#onHint();
    if (this.#watched === '') this.renew();
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = null;
    this.#watched = '';
  }
}

/** Which folder stands at a path, '' when none does. A new folder often gets the inode of the one that was removed. */
function identityOf(dir: string): string {
  let found: BigIntStats | undefined;
  try {
    found = statSync(dir, { throwIfNoEntry: false, bigint: true });
  } catch {
    return '';
  }
  return found?.isDirectory() ? `${found.dev}:${found.ino}:${found.birthtimeNs}` : '';
}
