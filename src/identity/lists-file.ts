/** One file of revocation lists for the whole mesh, beside the identity: watched, read when it is at rest. */
import { dirname } from 'node:path';
import { FolderWatch } from './folder-watch.ts';
import { readListsSettled } from './identity-files.ts';
import type { SaidLists } from './lists-in-force.ts';

export interface ListsFileOptions {
  readonly path: string;
  /** Somebody named it: that it is not there is a fault. */
  readonly required: boolean;
  /** Told when the file was read the first time, and when it changed since. */
  readonly onLists: (said: SaidLists) => void;
  /** How often it is read without any hint; default 2 s. */
  readonly pollMs?: number;
}

const POLL_MS = 2_000;

/** Watches from `start` to `close`; no timer and no watch is left after that. */
export class ListsFile {
  readonly #options: ListsFileOptions;
  readonly #watch: FolderWatch;
  #poll: NodeJS.Timeout | undefined;
  #last: Buffer | string | null | undefined;
  #working: Promise<void> | null = null;
  #again = false;
  #closed = false;

  constructor(options: ListsFileOptions) {
    this.#options = options;
    this.#watch = new FolderWatch(dirname(options.path), () => void this.read());
  }

  /** Resolves when the file was read once, or found missing. */
  start(): Promise<void> {
    this.#watch.renew();
    this.#poll = setInterval(() => {
      this.#watch.renew();
      void this.read();
    }, this.#options.pollMs ?? POLL_MS);
    return this.read();
  }

  /** Reads it now; resolves when what stood there at the call was told. */
  read(): Promise<void> {
    this.#again = true;
    this.#working ??= this.#work();
    return this.#working;
  }

  async #work(): Promise<void> {
    try {
      while (this.#again && !this.#closed) {
        this.#again = false;
        await this.#readOnce();
      }
    } finally {
      this.#working = null;
    }
  }

  async #readOnce(): Promise<void> {
    const { path, required, onLists } = this.#options;
    const found = await readListsSettled(path);
    if (this.#closed) return;
    const now = found === null || Buffer.isBuffer(found) ? found : found.message;
    const before = this.#last;
    this.#last = now;
    if (Buffer.isBuffer(before) && Buffer.isBuffer(now) ? before.equals(now) : before === now) return;
    if (Buffer.isBuffer(found)) onLists({ file: path, bytes: found });
    else if (found !== null) onLists({ file: path, fault: found });
    // Where nobody asked for it and it never was, there is nothing to tell.
    else if (required || before !== undefined) onLists({ file: path, none: required ? 'missing' : 'gone' });
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    this.#watch.close();
  }
}
