/**
 * Of each rule the clause whose values are the rarest among all rules: when a request meets none of them, the rule need not
 * be asked.
 */
import type { Block } from './address.ts';
import type { Part, RequestPrincipals } from './claims.ts';
import type { RequestClause, TextAttribute } from './match.ts';
import type { CompiledRule, Group } from './rule.ts';
import type { TextMatcher } from './text.ts';
import type { Literal } from './text-index.ts';

/** What is looked up for a guard. */
export type GuardSubject =
  | { readonly on: TextAttribute }
  | { readonly on: 'header'; readonly slot: number }
  | { readonly on: 'claim'; readonly path: readonly string[] };

/** A text that must be met. */
export interface TextGuard {
  readonly subject: GuardSubject;
  /** Equal for equal subjects. */
  readonly key: string;
  readonly literal: Literal;
}

/** The request must come from there. */
export interface BlockGuard {
  readonly block: Block;
}

export type Guard = TextGuard | BlockGuard;

/** The guards of each rule, in the order of `rules`, one of which must be met; null = it is always asked. */
export function guardsOf(rules: readonly CompiledRule[]): (readonly Guard[] | null)[] {
  const candidates = rules.map(({ groups }) => groups.map(candidatesOf));
  const uses = new Map<string, number>();
  for (const guard of candidates.flat(5)) {
    const use = useOf(guard);
    uses.set(use, (uses.get(use) ?? 0) + 1);
  }
  return candidates.map(groups => rarest(groups, uses));
}

function useOf(guard: Guard): string {
  if ('block' in guard) return `${guard.block.bits}/${guard.block.words.join()}`;
  return `${guard.key} ${guard.literal.how} ${guard.literal.text}`;
}

/** What a value can be looked up by: any of them will do. */
type Options = readonly Guard[];

/** Of each alternative the clauses that may guard it, value by value. */
function candidatesOf(group: Group): (readonly Options[])[][] {
  return group.map(({ request }) => request.map(optionsIn).filter(values => values !== null));
}

interface Choice {
  readonly guards: readonly Guard[];
  /** How many rules share them. */
  readonly weight: number;
}

function rarest(groups: readonly (readonly Options[])[][][], uses: ReadonlyMap<string, number>) {
  let best: Choice = { guards: [], weight: Number.POSITIVE_INFINITY };
  for (const alternatives of groups) {
    // An alternative without a guard may hold whatever the request is.
    if (alternatives.some(clauses => clauses.length === 0)) continue;
    const chosen = alternatives.map(clauses => clauses.map(values => choose(values, uses)).reduce(lighter));
    best = lighter(best, sumOf(chosen));
  }
  return best.weight === Number.POSITIVE_INFINITY ? null : best.guards;
}

/** Of each value the rarest option. */
function choose(values: readonly Options[], uses: ReadonlyMap<string, number>): Choice {
  const choices = values.map(options => options.map(guard => weighed(guard, uses)).reduce(lighter));
  return sumOf(choices);
}

function weighed(guard: Guard, uses: ReadonlyMap<string, number>): Choice {
  return { guards: [guard], weight: uses.get(useOf(guard)) as number };
}

function lighter(a: Choice, b: Choice): Choice {
  return b.weight < a.weight ? b : a;
}

function sumOf(choices: readonly Choice[]): Choice {
  return {
    guards: choices.flatMap(({ guards }) => guards),
    weight: choices.reduce((sum, { weight }) => sum + weight, 0),
  };
}

/** null when the clause can hold without meeting any text: it is negated, or asks for presence. */
function optionsIn(clause: RequestClause): readonly Options[] | null {
  if (clause.negated) return null;
  switch (clause.attribute) {
    case 'remoteIp':
      return clause.addresses.blocks.map(block => [{ block }]);
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
  const { exact, exacts, prefixes, suffixes, templates, presence } = text;
  if (presence !== null) return null;
  const key = JSON.stringify(subject);
  const guard = (how: Literal['how']) => (text: string) => ({ subject, key, literal: { how, text } });
  const one = (how: Literal['how']) => (text: string) => [guard(how)(text)];
  return useful([
    ...(exact === null ? [] : [one('exact')(exact)]),
    ...[...(exacts ?? [])].map(one('exact')),
    ...prefixes.map(one('prefix')),
    ...suffixes.map(one('suffix')),
    ...templates.map(template => [
      ...template.segments.map(guard('segment')),
      guard('prefix')(template.head),
    ]),
  ]);
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
  if (how === 'present') return [];
  const subject: GuardSubject = { on: 'claim', path: [name] };
  return [{ subject, key: JSON.stringify(subject), literal: { how, text } }];
}

/** An empty text is met by anything, or never: looking it up says nothing. */
function useful(values: readonly (readonly TextGuard[])[]): readonly Options[] | null {
  const options = values.map(guards => guards.filter(({ literal }) => literal.text !== ''));
  return options.some(guards => guards.length === 0) ? null : options;
}
