/** The identity in force and the last fault, whatever the source: only what is good as a whole replaces the last good one. */

import { type IdentityFault, identityFault } from './identity-fault.ts';
import type { IdentityEvents } from './source.ts';
import { checkIdentity, type IdentityFiles, type IdentityGeneration } from './svid.ts';

export interface IdentityInForceOptions {
  /** The folder or the address, for messages. */
  readonly place: string;
  readonly events: IdentityEvents;
  /** Says a fault in the source's own words; by default it names files. */
  readonly reword?: (fault: IdentityFault) => IdentityFault;
}

export class IdentityInForce {
  readonly #options: IdentityInForceOptions;
  readonly #now: () => number;
  #current: IdentityGeneration | null = null;
  #lastFailure: IdentityFault | null = null;
  /** Of the bytes behind `#current`. */
  #digest = '';
  /** Ends when all that was said so far has taken effect. */
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: IdentityInForceOptions) {
    this.#options = options;
    this.#now = options.events.now ?? Date.now;
  }

  get current(): IdentityGeneration | null {
    return this.#current;
  }

  get lastFailure(): IdentityFault | null {
    return this.#lastFailure;
  }

  /** Whether the identity in force was made of the bytes with this digest. */
  isOf(digest: string): boolean {
    return digest === this.#digest;
  }

  /**
   * Puts the files in force when they are good. What is said to this object takes effect in the order in which it was
   * said, however long a dry run takes.
   *
   * @returns whether they are in force now
   */
  offer(files: IdentityFiles, digest: string): Promise<boolean> {
    return this.#inTurn(() => this.#offer(files, digest));
  }

  /** Notes a fault; said when it is another one than the last. */
  fail(fault: IdentityFault): Promise<void> {
    return this.#inTurn(async () => this.#fail(fault));
  }

  /** Resolves when all that was said before has taken effect. */
  settled(): Promise<void> {
    return this.#inTurn(async () => {});
  }

  /** From now on nothing comes into force and nothing is said. */
  close(): void {
    this.#closed = true;
  }

  async #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turn = promise;
    try {
      await before;
      return await act();
    } finally {
      resolve();
    }
  }

  async #offer(files: IdentityFiles, digest: string): Promise<boolean> {
    if (this.#closed) return false;
    if (this.isOf(digest)) {
      const fault = this.#lastFailure; // taken away and put back
      this.#lastFailure = null;
      if (fault) this.#options.events.onRecovery?.(fault);
      return true;
    }
    const check = checkIdentity(files, this.#now(), (this.#current?.generation ?? 0) + 1);
    const fault = check.ok ? await this.#try(check.value) : this.#reworded(check.fault);
    if (!check.ok || fault) {
      if (fault) this.#fail(fault);
      return false;
    }
    if (this.#closed) return false;
    this.#current = check.value;
    this.#digest = digest;
    this.#lastFailure = null;
    this.#options.events.onGeneration(check.value);
    return true;
  }

  #fail(fault: IdentityFault): void {
    if (this.#closed) return;
    const known = this.#lastFailure?.message === fault.message;
    this.#lastFailure = fault;
    if (!known) this.#options.events.onFailure(fault);
  }

  #reworded(fault: IdentityFault): IdentityFault {
    return this.#options.reword?.(fault) ?? fault;
  }

  async #try(generation: IdentityGeneration): Promise<IdentityFault | null> {
    try {
      await this.#options.events.dryRun?.(generation);
      return null;
    } catch (error) {
      const text = `cannot be used for TLS (${error instanceof Error ? error.message : error}); issue it anew`;
      return identityFault(this.#options.place, 'unusable', text);
    }
  }
}
