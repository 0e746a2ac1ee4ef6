/**
 * Values that stand for all values. What a log does not hold is tried out: the configured values that it is compared with
 * cut all texts into those that the same clauses match, and one text of each piece shows every verdict there can be.
 */

/** In no configured value: a text around it is matched by prefixes and suffixes only. */
const FILLER = '\u0001';
/** More ways to combine values than these are not tried. */
const MAX_WAYS = 256;

/** The clauses, in all policies, that one value is compared by; each a list of Istio's patterns. */
export class Comparisons {
  readonly #clauses = new Map<string, readonly string[]>();

  add(patterns: readonly string[]): void {
    if (patterns.length > 0) this.#clauses.set(JSON.stringify(patterns), patterns);
  }

  /** One text for each way in which a text can match them. */
  texts(): string[] {
    return [...this.#bySignature().values()];
  }

  /**
   * The same where several texts may be there at once (lines of a header, elements of a list): one set of texts for each
   * way in which some of them can match.
   * @returns null when there are too many ways
   */
  sets(): (readonly string[])[] | null {
    const singles = [...this.#bySignature()];
    const sets = new Map(singles.map(([signature, text]) => [signature, [text]]));
    const left = [...sets];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      for (const [signature, text] of singles) {
        const both = next[0] | signature;
        if (sets.has(both)) continue;
        if (sets.size >= MAX_WAYS) return null;
        const grown: [bigint, string[]] = [both, [...next[1], text]];
        sets.set(...grown);
        left.push(grown);
      }
    }
    return [...sets.values()];
  }

  /** By the clauses that match it, a bit each. */
  #bySignature(): Map<bigint, string> {
    const matchers = [...this.#clauses.values()].map(matcherOf);
    const found = new Map<bigint, string>();
    for (const text of textsOf([...this.#clauses.values()].flat())) {
      let signature = 0n;
      matchers.forEach((matches, i) => {
        if (matches(text)) signature |= 1n << BigInt(i);
      });
      if (!found.has(signature)) found.set(signature, text);
    }
    return found;
  }
}

/** Every exact value, and every prefix with every suffix. */
function* textsOf(patterns: readonly string[]): Generator<string> {
  const prefixes = new Set<string>(['']);
  const suffixes = new Set<string>(['']);
  yield '';
  for (const pattern of patterns) {
    if (pattern === '*') continue; // every text but the empty one
    if (pattern.startsWith('*')) suffixes.add(pattern.slice(1));
    else if (pattern.endsWith('*')) prefixes.add(pattern.slice(0, -1));
    else yield pattern;
  }
  for (const prefix of prefixes) for (const suffix of suffixes) yield prefix + FILLER + suffix;
}

function matcherOf(patterns: readonly string[]): (text: string) => boolean {
  const exact = new Set(patterns);
  const prefixes = patterns.filter(one => one.endsWith('*') && !one.startsWith('*'));
  const suffixes = patterns.filter(one => one.startsWith('*') && one !== '*');
  return text =>
    exact.has(text) ||
    (text !== '' && exact.has('*')) ||
    prefixes.some(prefix => text.startsWith(prefix.slice(0, -1))) ||
    suffixes.some(suffix => text.endsWith(suffix.slice(1)));
}
