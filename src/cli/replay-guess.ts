/** One assignment of the values that a log does not hold, and the first one that is asked for without having a value. */
import type { VerifiedJwt } from '../policy/attributes.ts';
import type { Unknowns } from './replay-unknown.ts';

/** What became of a request's token under one configuration. */
export type TokenFate = 'none' | 'refused' | 'accepted';

/** An unknown by the name that a person is told, with the values to try; null = too many to try them all. */
export interface Missing {
  readonly name: string;
  readonly values: readonly unknown[] | null;
}

/** Answers what is asked of it from the values tried so far. While a value is missing its answers mean nothing. */
export class Guess {
  /** The first unknown that was asked for and has no value yet. */
  missing: Missing | null = null;
  readonly #unknowns: Unknowns;
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(unknowns: Unknowns, values: ReadonlyMap<string, unknown> = new Map()) {
    this.#unknowns = unknowns;
    this.#values = values;
  }

  /** The same with one value more. */
  with(name: string, value: unknown): Guess {
    return new Guess(this.#unknowns, new Map([...this.#values, [name, value]]));
  }

  get names(): readonly string[] {
    return [...this.#values.keys()];
  }

  /** Lines of a header; one that no policy compares with anything might as well be absent. */
  header(name: string): readonly string[] {
    const values = this.#unknowns.headers.get(name);
    return values === undefined ? [] : ((this.#ask(`header ${name}`, values) ?? []) as readonly string[]);
  }

  /** A claim of the token. */
  claim(name: string): unknown {
    const values = this.#unknowns.claims.get(name);
    return values === undefined ? undefined : this.#ask(`claim ${name}`, values);
  }

  token(fates: readonly TokenFate[]): TokenFate {
    return (this.#ask('the token', fates) ?? 'none') as TokenFate;
  }

  provider(name: string): 'allow' | 'deny' {
    return (this.#ask(`the answer of provider ${name}`, ['allow', 'deny']) ?? 'allow') as 'allow' | 'deny';
  }

  #ask(name: string, values: readonly unknown[] | null): unknown {
    if (this.#values.has(name)) return this.#values.get(name);
    this.missing ??= { name, values };
    return undefined;
  }
}

/** A token of which only issuer and subject are known, where they are; its other claims are guessed when they are asked for. */
export function guessedJwt(guess: Guess, known: Readonly<Record<string, unknown>>): VerifiedJwt {
  const claim = (name: string | symbol) => {
    if (typeof name === 'symbol') return undefined;
    return Object.hasOwn(known, name) ? known[name] : guess.claim(name);
  };
  const payload = new Proxy<Record<string, unknown>>(
    {},
    {
      get: (_, name) => claim(name),
      has: (_, name) => claim(name) !== undefined,
      getOwnPropertyDescriptor: (_, name) => {
        const value = claim(name);
        return value === undefined
          ? undefined
          : { value, configurable: true, enumerable: true, writable: true };
      },
    },
  );
  return { payload };
}
