/** The key sets of JWT rules that do not carry them: fetched, refreshed, the last good ones kept. */
import type { JwtRule } from '../config/resources.ts';
import { isJwks } from './jwks.ts';
import { type Download, download } from './jwks-download.ts';
import { type KeySet, type KeySets, keySource, sourceUrl } from './jwks-source.ts';
import { claim, parseJsonObject } from './jwt-json.ts';

export interface JwksStoreOptions {
  /** A key set changed after `want` told its first state: another one, or the first good one. */
  onChange(sets: KeySets): void;
  /** One line for each failure; never a token, a query or a password of a URL. */
  warn(message: string, fields: Readonly<Record<string, string | number>>): void;
  /** One line when a source that failed has answered. */
  info(message: string, fields: Readonly<Record<string, string>>): void;
  readonly fetch?: Download;
  readonly clock?: Clock;
}

export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** @returns what calls it off */
  after(ms: number, run: () => void): () => void;
}

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const REFRESH_MS = 20 * MINUTE_MS; // Istio's PILOT_JWT_PUB_KEY_REFRESH_INTERVAL
const MAX_RETRY_MS = 60 * MINUTE_MS; // Istio's
const QUICK_RETRIES = 6; // 1, 2, 4 … 32 s: without any key every token is refused, and the issuer may just be starting
const MAX_AGE_MS = 7 * 24 * 60 * MINUTE_MS; // Istio's: keys that could not be refreshed for so long are given up

interface Source {
  readonly name: string;
  /** The longest of the rules that want it. */
  timeoutMs: number;
  set: KeySet | null;
  /** When `set` was fetched. */
  goodAt: number;
  failures: number;
  /** Ends what is under way: the fetch or the wait for the next one. */
  stop: () => void;
  /** Settles when the first fetch succeeded or failed. */
  readonly answered: PromiseWithResolvers<void>;
}

/** On the main thread; no timer keeps the process alive. */
export class JwksStore {
  readonly #options: JwksStoreOptions;
  readonly #fetch: Download;
  readonly #clock: Clock;
  readonly #sources = new Map<string, Source>();
  /** Timeouts by name, as the last `want` said. */
  #wanted: ReadonlyMap<string, number> = new Map();

  constructor(options: JwksStoreOptions) {
    this.#options = options;
    this.#fetch = options.fetch ?? download;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
  }

  /** What is known now of the sources that are wanted; one that has not answered yet is missing. */
  get sets(): KeySets {
    const sets: Record<string, KeySet> = {};
    for (const { name, set } of this.#sources.values()) if (set !== null) sets[name] = set;
    return sets;
  }

  /**
   * Keeps the keys of these rules. Resolves with them when each source that is new has answered or failed once; that takes
   * at most the rules' timeouts, twice with discovery. Then sources that only earlier rules wanted are let go.
   */
  async want(rules: readonly JwtRule[]): Promise<KeySets> {
    const wanted = timeoutsOf(rules);
    this.#wanted = wanted;
    const waiting: Promise<void>[] = [];
    for (const [name, timeoutMs] of wanted) {
      const source = this.#sources.get(name) ?? this.#add(name, timeoutMs);
      source.timeoutMs = timeoutMs;
      waiting.push(source.answered.promise);
    }
    await Promise.all(waiting);
    // A later call may have come meanwhile: it decides.
    for (const source of this.#sources.values()) if (!this.#wanted.has(source.name)) this.#drop(source);
    return this.sets;
  }

  close(): void {
    for (const source of this.#sources.values()) this.#drop(source);
  }

  #add(name: string, timeoutMs: number): Source {
    const answered = Promise.withResolvers<void>();
    const source = { name, timeoutMs, set: null, goodAt: 0, failures: 0, stop: () => {}, answered };
    this.#sources.set(name, source);
    void this.#renew(source);
    return source;
  }

  #drop(source: Source): void {
    this.#sources.delete(source.name);
    source.stop();
    source.answered.resolve();
  }

  async #renew(source: Source): Promise<void> {
    const stopped = new AbortController();
    source.stop = () => stopped.abort();
    const before = source.set;
    try {
      const jwks = await this.#load(source, stopped.signal);
      if (stopped.signal.aborted) return;
      source.set = { jwks };
      source.goodAt = this.#clock.now();
      if (source.failures > 0) this.#options.info('JWT keys are there now', { source: shownName(source) });
      source.failures = 0;
      this.#renewIn(source, REFRESH_MS);
    } catch (error) {
      if (stopped.signal.aborted) return;
      this.#fail(source, reasonOf(error));
    }
    source.answered.resolve();
    if (before !== null && keysOf(before) !== keysOf(source.set)) this.#options.onChange(this.sets);
  }

  #fail(source: Source, reason: string): void {
    const isTooOld = this.#clock.now() - source.goodAt >= MAX_AGE_MS;
    const hasKeys = keysOf(source.set) !== null && !isTooOld;
    if (!hasKeys) source.set = { failure: reason };
    source.failures++;
    const retryMs = retryAfter(source.failures, hasKeys);
    this.#renewIn(source, retryMs);
    this.#options.warn(
      hasKeys
        ? 'JWT keys could not be refreshed, the last good ones stay'
        : 'JWT keys cannot be had: tokens are refused',
      { source: shownName(source), reason, retrySeconds: retryMs / SECOND_MS },
    );
  }

  #renewIn(source: Source, ms: number): void {
    source.stop = this.#clock.after(ms, () => void this.#renew(source));
  }

  /** The text of the key set, found by way of the OpenID configuration where the source is an issuer. */
  async #load({ name, timeoutMs }: Source, stopped: AbortSignal): Promise<string> {
    const { url, discovery } = sourceUrl(name);
    const text = await this.#get(url, timeoutMs, stopped);
    const jwks = discovery ? await this.#get(keysUrl(text, url), timeoutMs, stopped) : text;
    if (!isJwks(jwks)) throw new Error('answers something that is no JSON Web Key Set');
    return jwks;
  }

  async #get(url: string, timeoutMs: number, stopped: AbortSignal): Promise<string> {
    const timeout = new AbortController();
    const late = new Error(`no answer within ${timeoutMs} ms`);
    const callOff = this.#clock.after(timeoutMs, () => timeout.abort(late));
    const ended = AbortSignal.any([timeout.signal, stopped]);
    try {
      return await this.#fetch(url, ended);
    } finally {
      callOff();
    }
  }
}

const SYSTEM_CLOCK: Clock = {
  now: Date.now,
  after(ms, run) {
    const timer = setTimeout(run, ms).unref();
    return () => clearTimeout(timer);
  },
};

function timeoutsOf(rules: readonly JwtRule[]): Map<string, number> {
  const timeouts = new Map<string, number>();
  for (const rule of rules) {
    const source = keySource(rule);
    if (source !== null) timeouts.set(source, Math.max(timeouts.get(source) ?? 0, rule.timeoutMs));
  }
  return timeouts;
}

/** With keys at hand after 1 min, doubled up to 60 min (Istio's); without any, quickly first. */
function retryAfter(failures: number, hasKeys: boolean): number {
  if (!hasKeys && failures <= QUICK_RETRIES) return SECOND_MS * 2 ** (failures - 1);
  const slow = hasKeys ? failures : failures - QUICK_RETRIES;
  return Math.min(MINUTE_MS * 2 ** (slow - 1), MAX_RETRY_MS);
}

function keysUrl(text: string, discoveredAt: string): string {
  const configuration = parseJsonObject(Buffer.from(text, 'utf8'));
  if (configuration === null) throw new Error('the OpenID configuration is no JSON object');
  const url = claim(configuration, 'jwks_uri');
  if (typeof url !== 'string' || !URL.canParse(url))
    throw new Error('the OpenID configuration has no jwks_uri');
  // Whoever listens on the way could write keys of their own into plain HTTP.
  if (discoveredAt.startsWith('https:') && !url.startsWith('https:')) {
    throw new Error('the OpenID configuration came over https and names a jwks_uri without it');
  }
  return url;
}

function keysOf(set: KeySet | null): string | null {
  return set !== null && 'jwks' in set ? set.jwks : null;
}

function shownName({ name }: Source): string {
  return placeOf(sourceUrl(name).url);
}

/** A URL without what may be secret in it. */
function placeOf(url: string): string {
  if (!URL.canParse(url)) return 'an address that is no URL';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

/** OpenSSL's own line: thread, `error`, number, library, function, what it says, where in its source. */
const OPENSSL_LINE = /^[0-9A-F]+:error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)/;
const UNKNOWN_ROOT =
  /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(?:_LOCALLY)?))$/;

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { message, code } = error as NodeJS.ErrnoException;
  const openSsl = OPENSSL_LINE.exec(message)?.[1];
  if (openSsl !== undefined) return `the TLS handshake failed: ${openSsl}`;
  const hint = UNKNOWN_ROOT.test(code ?? '') ? '; name its root in NODE_EXTRA_CA_CERTS' : '';
  return (message || code || error.name).slice(0, 200) + hint;
}
