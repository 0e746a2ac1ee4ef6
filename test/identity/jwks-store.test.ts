import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import type { JwtRule } from '../../src/config/resources.ts';
import type { KeySets } from '../../src/identity/jwks-source.ts';
import { type Clock, JwksStore, type JwksStoreOptions } from '../../src/identity/jwks-store.ts';
import { temporaryFolder, testAuthority, testIdentity } from '../certificates.ts';
import { jwks, KEYS, publicJwk, rule } from './jwt-issuer.ts';

const SET = jwks(publicJwk(KEYS.rsa));
const OTHER_SET = jwks(publicJwk(KEYS.otherRsa));
const MINUTE = 60_000;

/** A clock that stands until it is told to go on. */
class TestClock implements Clock {
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
function watched(t: { teardown(fn: () => void): unknown }, options: Partial<JwksStoreOptions> = {}) {
  const clock = new TestClock();
  const [warnings, changes]: [Warning[], KeySets[]] = [[], []];
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
    changes,
    nextWarning: (go: () => void) => next(warnings, go),
    nextChange: (go: () => void) => next(changes, go),
  };
}

async function serve(t: { teardown(fn: () => void): unknown }, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function at(jwksUri: string, more: Partial<JwtRule> = {}): JwtRule {
  return rule({ jwks: null, jwksUri, ...more });
}

t.test('keys are fetched from jwksUri', async t => {
  const asked: unknown[] = [];
  const url = await serve(t, (req, res) => {
    asked.push([req.method, req.url, req.headers.accept]);
    res.end(SET);
  });
  const { store, warnings, changes } = watched(t);
  t.same(await store.want([at(`${url}/keys?v=1`)]), { [`${url}/keys?v=1`]: { jwks: SET } });
  t.same(asked, [['GET', '/keys?v=1', 'application/json']]);
  t.same([warnings, changes], [[], []], 'the first answer is told by `want` alone');
});

t.test('an issuer without keys is asked for its OpenID configuration', async t => {
  const url = await serve(t, (req, res) => {
    const isConfiguration = req.url === '/realm/.well-known/openid-configuration';
    res.end(isConfiguration ? JSON.stringify({ jwks_uri: `${url}/certs` }) : req.url === '/certs' ? SET : '');
  });
  const { store, warnings } = watched(t);
  const issuer = `${url}/realm/`;
  t.same(await store.want([rule({ jwks: null, issuer })]), { [`issuer ${issuer}`]: { jwks: SET } });
  t.same(warnings, []);
});

t.test('rules with inline keys need no fetch, and rules of one place one', async t => {
  let asked = 0;
  const url = await serve(t, (_, res) => {
    asked++;
    res.end(SET);
  });
  const { store } = watched(t);
  t.same(await store.want([rule()]), {});
  await store.want([at(url), at(url, { issuer: 'b' }), rule()]);
  await store.want([at(url)]);
  t.equal(asked, 1, 'what is there is not fetched again');
});

const ANSWERS: readonly (readonly [says: string, answer: (res: ServerResponse) => void, reason: RegExp])[] = [
  ['404', res => res.writeHead(404).end('no'), /^answers 404$/],
  [
    'a redirect',
    res => res.writeHead(302, { location: '/elsewhere' }).end(SET),
    /redirects are not followed/,
  ],
  ['no JSON', res => res.end('<html>'), /no JSON Web Key Set/],
  ['JSON without keys', res => res.end('{"error":"x"}'), /no JSON Web Key Set/],
  ['keys that are no list', res => res.end('{"keys":{}}'), /no JSON Web Key Set/],
  ['nothing', res => res.end(), /no JSON Web Key Set/],
  ['a reset', res => res.socket?.resetAndDestroy(), /ECONNRESET|other side closed/],
  [
    '10 MiB, announced',
    res => res.writeHead(200, { 'content-length': 10 * 1_048_576 }).flushHeaders(),
    /1 MiB/,
  ],
  ['10 MiB, in chunks', drip, /1 MiB/],
  [
    'a head without end',
    res => res.socket?.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}`),
    /overflow/i,
  ],
];

/** Writes a mebibyte at a time for as long as the other side reads. */
function drip(res: ServerResponse): void {
  const write = () => {
    if (!res.destroyed && res.write(Buffer.alloc(65_536, ' '))) setImmediate(write);
    else res.once('drain', write);
  };
  write();
}

for (const [says, answer, reason] of ANSWERS) {
  t.test(
    `an endpoint that answers ${says} is a failure with a line in the log, and is asked again`,
    async t => {
      let asked = 0;
      const url = await serve(t, (_, res) => {
        if (asked++ === 0) answer(res);
        else res.end(SET);
      });
      const { store, clock, warnings, nextChange } = watched(t);
      const sets = await store.want([at(`${url}/keys?secret=1`)]);
      t.match(sets[`${url}/keys?secret=1`], { failure: reason });
      t.match(warnings, [{ message: /cannot be had/, source: `${url}/keys`, reason, retrySeconds: 1 }]);
      t.same(await nextChange(() => clock.go(1_000)), { [`${url}/keys?secret=1`]: { jwks: SET } });
      t.equal(asked, 2);
    },
  );
}

t.test('an endpoint that hangs is given up when the rule says so, and its connection is cut', async t => {
  for (const hang of [() => {}, (res: ServerResponse) => res.writeHead(200).write('{"keys":')]) {
    const reached = Promise.withResolvers<void>();
    const cut = Promise.withResolvers<void>();
    const url = await serve(t, (req, res) => {
      hang(res);
      req.socket.once('close', cut.resolve);
      reached.resolve();
    });
    const { store, clock, warnings } = watched(t);
    const wanted = store.want([at(url, { timeoutMs: 70 })]);
    await reached.promise;
    clock.go(70);
    t.match(await wanted, { [url]: { failure: 'no answer within 70 ms' } });
    t.match(warnings, [{ reason: 'no answer within 70 ms' }]);
    await cut.promise;
  }
});

t.test('an endpoint that nobody listens at, and an address that is none', async t => {
  const { store, warnings } = watched(t);
  const urls = [
    'http://127.0.0.1:1/',
    'ftp://127.0.0.1/keys',
    'nonsense',
    'http://user:secret@127.0.0.1:1/?key=secret',
  ];
  const sets = await store.want([...urls.map(url => at(url)), rule({ jwks: null, issuer: 'a' })]);
  t.match(sets, Object.fromEntries(urls.map(url => [url, { failure: /./ }])));
  t.match(sets['ftp://127.0.0.1/keys'], { failure: /neither http nor https/ });
  t.match(sets['issuer a'], { failure: /Invalid URL/ });
  t.equal(warnings.length, 5);
  t.notMatch(JSON.stringify(warnings), /secret/);
});

t.test('an OpenID configuration is not believed everything', async t => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['[]', /no JSON object/],
    ['{"jwks_uri":5}', /no jwks_uri/],
    ['{"jwks_uri":"nonsense"}', /no jwks_uri/],
    ['{"jwks_uri":"file:///etc/passwd"}', /without it/],
    ['{"jwks_uri":"http://keys.example/"}', /without it/],
  ];
  for (const [configuration, reason] of table) {
    const { store } = watched(t, { fetch: async () => configuration });
    const sets = await store.want([rule({ jwks: null, issuer: 'https://idp.example' })]);
    t.match(sets['issuer https://idp.example'], { failure: reason }, configuration);
  }
});

t.test('keys are refreshed every 20 minutes, and a change is told once', async t => {
  let set = SET;
  const fetched: (() => void)[] = [];
  const fetch = async () => {
    fetched.shift()?.();
    return set;
  };
  const { store, clock, changes, nextChange } = watched(t, { fetch });
  await store.want([at('https://keys.example/')]);
  t.equal(clock.next, 20 * MINUTE);
  const refreshed = new Promise<void>(resolve => fetched.push(resolve));
  clock.go(20 * MINUTE);
  await refreshed;
  set = OTHER_SET;
  while (clock.next !== 20 * MINUTE) await new Promise(setImmediate);
  t.same(changes, [], 'the same keys are no change');
  t.same(await nextChange(() => clock.go(20 * MINUTE)), { 'https://keys.example/': { jwks: OTHER_SET } });
  t.same(store.sets, { 'https://keys.example/': { jwks: OTHER_SET } });
});

t.test('the last good keys stay while a refresh fails, for seven days', async t => {
  let isDown = false;
  const fetch = async () => {
    if (isDown) throw new Error('down');
    return SET;
  };
  const { store, clock, warnings, changes, nextWarning } = watched(t, { fetch });
  await store.want([at('https://keys.example/')]);
  isDown = true;
  const waits: number[] = [];
  for (let wait = clock.next; clock.now() < 7 * 24 * 60 * MINUTE; wait = clock.next) {
    t.same(store.sets, { 'https://keys.example/': { jwks: SET } });
    await nextWarning(() => clock.go(wait));
    if (waits.length < 9) waits.push(clock.next / MINUTE);
  }
  t.same(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  t.match(warnings[0], { message: /last good ones stay/, source: 'https://keys.example/', retrySeconds: 60 });
  t.same(changes, [{ 'https://keys.example/': { failure: 'down' } }], 'then they are given up');
  isDown = false;
  while (changes.length < 2) {
    clock.go(clock.next);
    await new Promise(setImmediate);
  }
  t.same(changes[1], { 'https://keys.example/': { jwks: SET } });
});

t.test('without any key the issuer is asked again soon, then ever later', async t => {
  const { store, clock, nextWarning } = watched(t, { fetch: () => Promise.reject(new Error('down')) });
  await store.want([at('https://keys.example/')]);
  const waits = [clock.next / 1_000];
  for (let i = 0; i < 13; i++) {
    await nextWarning(() => clock.go(clock.next));
    waits.push(clock.next / 1_000);
  }
  t.same(waits, [1, 2, 4, 8, 16, 32, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
});

t.test('a source that is no longer wanted is let go, and so is every one at the end', async t => {
  const stopped = Promise.withResolvers<void>();
  const fetch = (url: string, signal: AbortSignal) =>
    url.includes('slow')
      ? new Promise<string>((_, reject) => {
          signal.addEventListener('abort', () => {
            stopped.resolve();
            reject(signal.reason);
          });
        })
      : Promise.resolve(SET);
  const { store, clock, warnings } = watched(t, { fetch });
  const first = store.want([at('https://slow.example/'), at('https://keys.example/')]);
  t.same(await store.want([at('https://keys.example/')]), { 'https://keys.example/': { jwks: SET } });
  await stopped.promise;
  t.same(
    await first,
    { 'https://keys.example/': { jwks: SET } },
    'who waited for it is told what is wanted now',
  );
  t.equal(clock.waiting, 1, 'the next refresh');
  store.close();
  t.equal(clock.waiting, 0);
  t.same([store.sets, warnings], [{}, []]);
});

t.test('what earlier rules wanted stays until the keys of new ones are there', async t => {
  const answer = Promise.withResolvers<string>();
  const fetch = (url: string) => (url.includes('slow') ? answer.promise : Promise.resolve(SET));
  const { store } = watched(t, { fetch });
  await store.want([at('https://keys.example/')]);
  const wanted = store.want([at('https://slow.example/')]);
  t.same(store.sets, { 'https://keys.example/': { jwks: SET } });
  answer.resolve(OTHER_SET);
  t.same(await wanted, { 'https://slow.example/': { jwks: OTHER_SET } });
});

t.test(
  'the certificate of an https endpoint is verified with the roots of Node and of NODE_EXTRA_CA_CERTS',
  async t => {
    const authority = await testAuthority();
    const { certChainPem: cert, keyPem: key } = await testIdentity(authority, 'foo/idp', {
      dnsNames: ['localhost'],
    });
    const server = createTlsServer({ cert, key }, (_, res) => res.end(SET)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const url = `https://localhost:${(server.address() as AddressInfo).port}/`;
    const { store } = watched(t);
    t.match((await store.want([at(url)]))[url], { failure: /certificate/ });

    const roots = join(temporaryFolder(t), 'roots.pem');
    writeFileSync(roots, authority.certPem);
    const source = new URL('../../src/identity/jwks-download.ts', import.meta.url).href;
    const script = `import { download } from '${source}'; process.stdout.write(await download('${url}', new AbortController().signal))`;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: roots };
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      env,
    });
    t.equal(stdout, SET);
  },
);
