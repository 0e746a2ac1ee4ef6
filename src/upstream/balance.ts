/** Which endpoint takes the next request (DestinationRule trafficPolicy.loadBalancer.simple). */

export interface Candidate {
  /** Requests in flight. */
  readonly active: number;
  readonly weight: number;
}

export type Algorithm = 'ROUND_ROBIN' | 'LEAST_REQUEST' | 'RANDOM';

/** Picks by one algorithm; keeps only whose turn it is in ROUND_ROBIN. */
export class Balancer<C extends Candidate> {
  #algorithm: Algorithm;
  #random: () => number;
  /** ROUND_ROBIN: what each is owed, in weights; the most is next, so that shares are spread out (nginx's smooth one). */
  #owed = new Map<C, number>();

  /** `random` gives [0, 1). */
  constructor(algorithm: Algorithm, random: () => number = Math.random) {
    this.#algorithm = algorithm;
    this.#random = random;
  }

  /** One of `candidates`, or null when there is none. */
  pick(candidates: readonly C[]): C | null {
    if (candidates.length <= 1) return candidates[0] ?? null;
    if (this.#algorithm === 'ROUND_ROBIN') return this.#turn(candidates);
    const first = this.#draw(candidates);
    if (this.#algorithm === 'RANDOM') return first;
    // Power of two choices (Envoy "weighted least request").
    const second = this.#draw(candidates);
    if (first === null || second === null) return first ?? second;
    return second.active * first.weight < first.active * second.weight ? second : first;
  }

  #turn(candidates: readonly C[]): C | null {
    let total = 0;
    let next: C | null = null;
    let most = Number.NEGATIVE_INFINITY;
    for (const candidate of candidates) {
      const owed = (this.#owed.get(candidate) ?? 0) + candidate.weight;
      this.#owed.set(candidate, owed);
      total += candidate.weight;
      if (owed <= most) continue;
      most = owed;
      next = candidate;
    }
    if (next !== null) this.#owed.set(next, most - total);
    return next;
  }

  #draw(candidates: readonly C[]): C | null {
    let total = 0;
    for (const candidate of candidates) total += candidate.weight;
    let at = this.#random() * total;
    for (const candidate of candidates) {
      at -= candidate.weight;
      if (at < 0) return candidate;
    }
    return candidates.at(-1) ?? null;
  }
}
