/**
 * One request with tokens, judged as Envoy's jwt_authn filter judges it under the requirement that Istio writes: with one
 * rule {rule or no token}, with more {any rule, or each: rule or no token}. Every accepted token changes the request that
 * the next look sees, as in Envoy, so that which rule accepts what comes out the same.
 *
 * Signatures take a promise. A round that meets one that is not verified yet ends there; it is run anew from the start
 * once the signature is known. There are at most as many rounds as rules times tokens.
 */
import type { TokenCache } from './jwt-cache.ts';
import { type Carrier, removalOf, tokensAt } from './jwt-locations.ts';
import type { HeaderLine } from './jwt-output.ts';
import type { Acceptance, Provider } from './jwt-provider.ts';
import { isRefusal, REFUSALS, type Refusal } from './jwt-refusal.ts';
import { type Claims, parseToken, type Token } from './jwt-token.ts';

/** A token that was verified, with what each rule that did so made of it. */
export interface KnownToken {
  readonly claims: Claims;
  readonly acceptances: Map<Provider, Acceptance>;
}

/** What all requests of one authenticator share. */
export interface Rules {
  /** Sorted by issuer. */
  readonly providers: readonly Provider[];
  /** Every header that a rule writes: removed from every request. */
  readonly outputNames: readonly string[];
  readonly cache: TokenCache<KnownToken>;
  /** Signature checks that are under way, so that a burst of one token costs one. */
  readonly underWay: Map<Provider, Map<string, Promise<Acceptance | Refusal>>>;
}

export interface Outcome {
  /** null = accepted, or no token was there. */
  readonly refusal: Refusal | null;
  readonly request: EditedRequest;
}

type Judgement = Acceptance | Refusal | Pending;
interface Pending {
  readonly provider: Provider;
  readonly text: string;
  readonly token: Token;
}

export class Attempt {
  readonly #rules: Rules;
  readonly #carrier: Carrier;
  /** Unix seconds, one time for the whole attempt. */
  readonly #now: number;
  /** Read, or verified, in an earlier round; null until there is one. */
  #parsed: Map<string, Token | Refusal> | null = null;
  #judged: Map<Provider, Map<string, Acceptance | Refusal>> | null = null;

  constructor(rules: Rules, carrier: Carrier, now: number) {
    this.#rules = rules;
    this.#carrier = carrier;
    this.#now = now;
  }

  /** The outcome at once when no signature has to be verified. */
  run(): Outcome | Promise<Outcome> {
    const round = this.#round();
    return 'token' in round ? this.#finish(round) : round;
  }

  async #finish(pending: Pending): Promise<Outcome> {
    for (let round: Outcome | Pending = pending; ; round = this.#round()) {
      if (!('token' in round)) return round;
      const { provider, text } = round;
      this.#judged ??= new Map();
      const ofProvider = this.#judged.get(provider) ?? new Map<string, Acceptance | Refusal>();
      this.#judged.set(provider, ofProvider.set(text, await this.#verify(round)));
    }
  }

  #round(): Outcome | Pending {
    const request = new EditedRequest(this.#carrier, this.#rules.outputNames);
    const refusal = this.#decide(request);
    return refusal !== null && 'token' in refusal ? refusal : { refusal, request };
  }

  #decide(request: EditedRequest): Refusal | Pending | null {
    const { providers } = this.#rules;
    let worst: Refusal = REFUSALS.missing;
    for (const provider of providers) {
      const fault = this.#judgeAll(provider, request);
      if (fault === null || 'token' in fault) return fault;
      worst = graver(worst, fault);
    }
    // Each rule by itself, where a rule may find no token: the same question again when there is one rule.
    for (const provider of providers) {
      const fault = providers.length === 1 ? worst : this.#judgeAll(provider, request);
      if (fault === null || fault === REFUSALS.missing) continue;
      return 'token' in fault ? fault : graver(worst, fault);
    }
    return null;
  }

  /** Every token that the rule finds must be good; the last is looked at first. */
  #judgeAll(provider: Provider, request: EditedRequest): Refusal | Pending | null {
    request.remove(provider.outputs.names);
    const tokens = tokensAt(provider.locations, request);
    if (tokens.length === 0) return REFUSALS.missing;
    for (const { text, location } of tokens.reverse()) {
      const judgement = this.#judge(provider, text);
      if ('token' in judgement || isRefusal(judgement)) return judgement;
      if (judgement.lines === null) return REFUSALS.claimHeader;
      request.accept(judgement.payload, judgement.lines);
      const removal = provider.forwards ? null : removalOf(location, request.target);
      if (removal !== null && 'header' in removal) request.remove([removal.header]);
      else if (removal !== null) request.target = removal.target;
    }
    return null;
  }

  #judge(provider: Provider, text: string): Judgement {
    const known = this.#rules.cache.get(text);
    const token = known ?? this.#parse(text);
    if (isRefusal(token)) return token;
    const fault = provider.claimsFault(token.claims, this.#now);
    if (fault === REFUSALS.expired) this.#rules.cache.delete(text);
    if (fault !== null) return fault;
    const acceptance = known?.acceptances.get(provider) ?? this.#judged?.get(provider)?.get(text);
    if (acceptance !== undefined) return acceptance;
    const parsed = this.#parse(text);
    return isRefusal(parsed) ? parsed : { provider, text, token: parsed };
  }

  #parse(text: string): Token | Refusal {
    this.#parsed ??= new Map();
    const earlier = this.#parsed.get(text);
    if (earlier !== undefined) return earlier;
    const token = parseToken(text);
    this.#parsed.set(text, token);
    return token;
  }

  #verify({ provider, text, token }: Pending): Promise<Acceptance | Refusal> {
    const { cache, underWay } = this.#rules;
    const ofProvider = underWay.get(provider) ?? new Map<string, Promise<Acceptance | Refusal>>();
    underWay.set(provider, ofProvider);
    const running = ofProvider.get(text);
    if (running !== undefined) return running;
    const verdict = provider.verify(token).then(fault => {
      ofProvider.delete(text);
      if (fault !== null) return fault;
      const acceptance = provider.accept(token);
      const known = cache.get(text) ?? { claims: token.claims, acceptances: new Map() };
      known.acceptances.set(provider, acceptance);
      cache.set(text, known, sizeOf(token) * known.acceptances.size);
      return acceptance;
    });
    ofProvider.set(text, verdict);
    return verdict;
  }
}

/** Of several refusals Envoy tells the last that says more than that the token is none of the rule's. */
function graver(worst: Refusal, fault: Refusal): Refusal {
  const says = fault !== REFUSALS.missing && fault !== REFUSALS.issuer;
  return says || worst === REFUSALS.missing ? fault : worst;
}

/** About what a parsed payload takes: some four times its text, and the objects around it. */
function sizeOf({ payload }: Token): number {
  return payload.length * 4 + 1_024;
}

/** The request as it stands after the tokens that were accepted so far. */
export class EditedRequest implements Carrier {
  readonly #carrier: Carrier;
  readonly #removed: Set<string>;
  #added: HeaderLine[] = [];
  target: string;
  /** Of the token accepted last. */
  payload: Acceptance['payload'] | null = null;

  constructor(carrier: Carrier, removed: readonly string[]) {
    this.#carrier = carrier;
    this.#removed = new Set(removed);
    this.target = carrier.target;
  }

  get removed(): readonly string[] {
    return [...this.#removed];
  }

  get added(): readonly HeaderLine[] {
    return this.#added;
  }

  headerValues(name: string): readonly string[] {
    const sent = this.#removed.has(name) ? [] : this.#carrier.headerValues(name);
    if (this.#added.length === 0) return sent;
    return [...sent, ...this.#added.filter(([added]) => added === name).map(([, value]) => value)];
  }

  accept(payload: Acceptance['payload'], lines: readonly HeaderLine[]): void {
    this.payload = payload;
    if (lines.length > 0) this.#added = [...this.#added, ...lines];
  }

  /** Takes out every line of these names, also what a rule wrote. */
  remove(names: readonly string[]): void {
    for (const name of names) {
      this.#removed.add(name);
      if (this.#added.length > 0) this.#added = this.#added.filter(([added]) => added !== name);
    }
  }
}
