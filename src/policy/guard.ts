/**
 * What spares a rule from being asked. Of each rule the clause whose values are the rarest among all rules guards it: a
 * request that meets none of them cannot match. And a request that meets a value of a negated clause cannot either.
 */
import type { Block } from './address.ts';
import { isExact } from './address-index.ts';
import type { Part, RequestPrincipals } from './claims.ts';
import type { RequestClause, TextAttribute } from './match.ts';
import type { CompiledRule, Group } from './rule.ts';
import type { TextMatcher } from './text.ts';
import type { Literal } from './text-index.ts';

/** What is looked up for a guard. */
export type GuardSubject =
  | { readonly on: TextAttribute }
  | { readonly on: 'header'; readonly slot: number }
  | { readonly on: 'claim'; readonly path: readonly string[] }
  /** Issuer and subject; only whether there are any. */
  | { readonly on: 'requestPrincipal' };

interface AnyGuard {
  /** Equal for guards that are met by the same requests. */
  readonly id: string;
}

/** A text that must be met. */
export interface TextGuard extends AnyGuard {
  readonly subject: GuardSubject;
  /** Equal for equal subjects. */
  readonly key: string;
  readonly literal: Literal;
}

/** The request must come from there. */
export interface BlockGuard extends AnyGuard {
  readonly block: Block;
}

export type Guard = TextGuard | BlockGuard;

/** What looking a request up says about a rule. */
export interface Guards {
  /** One of them must be met; null = the rule has no guard. */
  readonly wanted: readonly Guard[] | null;
  /** None of them may be met. */
  readonly unwanted: readonly Guard[];
}

/** The guards of each rule, in the order of `rules`. */
export function guardsOf(rules: readonly CompiledRule[]): Guards[] {
  const candidates = rules.map(({ groups }) => groups.map(candidatesOf));
  const uses = new Map<string, number>();
  for (const { id } of candidates.flat(5)) uses.set(id, (uses.get(id) ?? 0) + 1);
  return candidates.map((groups, i) => ({
    wanted: rarest(groups, uses),
    unwanted: (rules[i] as CompiledRule).groups.flatMap(unwantedIn),
  }));
}

/** Where there is no alternative a negated clause that fails refutes the rule. */
function unwantedIn(group: Group): Guard[] {
  const [only, ...others] = group;
  if (only === undefined || others.length > 0) return [];
  return only.request.flatMap(clause => (clause.negated ? refuting(clause) : []));
}

/** Values whose match is certain when they are found. */
function refuting(clause: RequestClause): Guard[] {
  switch (clause.attribute) {
    case 'remoteIp':
      return clause.addresses.blocks.filter(isExact).map(blockGuard);
    case 'requestPrincipal':
      return clause.principals.patterns.some(({ iss, sub }) => iss.how === 'present' && sub.how === 'present')
        ? [guardOf({ on: 'requestPrincipal' }, 'present', '')]
        : [];
    case 'claim':
      return plainGuards({ on: 'claim', path: clause.path }, clause.text);
    case 'header':
      return plainGuards({ on: 'header', slot: clause.slot }, clause.text);
    default:
      return plainGuards({ on: clause.attribute }, clause.text);
  }
}

/** What a value can be looked up by: any of them will do. */
type Options = readonly Guard[];

/** What a clause can be looked up by, value by value. */
type Values = readonly Options[];
type Uses = ReadonlyMap<string, number>;

/** Of each alternative the clauses that may guard it. */
function candidatesOf(group: Group): Values[][] {
  return group.map(({ request }) => request.map(optionsIn).filter(values => values !== null));
}

function rarest(groups: readonly (readonly Values[])[][], uses: Uses): Guard[] | null {
  let best: readonly Values[] | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const alternatives of groups) {
    // An alternative without a guard may hold whatever the request is.
    if (alternatives.some(clauses => clauses.length === 0)) continue;
    const chosen = alternatives.map(clauses => rarestOf(clauses, values => weightOf(values, uses)));
    const weight = chosen.reduce((sum, values) => sum + weightOf(values, uses), 0);
    if (weight >= least) continue;
    best = chosen;
    least = weight;
  }
  return best?.flat().map(options => rarestOf(options, guard => usesOf(guard, uses))) ?? null;
}

function rarestOf<T>(all: readonly T[], weigh: (one: T) => number): T {
  return all.length === 1 ? (all[0] as T) : all.reduce((a, b) => (weigh(b) < weigh(a) ? b : a));
}

/** How many rules share the rarest guards of all values. */
function weightOf(values: Values, uses: Uses): number {
  let weight = 0;
  for (const options of values) {
    let least = Number.POSITIVE_INFINITY;
    for (const guard of options) least = Math.min(least, usesOf(guard, uses));
    weight += least;
  }
  return weight;
}

function usesOf({ id }: Guard, uses: Uses): number {
  return uses.get(id) as number;
}

/** null when the clause can hold without meeting anything that is looked up. */
function optionsIn(clause: RequestClause): readonly Options[] | null {
  if (clause.negated) return null;
  switch (clause.attribute) {
    case 'remoteIp':
      return clause.addresses.blocks.map(block => [blockGuard(block)]);
    case 'requestPrincipal':
      return useful(principalOptions(clause.principals));
    case 'claim':
      return textOptions({ on: 'claim', path: clause.path }, clause.text);
    case 'header':
      return textOptions({ on: 'header', slot: clause.slot }, clause.text);
    default:
      return textOptions({ on: clause.attribute }, clause.text);
  }
}

function textOptions(subject: GuardSubject, text: TextMatcher): readonly Options[] | null {
  const plain = plainGuards(subject, text).map(guard => [guard]);
  // Whatever matches at all is there.
  if (text.presence !== null) return plain.slice(-1);
  const templates = text.templates.map(({ head, segments }) => [
    ...segments.map(segment => guardOf(subject, 'segment', segment)),
    guardOf(subject, 'prefix', head),
  ]);
  return useful([...plain, ...templates]);
}

/** One guard a value, presence last; without templates. */
function plainGuards(subject: GuardSubject, text: TextMatcher): TextGuard[] {
  const { exact, exacts, prefixes, suffixes, presence } = text;
  const guards: TextGuard[] = [];
  if (exact !== null) guards.push(guardOf(subject, 'exact', exact));
  for (const text of exacts ?? []) guards.push(guardOf(subject, 'exact', text));
  for (const text of prefixes) guards.push(guardOf(subject, 'prefix', text));
  for (const text of suffixes) guards.push(guardOf(subject, 'suffix', text));
  if (presence !== null) guards.push(guardOf(subject, presence === 'any' ? 'present' : 'filled', ''));
  return guards;
}

function guardOf(subject: GuardSubject, how: Literal['how'], text: string): TextGuard {
  const key = keyOf(subject);
  return { id: `${key} ${how} ${text}`, subject, key, literal: { how, text } };
}

function blockGuard(block: Block): BlockGuard {
  return { id: `${block.words.join('.')}/${block.bits}`, block };
}

function keyOf(subject: GuardSubject): string {
  switch (subject.on) {
    case 'header':
      return `header ${subject.slot}`;
    case 'claim':
      return `claim ${subject.path.join('][')}`;
    default:
      return subject.on;
  }
}

function principalOptions({ exact, patterns }: RequestPrincipals): readonly TextGuard[][] {
  const options: TextGuard[][] = [];
  for (const [issuer, subjects] of exact) {
    const iss = partGuards('iss', { how: 'exact', text: issuer });
    for (const text of subjects) options.push([...partGuards('sub', { how: 'exact', text }), ...iss]);
  }
  for (const { iss, sub } of patterns) options.push([...partGuards('sub', sub), ...partGuards('iss', iss)]);
  return options;
}

function partGuards(name: 'iss' | 'sub', { how, text }: Part): TextGuard[] {
  return [guardOf({ on: 'claim', path: [name] }, how === 'present' ? 'filled' : how, text)];
}

/** The empty beginning of a text says nothing. */
function useful(values: readonly (readonly TextGuard[])[]): readonly Options[] | null {
  const options = values.map(guards =>
    guards.filter(({ literal }) => literal.text !== '' || literal.how === 'filled'),
  );
  return options.length === 0 || options.some(guards => guards.length === 0) ? null : options;
}
