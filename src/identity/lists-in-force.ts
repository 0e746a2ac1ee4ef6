/**
 * Revocation lists in force: what each source said last, and the last good of it. Lists only ever give way to lists that
 * are no worse, because fewer of them mean that revoked peers come back, or that good ones are refused.
 */
import { date, type Link, linkOf } from './chain.ts';
import { type IdentityFault, identityFault } from './identity-fault.ts';
import { readPem } from './pem.ts';
import { isOutOfDate, RevocationLists, readLists } from './revocation.ts';

/** What a source of lists says. `file` is its name in messages. */
export type SaidLists =
  | { readonly file: string; readonly bytes: Buffer }
  | { readonly file: string; readonly fault: IdentityFault }
  /**
   * Nothing is there. `gone`: what was there stays in force, since a writer may be at work, or an operator mistaken;
   * `missing`: the same, and something must be there; `dropped`: it is not wanted any more.
   */
  | { readonly file: string; readonly none: 'gone' | 'missing' | 'dropped' };

/** One list for people. Unix milliseconds. */
export interface CrlSummary {
  readonly file: string;
  readonly issuer: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number | null;
  /** How many certificates it names. */
  readonly revoked: number;
}

/** `ok` false: no list was good yet, and one must be before the identity is used. */
export interface Weighed {
  readonly ok: boolean;
  /** What is wrong with what the sources say, or with what is in force. */
  readonly fault: IdentityFault | null;
}

/** One source's text that could be read. */
interface GoodLists {
  readonly file: string;
  readonly bytes: Buffer;
  readonly lists: RevocationLists;
}

type Sources = ReadonlyMap<string, GoodLists>;

const NONE: Sources = new Map();

export class ListsInForce {
  readonly #said = new Map<string, SaidLists>();
  #good: Sources = NONE;
  #union = new RevocationLists([]);
  #pem: string | null = null;
  /** Whether what the sources said at the start was good, or nothing. */
  #settled = false;

  /** All lists in force as PEM; null without any. */
  get pem(): string | null {
    return this.#pem;
  }

  get summaries(): readonly CrlSummary[] {
    return [...this.#good.values()].flatMap(({ file, lists }) =>
      lists.all.map(({ issuer, thisUpdate, nextUpdate, revoked }) => ({
        file,
        issuer,
        thisUpdate,
        nextUpdate,
        revoked: revoked.count,
      })),
    );
  }

  /** Notes what a source says; `weigh` acts on it. */
  say(source: string, said: SaidLists): void {
    this.#said.set(source, said);
  }

  /** When the next of the lists in force goes out of date; Unix milliseconds, null when none will. */
  nextEnd(now: number): number | null {
    const ends = this.#union.all
      .map(({ nextUpdate }) => nextUpdate)
      .filter(end => end !== null && end >= now);
    return ends.length === 0 ? null : Math.min(...ends.map(Number));
  }

  /**
   * Puts in force what the sources say where it is good.
   *
   * @param authorities the CAs of the own chain and bundle, each of which needs a list once there are any
   * @param now Unix milliseconds
   */
  weigh(authorities: readonly Link[], now: number): Weighed {
    let fault: IdentityFault | null = null;
    const next = new Map<string, GoodLists>();
    const kept = new Map(this.#good);
    for (const [source, said] of this.#said) {
      const read = this.#read(source, said, authorities);
      fault ??= read.fault;
      if (read.good) next.set(source, read.good);
      else if (read.fault === null) kept.delete(source);
    }
    const union = this.#unionOf(next);
    const worse = this.#isWorse(union, this.#unionOf(kept), authorities, now);
    if (!this.#settled && (fault !== null || worse)) {
      return { ok: false, fault: fault ?? shortcoming(next, union, authorities, now) };
    }
    if (worse) fault ??= shortcoming(next, union, authorities, now);
    this.#settled = true;
    this.#put(worse ? kept : next);
    return { ok: true, fault: fault ?? shortcoming(this.#good, this.#union, authorities, now) };
  }

  #read(
    source: string,
    said: SaidLists,
    authorities: readonly Link[],
  ): { readonly good: GoodLists | null; readonly fault: IdentityFault | null } {
    const last = this.#good.get(source) ?? null;
    if ('fault' in said) return { good: last, fault: said.fault };
    if ('bytes' in said) {
      if (last?.bytes.equals(said.bytes)) return { good: last, fault: null };
      const { file, bytes } = said;
      const read = readLists(bytes.toString('latin1'));
      if (read.ok) return { good: { file, bytes, lists: read.lists }, fault: null };
      const advice = read.problem.includes('; ') ? '' : '; write whole X509 CRL blocks only';
      return { good: last, fault: identityFault(file, 'bad_crl', `${read.problem}${advice}`) };
    }
    // Lists of none of the CAs revoke nothing, and would have every peer refused for want of one.
    const useful = last !== null && authorities.some(authority => last.lists.of(authority).length > 0);
    const isFault = said.none === 'missing' || (said.none === 'gone' && useful);
    if (!isFault) return { good: null, fault: null };
    const text =
      last === null
        ? 'is not there; write it, or no longer name it'
        : 'is gone, its last lists stay in force until a restart; put it back';
    return { good: last, fault: identityFault(said.file, 'crl_missing', text) };
  }

  /** Whether the lists cover less than those in force, or are out of date where those are not. */
  #isWorse(next: RevocationLists, kept: RevocationLists, authorities: readonly Link[], now: number): boolean {
    if (next === kept || next.all.length === 0) return false;
    const uncovered = kept.all.length === 0 ? [] : uncoveredBy(kept, authorities);
    if (uncoveredBy(next, authorities).some(authority => !uncovered.includes(authority))) return true;
    const inDate = new Set(kept.all.filter(list => !isOutOfDate(list, now)).map(({ issuer }) => issuer));
    const old = outOfDate(next, now);
    return kept.all.length === 0 ? old.length > 0 : old.some(({ issuer }) => inDate.has(issuer));
  }

  #unionOf(sources: Sources): RevocationLists {
    const lists = [...sources.values()].flatMap(one => one.lists.all);
    const same =
      lists.length === this.#union.all.length && lists.every((list, at) => list === this.#union.all[at]);
    return same ? this.#union : new RevocationLists(lists);
  }

  #put(sources: Sources): void {
    const union = this.#unionOf(sources);
    this.#good = sources;
    if (union === this.#union) return;
    this.#union = union;
    const texts = [...sources.values()].map(({ bytes }) => bytes.toString('latin1'));
    this.#pem =
      texts.length === 0 ? null : texts.map(text => (text.endsWith('\n') ? text : `${text}\n`)).join('');
  }
}

/** The CAs of a chain and a bundle that were checked. */
export function authoritiesOf(identity: { readonly certChainPem: string; readonly rootPem: string }): Link[] {
  const [, ...intermediates] = linksOf(identity.certChainPem);
  return [...intermediates, ...linksOf(identity.rootPem)];
}

function linksOf(pem: string): Link[] {
  const read = readPem(pem);
  return (read.ok ? read.blocks : []).flatMap(({ der }) => linkOf(der) ?? []);
}

function uncoveredBy(lists: RevocationLists, authorities: readonly Link[]): Link[] {
  return authorities.filter(authority => lists.of(authority).length === 0);
}

/** Lists whose issuer has none that is in date. */
function outOfDate({ all }: RevocationLists, now: number) {
  const inDate = new Set(all.filter(list => !isOutOfDate(list, now)).map(({ issuer }) => issuer));
  return all.filter(({ issuer }) => !inDate.has(issuer));
}

/** What is to be said of lists that could be read; null when they are all that is needed. */
function shortcoming(
  sources: Sources,
  union: RevocationLists,
  authorities: readonly Link[],
  now: number,
): IdentityFault | null {
  const [old] = outOfDate(union, now);
  if (old) {
    const text = `the list of "${old.issuer}" expired ${date(old.nextUpdate ?? now)}; write a newer one`;
    const from = [...sources.values()].find(({ lists }) => lists.all.includes(old));
    return identityFault(from?.file ?? '', 'crl_expired', text);
  }
  const [uncovered] = union.all.length === 0 ? [] : uncoveredBy(union, authorities);
  if (!uncovered) return null;
  const { subject } = uncovered.fields;
  const text = union.all.some(({ issuer }) => issuer === subject)
    ? `has a list of "${subject}" that this CA did not sign, or may not (cRLSign); write the one that it signed`
    : `has no list of "${subject}", whose certificates would all be refused; add its list`;
  const files = [...sources.values()].map(({ file }) => file);
  return identityFault(files.join(', '), 'crl_incomplete', text);
}
