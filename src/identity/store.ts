/** The workload's identity as it stands on disk: watched, checked as a whole, swapped whole, the last good one kept. */
import { FolderWatch } from './folder-watch.ts';
import type { IdentityFault } from './identity-fault.ts';
import { type Reading, readOnce, readSettled } from './identity-files.ts';
import { IdentityInForce } from './in-force.ts';
import type { SaidLists } from './lists-in-force.ts';
import type { IdentityEvents, IdentitySource } from './source.ts';
import type { IdentityGeneration } from './svid.ts';

export interface IdentityStoreOptions extends IdentityEvents {
  /** The folder of cert-chain.pem, key.pem, root-cert.pem and, when present, crl.pem. */
  readonly dir: string;
  /** How often the files are read without any hint; default 2 s. A hint may be lost, on network volumes always. */
  readonly pollMs?: number;
  /** How long the folder must be quiet after a hint; default 100 ms, as Istio's agent. */
  readonly debounceMs?: number;
}

const POLL_MS = 2_000;
const DEBOUNCE_MS = 100;
const MAX_DEBOUNCE_MS = 1_000; // a writer that never rests must not hold the new identity off

/** Watches one identity folder from `start` to `close`; no timer and no watch is left after that. */
export class IdentityStore implements IdentitySource {
  readonly #options: IdentityStoreOptions;
  readonly #watch: FolderWatch;
  readonly #inForce: IdentityInForce;
  #poll: NodeJS.Timeout | undefined;
  #debounce: NodeJS.Timeout | undefined;
  #hintedAt = 0;
  #wanted = false;
  #working: Promise<void> | null = null;
  #closed = false;

  constructor(options: IdentityStoreOptions) {
    this.#options = options;
    this.#inForce = new IdentityInForce({ place: options.dir, events: options });
    this.#watch = new FolderWatch(options.dir, () => this.#hint());
  }

  /** The identity in force; null until the first good one. */
  get current(): IdentityGeneration | null {
    return this.#inForce.current;
  }

  /** Why what stands on disk now is not in force; null when it is. */
  get lastFailure(): IdentityFault | null {
    return this.#inForce.lastFailure;
  }

  /** Begins to watch; resolves when the folder was tried once, whether it held an identity or not. */
  start(): Promise<void> {
    this.#watch.renew();
    this.#poll = setInterval(() => this.#look(), this.#options.pollMs ?? POLL_MS);
    return this.reload();
  }

  /** Reads the folder now; resolves when what stood there at the call was tried. */
  reload(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#wanted = true;
    this.#working ??= this.#work();
    return this.#working;
  }

  useLists(source: string, said: SaidLists): void {
    void this.#inForce.useLists(source, said);
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#debounce);
    this.#watch.close();
    this.#inForce.close();
  }

  /** Waits for the folder to come to rest; a hint during a reading leads to another one. */
  #hint(): void {
    if (this.#closed) return;
    const now = performance.now();
    if (this.#debounce === undefined) this.#hintedAt = now;
    else if (now - this.#hintedAt > MAX_DEBOUNCE_MS) return;
    clearTimeout(this.#debounce);
    this.#debounce = setTimeout(() => {
      this.#debounce = undefined;
      void this.reload();
    }, this.#options.debounceMs ?? DEBOUNCE_MS);
  }

  /** One poll: cheap while nothing changed, a whole reading when something did or the last one failed. */
  async #look(): Promise<void> {
    this.#watch.renew();
    if (this.#working || this.#debounce !== undefined) return;
    const reading = await readOnce(this.#options.dir);
    const inForce = reading.ok && this.#inForce.isOf(reading.digest);
    if (!inForce || this.lastFailure) await this.reload();
  }

  async #work(): Promise<void> {
    try {
      while (this.#wanted && !this.#closed) {
        this.#wanted = false;
        const reading = await readSettled(this.#options.dir);
        if (!this.#closed) await this.#take(reading);
      }
    } finally {
      this.#working = null; // in the same turn as the last look at #wanted, or a reload in between would be lost
    }
  }

  async #take(reading: Reading): Promise<void> {
    if (reading.ok) await this.#inForce.offer(reading.files, reading.digest);
    else await this.#inForce.fail(reading.fault);
  }
}
