/** The identity in force and the last fault, whatever the source: only what is good as a whole replaces the last good one. */
import type { IdentityEvents } from './source.ts';
import {
  checkIdentity,
  type IdentityFault,
  type IdentityFiles,
  type IdentityGeneration,
  identityFault,
} from './svid.ts';

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

  /** Puts the files in force when they are good; @returns whether they are in force now */
  offer(files: IdentityFiles, digest: string): boolean {
    if (this.isOf(digest)) {
      const fault = this.#lastFailure; // taken away and put back
      this.#lastFailure = null;
      if (fault) this.#options.events.onRecovery?.(fault);
      return true;
    }
    const check = checkIdentity(files, this.#now(), (this.#current?.generation ?? 0) + 1);
    const fault = check.ok ? this.#try(check.value) : this.#reworded(check.fault);
    if (!check.ok || fault) {
      if (fault) this.fail(fault);
      return false;
    }
    this.#current = check.value;
    this.#digest = digest;
    this.#lastFailure = null;
    this.#options.events.onGeneration(check.value);
    return true;
  }

  /** Notes a fault; said when it is another one than the last. */
  fail(fault: IdentityFault): void {
    const known = this.#lastFailure?.message === fault.message;
    this.#lastFailure = fault;
    if (!known) this.#options.events.onFailure(fault);
  }

  #reworded(fault: IdentityFault): IdentityFault {
    return this.#options.reword?.(fault) ?? fault;
  }

  #try(generation: IdentityGeneration): IdentityFault | null {
    try {
      this.#options.events.dryRun?.(generation);
      return null;
    } catch (error) {
      const text = `cannot be used for TLS (${error instanceof Error ? error.message : error}); issue it anew`;
      return identityFault(this.#options.place, 'unusable', text);
    }
  }
}
