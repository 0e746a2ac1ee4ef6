// Hot path: mark runs for every request of a workload with many rules and allocates nothing.
/**
 * Which of many rules are worth asking about a request: their guards are looked up all at once, attribute by attribute.
 * What is found is a superset. Rules that pass are still asked whole, so nothing here can allow or deny.
 */

import { AddressIndex } from './address-index.ts';
import { claimOf } from './claims.ts';
import { type GuardSubject, guardsOf, type TextGuard } from './guard.ts';
import type { TextAttribute } from './match.ts';
import type { Reading } from './reading.ts';
import type { CompiledRule } from './rule.ts';
import { type Marks, TextIndex } from './text-index.ts';

/** So many rules are asked one by one sooner than what they ask for is looked up. */
export const FEW = 12;
/** The mark of a rule without a guard, which is always asked. */
export const ALWAYS = 0;
/** The mark of a rule that no round has found yet; rounds count from 1 and begin anew before this one. */
const NEVER = 0xffff_ffff;

interface Lookup {
  readonly subject: GuardSubject;
  readonly index: TextIndex;
}

export class Sieve {
  readonly #lookups: readonly Lookup[];
  /** Where requests come from; null when no rule is guarded by that. */
  readonly #remotes: AddressIndex | null;
  readonly #marks: Marks;
  /** As they were before the first round. */
  readonly #blank: Uint32Array;

  /** @param rules each with a seat of its own below `size` */
  constructor(rules: readonly CompiledRule[], size: number) {
    const seats = new Uint32Array(size);
    const lookups = new Map<string, Lookup>();
    let remotes: AddressIndex | null = null;
    for (const [i, guards] of guardsOf(rules).entries()) {
      const { seat } = rules[i] as CompiledRule;
      seats[seat] = guards === null ? ALWAYS : NEVER;
      for (const guard of guards ?? []) {
        if ('block' in guard) {
          remotes ??= new AddressIndex();
          remotes.add(guard.block, seat);
        } else enter(lookups, guard, seat);
      }
    }
    this.#remotes = remotes;
    this.#lookups = [...lookups.values()];
    this.#blank = seats.slice();
    this.#marks = { seats, round: 0 };
  }

  /**
   * Begins a request.
   * @returns the marks: a rule may match when the mark at its seat is the round's number or ALWAYS
   */
  mark(reading: Reading): Marks {
    const marks = this.#marks;
    if (++marks.round === NEVER) {
      marks.seats.set(this.#blank);
      marks.round = 1;
    }
    const lookups = this.#lookups;
    for (let i = 0; i < lookups.length; i++) lookUp(lookups[i] as Lookup, reading, marks);
    if (this.#remotes !== null && reading.remote !== null) this.#remotes.mark(reading.remote, marks);
    return marks;
  }
}

function enter(lookups: Map<string, Lookup>, { key, subject, literal }: TextGuard, seat: number): void {
  let lookup = lookups.get(key);
  if (lookup === undefined) {
    lookup = { subject, index: new TextIndex() };
    lookups.set(key, lookup);
  }
  lookup.index.add(literal, seat);
}

function lookUp({ subject, index }: Lookup, reading: Reading, marks: Marks): void {
  switch (subject.on) {
    case 'header': {
      const lines = reading.linesOf(subject.slot);
      for (let i = 0; i < lines.length; i++) index.mark(lines[i] as string, marks);
      return;
    }
    case 'claim':
      lookUpClaim(claimOf(subject.path, reading.request.jwt), index, marks);
      return;
    default:
      index.mark(textOf(subject.on, reading), marks);
  }
}

function lookUpClaim(value: unknown, index: TextIndex, marks: Marks): void {
  if (typeof value === 'string') index.mark(value, marks);
  else if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const element: unknown = value[i];
      if (typeof element === 'string') index.mark(element, marks);
    }
  }
}

function textOf(attribute: TextAttribute, reading: Reading): string {
  switch (attribute) {
    case 'path':
      return reading.request.path;
    case 'method':
      return reading.request.method;
    case 'host':
      return reading.host;
    case 'authority':
      return reading.request.host;
    case 'target':
      return reading.target;
  }
}
