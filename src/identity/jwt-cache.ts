/**
 * Tokens whose signature was verified. Only such ones enter, so nobody without a key of a trusted issuer can push
 * another's out; refused tokens are read anew each time.
 */
import { hash } from 'node:crypto';

interface Entry<T> {
  readonly value: T;
  readonly bytes: number;
}

export interface TokenCacheLimits {
  readonly entries: number;
  readonly bytes: number;
}

const LIMITS: TokenCacheLimits = { entries: 16_384, bytes: 32 * 1024 * 1024 };

const MAX_KEY_CHARS = 2_048; // a longer token is held by its digest, which costs microseconds for each request

/**
 * Two generations instead of a list of last uses: a hit in the old one moves to the young one, a full young one becomes
 * the old one. What was used lately stays, and a hit costs one look-up.
 */
export class TokenCache<T> {
  readonly #limits: TokenCacheLimits;
  #young = new Map<string, Entry<T>>();
  #old = new Map<string, Entry<T>>();
  #youngBytes = 0;

  constructor(limits: TokenCacheLimits = LIMITS) {
    this.#limits = { entries: limits.entries / 2, bytes: limits.bytes / 2 };
  }

  /** The value held for a token's text. */
  get(text: string): T | undefined {
    const key = keyOf(text);
    const young = this.#young.get(key);
    if (young !== undefined) return young.value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.#put(detached(key), old);
    return old.value;
  }

  /** @param bytes about what the value takes, without the text */
  set(text: string, value: T, bytes: number): void {
    const key = detached(keyOf(text));
    this.delete(text);
    this.#put(key, { value, bytes: bytes + key.length });
  }

  delete(text: string): void {
    const key = keyOf(text);
    const young = this.#young.get(key);
    if (young !== undefined) this.#youngBytes -= young.bytes;
    this.#young.delete(key);
    this.#old.delete(key);
  }

  /** How many tokens are held. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  #put(key: string, entry: Entry<T>): void {
    if (entry.bytes > this.#limits.bytes) return;
    const full =
      this.#young.size >= this.#limits.entries || this.#youngBytes + entry.bytes > this.#limits.bytes;
    if (full) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(key, entry);
    this.#youngBytes += entry.bytes;
  }
}

/** The text itself, or its digest behind a character that no byte string has: no text can be taken for a digest. */
function keyOf(text: string): string {
  return text.length <= MAX_KEY_CHARS ? text : `\u0100${hash('sha256', text, 'base64')}`;
}

/** A copy: a token is a slice of a request's head, which a key must not keep in memory. */
function detached(key: string): string {
  return key.startsWith('\u0100') ? key : Buffer.from(key, 'latin1').toString('latin1');
}
