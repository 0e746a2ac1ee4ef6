import t from 'tap';
import { at, OTHER_SET, SET, serve, watched } from './jwks-endpoint.ts';
import { rule } from './jwt-issuer.ts';

const MINUTE = 60_000;

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
