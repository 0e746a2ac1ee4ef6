/**
 * Sessions that servers gave out, each with the certificates that the server was believed for: a resumed connection shows
 * none, and is judged by them again. One store a context: what was made with other material is not in it.
 */
import type { Proof } from './tls.ts';

/** A session is not offered when one of its certificates expires within this time: the connection is meant to last. */
const MARGIN_MS = 60_000;
const MAX_AGE_MS = 300_000; // as long as our own servers take one (tls-tickets.ts)
const MAX_KEPT = 1_024; // about 2 MB; the one that was used least lately goes first

export interface KeptSession {
  readonly session: Buffer;
  readonly proof: Proof;
  /** OpenSSL's verdict when the certificates were shown. */
  readonly authorizationError: string | null;
}

interface Dated extends KeptSession {
  readonly at: number;
}

export class SessionStore {
  readonly #kept = new Map<string, Dated>();

  get size(): number {
    return this.#kept.size;
  }

  /** The session to offer; null when there is none that is good for a while. @param now Unix milliseconds */
  find(key: string, now: number): KeptSession | null {
    const kept = this.#kept.get(key);
    if (kept === undefined) return null;
    this.#kept.delete(key);
    if (now - kept.at >= MAX_AGE_MS || kept.proof.validUntil - now < MARGIN_MS) return null;
    this.#kept.set(key, kept); // it may be used again, and is the last to go now
    return kept;
  }

  /** The newest one counts. @param now Unix milliseconds */
  keep(key: string, { session, proof, authorizationError }: KeptSession, now: number): void {
    this.#kept.delete(key);
    const [oldest] = this.#kept.size >= MAX_KEPT ? this.#kept.keys() : [];
    if (oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(key, { session, proof, authorizationError, at: now });
  }

  /** Something is wrong with it: the next connection begins anew. */
  forget(key: string, session: KeptSession): void {
    if (this.#kept.get(key)?.session === session.session) this.#kept.delete(key);
  }
}
