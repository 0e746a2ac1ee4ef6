// Hot path: mark runs for every request of a workload with many rules and allocates nothing.
/**
 * Which of many rules are worth asking about a request: their guards are looked up all at once, attribute by attribute.
 * What is found is a superset. Rules that pass are still asked whole, so nothing here can allow or deny.
 */
import { AddressIndex } from './address-index.ts';
import { claimOf, compileRequestPrincipals, isRequestPrincipal } from './claims.ts';
import { type Guard, type GuardSubject, guardsOf, type TextGuard } from './guard.ts';
import type { TextAttribute } from './match.ts';
import type { Reading } from './reading.ts';
import type { CompiledRule } from './rule.ts';
import { type Marks, type Post, TextIndex } from './text-index.ts';

/** So many rules are asked one by one sooner than what they ask for is looked up. */
export const FEW = 12;
/** The mark of a rule that no round has found yet; rounds begin anew before they come to it. */
const NONE = 0xffff_ffff;

interface Lookup {
  readonly subject: GuardSubject;
  readonly index: TextIndex;
}

export class Sieve {
  readonly #lookups: readonly Lookup[];
  /** Where requests come from; null when nothing depends on that. */
  readonly #remotes: AddressIndex | null;
  readonly #marks: Marks;
  /** By seat: 1 = the rule has a guard. */
  readonly #guarded: Uint8Array;

  /** @param rules each with a seat of its own below `size` */
  constructor(rules: readonly CompiledRule[], size: number) {
    const lookups = new Map<string, Lookup>();
    const guarded = new Uint8Array(size);
    const remotes = new AddressIndex();
    const enter = (guard: Guard, post: Post) => {
      if ('block' in guard) remotes.add(guard.block, post);
      else lookupOf(lookups, guard).index.add(guard.literal, post);
    };
    for (const [i, { wanted, unwanted }] of guardsOf(rules).entries()) {
      const { seat } = rules[i] as CompiledRule;
      if (wanted !== null) guarded[seat] = 1;
      for (const guard of wanted ?? []) enter(guard, seat);
      for (const guard of unwanted) enter(guard, ~seat);
    }
    this.#lookups = [...lookups.values()];
    this.#remotes = remotes.isEmpty ? null : remotes;
    this.#guarded = guarded;
    this.#marks = { seats: new Uint32Array(size).fill(NONE), hit: 0, veto: 1 };
  }

  /** How the rule is to be looked for: its seat when it has a guard, else the complement. */
  postOf({ seat }: CompiledRule): Post {
    return this.#guarded[seat] === 1 ? seat : ~seat;
  }

  /** Looks a request up; see `passes`. */
  mark(reading: Reading): Marks {
    const marks = this.#marks;
    marks.hit += 2;
    marks.veto += 2;
    if (marks.veto >= NONE) {
      marks.seats.fill(NONE);
      marks.hit = 0;
      marks.veto = 1;
    }
    const lookups = this.#lookups;
    for (let i = 0; i < lookups.length; i++) lookUp(lookups[i] as Lookup, reading, marks);
    if (this.#remotes !== null && reading.remote !== null) this.#remotes.mark(reading.remote, marks);
    return marks;
  }
}

/** Whether the rule may match the request that was looked up. */
export function passes(post: Post, { seats, hit, veto }: Marks): boolean {
  return post >= 0 ? seats[post] === hit : seats[~post] !== veto;
}

function lookupOf(lookups: Map<string, Lookup>, { key, subject }: TextGuard): Lookup {
  let lookup = lookups.get(key);
  if (lookup === undefined) {
    lookup = { subject, index: new TextIndex() };
    lookups.set(key, lookup);
  }
  return lookup;
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
    case 'requestPrincipal':
      if (isRequestPrincipal(ANYBODY, reading.request.jwt)) index.mark('', marks);
      return;
    default:
      index.mark(textOf(subject.on, reading), marks);
  }
}

const ANYBODY = compileRequestPrincipals(['*']);

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
