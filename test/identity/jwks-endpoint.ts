/** A key store on a clock that tests move, and endpoints that answer it. */
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { JwtRule } from '../../src/config/resources.ts';
import type { KeySets } from '../../src/identity/jwks-source.ts';
import { type Clock, JwksStore, type JwksStoreOptions } from '../../src/identity/jwks-store.ts';
import { jwks, KEYS, publicJwk, rule } from './jwt-issuer.ts';

export const SET = jwks(publicJwk(KEYS.rsa));
export const OTHER_SET = jwks(publicJwk(KEYS.otherRsa));

/** A clock that stands until it is told to go on. */
export class TestClock implements Clock {
  #now = 0;
  #waiting: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const entry = { at: this.#now + ms, run };
    this.#waiting.push(entry);
    return () => {
      this.#waiting = this.#waiting.filter(other => other !== entry);
    };
  }

  /** Milliseconds until the next thing happens. */
  get next(): number {
    return Math.min(...this.#waiting.map(({ at }) => at)) - this.#now;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  go(ms: number): void {
    this.#now += ms;
    const due = this.#waiting.filter(({ at }) => at <= this.#now);
    this.#waiting = this.#waiting.filter(({ at }) => at > this.#now);
    for (const { run } of due) run();
  }
}

type Warning = Readonly<Record<string, unknown>>;

/** A store whose warnings and changes can be waited for. */
export function watched(t: { teardown(fn: () => void): unknown }, options: Partial<JwksStoreOptions> = {}) {
  const clock = new TestClock();
  const [warnings, news, changes]: [Warning[], Warning[], KeySets[]] = [[], [], []];
  let wake = () => {};
  const note =
    <T>(list: T[]) =>
    (value: T) => {
      list.push(value);
      wake();
    };
  const store = new JwksStore({
    clock,
    onChange: note(changes),
    warn: (message, fields) => note(warnings)({ message, ...fields }),
    info: (message, fields) => note(news)({ message, ...fields }),
    ...options,
  });
  t.teardown(() => store.close());
  const next = async <T>(list: T[], go: () => void): Promise<T> => {
    const length = list.length;
    const more = new Promise<void>(resolve => {
      wake = () => list.length > length && resolve();
    });
    go();
    await more;
    return list.at(-1) as T;
  };
  return {
    store,
    clock,
    warnings,
    news,
    changes,
    nextWarning: (go: () => void) => next(warnings, go),
    nextChange: (go: () => void) => next(changes, go),
  };
}

export async function serve(
  t: { teardown(fn: () => void): unknown },
  listener: RequestListener,
): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export function at(jwksUri: string, more: Partial<JwtRule> = {}): JwtRule {
  return rule({ jwks: null, jwksUri, ...more });
}
