/**
 * The identity and the revocation lists in force and their last faults, whatever the source. Certificates replace the last
 * good ones only as a whole; lists are judged beside them, so that a bad list holds up no certificate.
 */
import { createHash } from 'node:crypto';
import type { Link } from './chain.ts';
import { CRL } from './folder.ts';
import { type IdentityFault, identityFault } from './identity-fault.ts';
import { authoritiesOf, ListsInForce, type SaidLists } from './lists-in-force.ts';
import type { IdentityEvents } from './source.ts';
import {
  checkCertificates,
  type IdentityFiles,
  type IdentityGeneration,
  listsIn,
  withLists,
} from './svid.ts';

export interface IdentityInForceOptions {
  /** The folder or the address, for messages. */
  readonly place: string;
  readonly events: IdentityEvents;
  /** Says a fault in the source's own words; by default it names files. */
  readonly reword?: (fault: IdentityFault) => IdentityFault;
  /** A list that is left out is no more; by default, as with files, the last one stays and its absence is a fault. */
  readonly listsMayGo?: boolean;
}

interface Offer {
  readonly files: IdentityFiles;
  /** Of the files' bytes. */
  readonly digest: string;
}

/** A list in force that goes out of date is told of then; a timer does not see a clock that is set. */
const LONGEST_WAIT_MS = 30_000;

export class IdentityInForce {
  readonly #options: IdentityInForceOptions;
  readonly #now: () => number;
  readonly #lists = new ListsInForce();
  #current: IdentityGeneration | null = null;
  /** The same without lists, its CAs, and a digest of its files. */
  #certificates: { identity: IdentityGeneration; authorities: readonly Link[]; digest: string } | null = null;
  /** What `#current` was made of. */
  #inForce: IdentityGeneration | null = null;
  #identityFault: IdentityFault | null = null;
  #listsFault: IdentityFault | null = null;
  /** Of what was offered last, when all of it is in force. */
  #digest = '';
  /** What was offered and waits for lists from elsewhere. */
  #waiting: Offer | null = null;
  /** Ends when all that was said so far has taken effect. */
  #turn: Promise<void> = Promise.resolve();
  #listsEnd: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: IdentityInForceOptions) {
    this.#options = options;
    this.#now = options.events.now ?? Date.now;
  }

  get current(): IdentityGeneration | null {
    return this.#current;
  }

  get lastFailure(): IdentityFault | null {
    return this.#identityFault ?? this.#listsFault;
  }

  /** Whether the identity in force was made of the bytes with this digest. */
  isOf(digest: string): boolean {
    return digest === this.#digest;
  }

  /**
   * Puts the files in force when they are good. What is said to this object takes effect in the order in which it was
   * said, however long a dry run takes.
   *
   * @returns whether all of them are in force now
   */
  offer(files: IdentityFiles, digest: string): Promise<boolean> {
    return this.#inTurn(() => this.#offer({ files, digest }));
  }

  /** Takes revocation lists from elsewhere; without an identity they wait for the first. */
  useLists(source: string, said: SaidLists): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#closed) return;
      this.#lists.say(source, said);
      if (this.#waiting) await this.#offer(this.#waiting);
      else this.#weigh();
    });
  }

  /** Notes a fault; said when it is another one than the last. */
  fail(fault: IdentityFault): Promise<void> {
    return this.#inTurn(async () => this.#noteIdentity(fault));
  }

  /** Resolves when all that was said before has taken effect. */
  settled(): Promise<void> {
    return this.#inTurn(async () => {});
  }

  /** From now on nothing comes into force and nothing is said. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#listsEnd);
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

  async #offer(offer: Offer): Promise<boolean> {
    if (this.#closed) return false;
    this.#waiting = null;
    this.#digest = '';
    const said = listsIn(offer.files);
    const none = 'none' in said && this.#options.listsMayGo;
    this.#lists.say(CRL, none ? { file: CRL, none: 'dropped' } : said);
    const before = this.#certificates;
    const fault = await this.#takeCertificates(offer.files);
    if (this.#closed) return false;
    if (this.#certificates === before) this.#noteIdentity(fault);
    else this.#identityFault = null; // the new generation says it
    if (!this.#weigh()) this.#waiting = offer;
    const good = this.lastFailure === null;
    if (good) this.#digest = offer.digest;
    return good;
  }

  /** Checks and tries certificates that are not in force yet. @returns what speaks against them */
  async #takeCertificates(files: IdentityFiles): Promise<IdentityFault | null> {
    const digest = digestOf(files);
    const known = this.#certificates;
    if (known?.digest === digest && known.identity === this.#inForce) return null;
    const check = checkCertificates(files, this.#now(), 0);
    if (!check.ok) return this.#reworded(check.fault);
    const identity = check.value;
    const fault = await this.#try(identity);
    if (fault === null) this.#certificates = { identity, authorities: authoritiesOf(identity), digest };
    return fault;
  }

  /**
   * Judges the lists for the certificates, and puts both in force when one of them changed.
   *
   * @returns false when no list was good yet: nothing comes into force
   */
  #weigh(): boolean {
    if (this.#closed || this.#certificates === null) return true;
    const { identity, authorities } = this.#certificates;
    const { ok, fault } = this.#lists.weigh(authorities, this.#now());
    if (ok) this.#putInForce(identity);
    this.#noteLists(fault?.file === CRL ? this.#reworded(fault) : fault);
    this.#watchLists();
    return ok;
  }

  #putInForce(identity: IdentityGeneration): void {
    const current = this.#current;
    if (this.#inForce === identity && current?.crlPem === this.#lists.pem) return;
    this.#inForce = identity;
    const generation = (current?.generation ?? 0) + 1;
    this.#current = withLists({ ...identity, generation, loadedAt: this.#now() }, this.#lists);
    this.#options.events.onGeneration(this.#current);
  }

  #watchLists(): void {
    clearTimeout(this.#listsEnd);
    const now = this.#now();
    const end = this.#lists.nextEnd(now);
    if (end === null) return;
    const wait = Math.min(end - now + 1, LONGEST_WAIT_MS);
    this.#listsEnd = setTimeout(() => void this.#inTurn(async () => void this.#weigh()), wait);
    this.#listsEnd.unref();
  }

  #noteIdentity(fault: IdentityFault | null): void {
    const before = this.#identityFault;
    this.#identityFault = fault;
    this.#tell(before, fault);
  }

  #noteLists(fault: IdentityFault | null): void {
    const before = this.#listsFault;
    this.#listsFault = fault;
    this.#tell(before, fault);
  }

  /** Each fault once, and that it is over. */
  #tell(before: IdentityFault | null, now: IdentityFault | null): void {
    if (this.#closed || before?.message === now?.message) return;
    if (now) this.#options.events.onFailure(now);
    else if (before) this.#options.events.onRecovery?.(before);
  }

  #reworded(fault: IdentityFault): IdentityFault {
    return this.#options.reword?.(fault) ?? fault;
  }

  async #try(identity: IdentityGeneration): Promise<IdentityFault | null> {
    try {
      await this.#options.events.dryRun?.(identity);
      return null;
    } catch (error) {
      const text = `cannot be used for TLS (${error instanceof Error ? error.message : error}); issue it anew`;
      return identityFault(this.#options.place, 'unusable', text);
    }
  }
}

/** Of everything but the revocation list. */
function digestOf({ certChain, key, root, federated }: IdentityFiles): string {
  const digest = createHash('sha256');
  for (const bytes of [certChain, key, root]) digest.update(`${bytes.length}\n`).update(bytes);
  return digest.update(JSON.stringify([...(federated ?? [])].sort())).digest('hex');
}
