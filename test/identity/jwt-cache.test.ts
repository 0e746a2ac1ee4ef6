import { hash } from 'node:crypto';
import t from 'tap';
import type { JwtVerdict } from '../../src/identity/jwt.ts';
import { TokenCache } from '../../src/identity/jwt-cache.ts';
import {
  authenticator,
  bearer,
  claims,
  jwks,
  KEYS,
  NOW,
  publicJwk,
  rule,
  signed,
  token,
} from './jwt-issuer.ts';

function isNow(verdict: JwtVerdict | Promise<JwtVerdict>): verdict is JwtVerdict {
  return !(verdict instanceof Promise);
}

t.test('a token is verified once; then its verdict comes at once', async t => {
  const { authenticate } = authenticator([rule()]);
  const text = token(claims());
  const first = authenticate(bearer(text));
  t.notOk(isNow(first));
  t.match(await first, { ok: true, jwt: { payload: { sub: 'someone' } } });
  const second = authenticate(bearer(text));
  t.ok(isNow(second));
  t.same(second, await first);
});

t.test('a refused token is verified anew each time, and puts nothing into the cache', async t => {
  const { authenticate } = authenticator([rule()]);
  const bad = token(claims(), { key: KEYS.otherRsa });
  for (let i = 0; i < 3; i++) {
    const verdict = authenticate(bearer(bad));
    t.notOk(isNow(verdict));
    t.match(await verdict, { ok: false, body: 'Jwt verification fails' });
  }
});

t.test('a known token expires, and begins, when its times say so', async t => {
  let now = NOW;
  const { authenticate } = authenticator([rule()], { now: () => now * 1_000 + 999 });
  const asked = bearer(token({ iss: 'a', exp: NOW + 10, nbf: NOW }));
  t.match(await authenticate(asked), { ok: true });
  now = NOW + 70;
  t.match(authenticate(asked), { ok: true });
  now = NOW + 71;
  t.match(authenticate(asked), { ok: false, body: 'Jwt is expired' });
  now = NOW - 61;
  t.match(authenticate(asked), { ok: false, body: 'Jwt not yet valid' });
  now = NOW;
  t.notOk(isNow(authenticate(asked)), 'an expired one is let go');
});

t.test('what one rule verified, another rule does not take for verified', async t => {
  const of = (audience: string, key: object) => rule({ audiences: [audience], jwks: jwks(key) });
  const { authenticate } = authenticator([of('x', publicJwk(KEYS.rsa)), of('y', publicJwk(KEYS.otherRsa))]);
  const both = bearer(token(claims({ aud: ['x', 'y'] })));
  const onlySecond = bearer(token(claims({ aud: 'y' })));
  t.match(await authenticate(both), { ok: true });
  t.match(await authenticate(onlySecond), { ok: false });
  t.match(await authenticate(onlySecond), { ok: false });
});

t.test('a token that differs in one character is another token', async t => {
  const { authenticate } = authenticator([rule()]);
  const text = token(claims());
  t.match(await authenticate(bearer(text)), { ok: true });
  const [header, , signature] = text.split('.');
  const { length } = text;
  for (const at of [10, 60, length - 50]) {
    const other = text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
    t.match(await authenticate(bearer(other)), { ok: false }, String(at));
  }
  t.match(await authenticate(bearer(`${header}..${signature}`)), { ok: false });
});

t.test('a burst of one token costs one check, whoever asks', async t => {
  const { authenticate } = authenticator([rule()]);
  const asked = bearer(token(claims()));
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => authenticate(asked)));
  for (const verdict of verdicts) t.match(verdict, { ok: true, jwt: { payload: { sub: 'someone' } } });
  const [{ jwt: one }, { jwt: another }] = verdicts as [JwtVerdict & { ok: true }, JwtVerdict & { ok: true }];
  t.equal(one?.payload, another?.payload, 'one payload for all');
});

t.test('a long token is known by its digest, and its digest opens nothing', async t => {
  const { authenticate } = authenticator([rule()]);
  const long = token(claims({ filler: 'x'.repeat(44_000) }));
  t.ok(long.length > 59_000);
  t.match(await authenticate(bearer(long)), { ok: true });
  t.match(authenticate(bearer(long)), { ok: true });
  const digest = hash('sha256', long, 'base64');
  for (const text of [digest, `\u0100${digest}`, `\0${digest}`])
    t.match(authenticate(bearer(text)), { ok: false });
});

t.test('the cache keeps to its bounds and keeps what is used', t => {
  const cache = new TokenCache<number>({ entries: 100, bytes: 1_000_000 });
  cache.set('hot', 0, 10);
  let largest = 0;
  for (let i = 1; i <= 10_000; i++) {
    cache.set(`token ${i}`, i, 10);
    if (i % 20 === 0) cache.get('hot');
    largest = Math.max(largest, cache.size);
  }
  t.ok(largest <= 100, String(largest));
  t.equal(cache.get('hot'), 0);
  t.equal(cache.get('token 10000'), 10_000);
  t.equal(cache.get('token 1'), undefined);
  cache.delete('hot');
  t.equal(cache.get('hot'), undefined);
  t.end();
});

t.test('bytes are bounded too, and one value that is too large is not kept', t => {
  const cache = new TokenCache<string>({ entries: 1_000_000, bytes: 20_000 });
  for (let i = 0; i < 1_000; i++) cache.set(String(i), 'x', 1_000);
  t.ok(cache.size <= 20 && cache.size > 5, String(cache.size));
  cache.set('large', 'x', 10_001);
  t.equal(cache.get('large'), undefined);
  cache.set('999', 'y', 1_000);
  t.equal(cache.get('999'), 'y');
  t.end();
});

t.test('tokens of an attacker who has no key push nobody out', async t => {
  const { authenticate } = authenticator([rule()]);
  const good = bearer(token(claims()));
  t.match(await authenticate(good), { ok: true });
  for (let i = 0; i < 20_000; i++) authenticate(bearer(`${i}.${i}.${i}`));
  const forged = signed('eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0', 'RS256', KEYS.otherRsa);
  for (let i = 0; i < 50; i++) await authenticate(bearer(forged.slice(0, -2) + (i + 10)));
  t.ok(isNow(authenticate(good)));
});
