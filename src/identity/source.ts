/** What the sidecar asks of whatever its identity comes from: a folder of files, or a SPIFFE Workload API. */
import type { IdentityFault } from './identity-fault.ts';
import type { SaidLists } from './lists-in-force.ts';
import type { IdentityGeneration } from './svid.ts';

/** Alive from `start` to `close`; no timer, watch or connection is left after that. */
export interface IdentitySource {
  /** The identity in force; null until the first good one. */
  readonly current: IdentityGeneration | null;
  /** Why what the source says now is not in force; null when it is. */
  readonly lastFailure: IdentityFault | null;
  /** Resolves when the source was tried once, whether it had an identity or not. Never rejects. */
  start(): Promise<void>;
  /** Asks the source now; resolves when that was tried. Never rejects. */
  reload(): Promise<void>;
  /** Takes revocation lists from elsewhere, by a name for where. Those said before `start` are there from the first. */
  useLists(source: string, said: SaidLists): void;
  close(): void;
}

/** What a source says, and by what it judges. */
export interface IdentityEvents {
  /** A new identity to use from now on. */
  onGeneration(generation: IdentityGeneration): void;
  /** What the source says cannot be used; what was good last stays in force. Said once for each fault. */
  onFailure(fault: IdentityFault): void;
  /** After a fault the source says again what is in force. */
  onRecovery?(fault: IdentityFault): void;
  /** A last try before a generation counts, such as a handshake with itself; throws or rejects when it will not do. */
  readonly dryRun?: (generation: IdentityGeneration) => void | Promise<void>;
  /** The clock, Unix milliseconds. */
  readonly now?: () => number;
}
