// Hot path: holds runs for rule after rule of every request and makes no object, closure or string.
/** What is left to ask of a request once the connection has answered its part of a rule. */
import { type RequestClause, requestHolds } from './match.ts';
import type { Reading } from './reading.ts';

type Alternatives = readonly (readonly RequestClause[])[];

/** All clauses of `all`, and of each group of `either` one alternative, must hold. */
export interface Question {
  /** In the order of what they cost. */
  readonly all: readonly RequestClause[];
  readonly either: readonly Alternatives[];
}

/** Simplifies: what holds always is not asked, and a group with one alternative is no choice. */
export function questionOf(groups: readonly Alternatives[]): Question {
  const all: RequestClause[] = [];
  const either: Alternatives[] = [];
  for (const alternatives of groups) {
    if (alternatives.some(clauses => clauses.length === 0)) continue;
    if (alternatives.length === 1) all.push(...(alternatives[0] as readonly RequestClause[]));
    else either.push(alternatives.map(clauses => [...clauses].sort(byCost)));
  }
  return { all: all.sort(byCost), either };
}

/** Both. */
export function bothOf(a: Question, b: Question): Question {
  return { all: [...a.all, ...b.all].sort(byCost), either: [...a.either, ...b.either] };
}

/** What most often fails comes first: a clause that wants something, and of these the cheap ones. */
function byCost(a: RequestClause, b: RequestClause): number {
  return Number(a.negated) - Number(b.negated) || a.cost - b.cost;
}

/** Whether there is nothing left to ask. */
export function isCertain({ all, either }: Question): boolean {
  return all.length === 0 && either.length === 0;
}

/** Whether the request answers it. */
export function holds({ all, either }: Question, reading: Reading): boolean {
  for (let i = 0; i < all.length; i++) if (!requestHolds(all[i] as RequestClause, reading)) return false;
  for (let i = 0; i < either.length; i++) if (!oneHolds(either[i] as Alternatives, reading)) return false;
  return true;
}

function oneHolds(alternatives: Alternatives, reading: Reading): boolean {
  for (let i = 0; i < alternatives.length; i++) {
    if (allHold(alternatives[i] as readonly RequestClause[], reading)) return true;
  }
  return false;
}

function allHold(clauses: readonly RequestClause[], reading: Reading): boolean {
  for (let i = 0; i < clauses.length; i++) {
    if (!requestHolds(clauses[i] as RequestClause, reading)) return false;
  }
  return true;
}
