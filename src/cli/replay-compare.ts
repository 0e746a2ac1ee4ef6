/** One logged request under both configurations: the same verdict, another, or one that hangs on what the log does not hold. */
import type { JwtRule } from '../config/resources.ts';
import { Guess, type TokenFate } from './replay-guess.ts';
import type { LoggedDecision, LoggedRequest } from './replay-line.ts';
import type { Side, Told, Verdict } from './replay-side.ts';
import { type Unknowns, unknownsOf } from './replay-unknown.ts';

export type Comparison =
  | { readonly is: 'same' }
  | { readonly is: 'changed'; readonly before: Verdict; readonly after: Verdict }
  /** `names`: what would have to be known. */
  | { readonly is: 'unknown'; readonly names: readonly string[] };

export interface Compared {
  readonly comparison: Comparison;
  /** The log has another decision than `before` makes of the request. */
  readonly contradicts: boolean;
}

interface Weighing {
  readonly request: LoggedRequest;
  /** Only what leads to this decision is weighed; null = everything. */
  readonly logged: LoggedDecision | null;
  /** Gathers what was asked for and is not known. */
  readonly names: Set<string>;
}

/** Ways to fill in what is not known that are tried for one request. */
const MAX_TRIES = 512;
/** Distinct requests whose comparison is kept. */
const MAX_KEPT = 5_000;
const SAME: Comparison = { is: 'same' };

export class Comparer {
  readonly #before: Side;
  readonly #after: Side;
  readonly #unknowns: Unknowns;
  readonly #kept = new Map<string, Compared>();

  constructor(before: Side, after: Side) {
    this.#before = before;
    this.#after = after;
    this.#unknowns = unknownsOf([before.resources, after.resources]);
  }

  /** Compares; a request that was seen before costs a look-up. */
  compare(request: LoggedRequest): Compared {
    const key = this.#keyOf(request);
    const known = this.#kept.get(key);
    if (known !== undefined) return known;
    if (this.#kept.size >= MAX_KEPT) this.#kept.clear();
    const compared = this.#explore(request);
    this.#kept.set(key, compared);
    return compared;
  }

  /** Everything that a verdict can depend on. */
  #keyOf({ headers, ...request }: LoggedRequest): string {
    const agent = this.#unknowns.headers.has('user-agent') ? headers.get('user-agent') : null;
    return JSON.stringify([request, headers.get('x-forwarded-for'), agent]);
  }

  /** What comes out of every way to fill in what is asked for and not known: both sides always see the same. */
  #explore(request: LoggedRequest): Compared {
    const names = new Set<string>();
    const all: Weighing = { request, logged: null, names };
    const { decision } = request;
    const found = decision === null ? null : this.#weigh({ ...all, logged: decision });
    // The log contradicts `before`: it was written under something else, and says nothing of what is not known.
    const contradicts = decision !== null && found === null;
    return { comparison: found ?? this.#weigh(all) ?? SAME, contradicts };
  }

  /** @returns null when nothing agrees with what was logged */
  #weigh({ request, logged, names }: Weighing): Comparison | null {
    const left = [new Guess(this.#unknowns)];
    let found: Comparison | null = null;
    let tries = 0;
    for (let guess = left.pop(); guess !== undefined; guess = left.pop()) {
      const { before, after } = this.#decide(request, guess);
      if (guess.missing !== null) {
        const { name, values } = guess.missing;
        names.add(name);
        if (values === null) return { is: 'unknown', names: [...names] };
        for (const value of values) left.push(guess.with(name, value));
        continue;
      }
      if (++tries > MAX_TRIES) return { is: 'unknown', names: [...names] };
      if (logged !== null && !isAsLogged(before, logged)) continue;
      const one: Comparison = before.allow === after.allow ? SAME : { is: 'changed', before, after };
      if (found === null) found = one;
      else if (!agrees(found, one)) return { is: 'unknown', names: [...names] };
    }
    return found;
  }

  #decide(request: LoggedRequest, guess: Guess): { before: Verdict; after: Verdict } {
    const beforeRules = this.#before.jwtRules(request);
    const asked = new Set<string>();
    const before = this.#before.decide(request, guess, {
      tokens: rules => loggedToken(request, rules),
      provider: name => {
        asked.add(name);
        return request.authorizer;
      },
    });
    const told: Told = {
      tokens: rules => tokenFates(request, beforeRules, rules),
      // The same question gets the same answer.
      provider: name => (asked.has(name) ? request.authorizer : null),
    };
    return { before, after: this.#after.decide(request, guess, told) };
  }
}

function isAsLogged({ allow, policy, rule, missed, by }: Verdict, logged: LoggedDecision): boolean {
  const name = policy ?? (missed.length === 0 ? null : missed.join(','));
  return by === '' && allow === logged.allow && name === logged.policy && rule === logged.rule;
}

function agrees(a: Comparison, b: Comparison): boolean {
  if (a.is === 'changed' && b.is === 'changed') return a.after.allow === b.after.allow;
  return a.is === b.is;
}

/** The log was written under these rules. */
function loggedToken(request: LoggedRequest, rules: readonly JwtRule[]): readonly [TokenFate] {
  if (rules.length === 0) return ['none'];
  if (request.requestPrincipal !== null) return ['accepted'];
  return [request.tokenRefused ? 'refused' : 'none'];
}

/** What may have become of the token by the rules `after`, if the log was written under the rules `before`. */
function tokenFates(
  request: LoggedRequest,
  before: readonly JwtRule[],
  after: readonly JwtRule[],
): readonly TokenFate[] {
  if (after.length === 0) return ['none'];
  const [fate] = loggedToken(request, before);
  if (before.length > 0) {
    if (sameRules(before, after)) return [fate];
    if (fate === 'none' && after.every(rule => looksWhere(rule, before))) return ['none'];
    if (fate === 'accepted') return ['accepted', 'refused'];
  }
  return ['none', 'refused', 'accepted'];
}

function sameRules(before: readonly JwtRule[], after: readonly JwtRule[]): boolean {
  const text = (rules: readonly JwtRule[]) => JSON.stringify(rules.map(rule => JSON.stringify(rule)).sort());
  return text(before) === text(after);
}

/** Whether the rule looks for tokens only where one of the others did: where none was found, it finds none. */
function looksWhere(rule: JwtRule, others: readonly JwtRule[]): boolean {
  const places = ({ fromHeaders, fromParams, fromCookies }: JwtRule) =>
    JSON.stringify([fromHeaders, fromParams, fromCookies]);
  return others.some(other => places(other) === places(rule));
}
