import fc from 'fast-check';
import t from 'tap';
import type { JwtRequest, JwtVerdict } from '../../src/identity/jwt.ts';
import {
  authenticator,
  base64url,
  bearer,
  claims,
  jwks,
  KEYS,
  publicJwk,
  request,
  rule,
  signed,
  token,
} from './jwt-issuer.ts';

const places = {
  fromHeaders: [
    { name: 'authorization', prefix: 'Bearer ' },
    { name: 'x-jwt', prefix: '' },
  ],
  fromParams: ['access_token', 'a b'],
  fromCookies: ['sess'],
  forwardOriginalToken: false,
  outputPayloadToHeader: 'x-payload',
  outputClaimToHeaders: ['sub', 'x', 'x.y', '__proto__', 'constructor'].map(claim => ({
    header: 'x-claim',
    claim,
  })),
};
const all = jwks(...Object.values(KEYS).map(key => publicJwk(key)));
const { authenticate } = authenticator([
  rule({ ...places, jwks: all }),
  rule({ ...places, issuer: 'b', jwks: all }),
]);

/** Refused or accepted, never thrown, and nothing in it that could break a head. */
async function check(asked: JwtRequest): Promise<JwtVerdict> {
  const verdict = await authenticate(asked);
  if (!verdict.ok) {
    if (!/^[\x20-\x7e\x80-\xff]*$/.test(verdict.wwwAuthenticate + verdict.body))
      throw new Error('unprintable');
    return verdict;
  }
  for (const [name, value] of verdict.edits?.headers ?? []) {
    if (!/^[\x20-\x7e\x80-\xff\t]*$/.test(name + value))
      throw new Error(`a header ${JSON.stringify([name, value])}`);
  }
  return verdict;
}

/** A byte string as a header or a target can hold it. */
const wire = fc.string({
  unit: fc.integer({ min: 0x20, max: 0xff }).map(code => String.fromCharCode(code)),
  maxLength: 300,
});
const section = fc.oneof(
  wire,
  fc.string().map(base64url),
  fc.json().map(base64url),
  fc.uint8Array().map(bytes => base64url(Buffer.from(bytes))),
);
const sections = fc.array(section, { maxLength: 5 }).map(parts => parts.join('.'));

t.test('no text in a place for tokens makes it throw', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(wire, sections),
      wire,
      fc.constantFrom('GET', 'OPTIONS', ''),
      async (text, other, method) => {
        const headers = {
          authorization: `Bearer ${text}`,
          'x-jwt': [other, text],
          cookie: `${other};sess=${text}`,
        };
        await check(
          request(headers, { method, target: `/${other}?${text}&access_token=${text}&a%20b=${other}` }),
        );
        await check(bearer(text));
        await check(request({}, { target: `?access_token=${text}` }));
      },
    ),
    { numRuns: 2_000 },
  );
});

const json = fc.oneof(
  fc.json(),
  fc.json({ noUnicodeString: false }),
  fc
    .tuple(
      fc.constantFrom('iss', 'sub', 'exp', 'nbf', 'iat', 'jti', 'aud', 'scope', '__proto__', 'x'),
      fc.json(),
    )
    .map(([name, value]) => `{"iss":"a","${name === 'iss' ? 'x' : name}":${value}}`),
  fc.string(),
);

t.test('no payload that an issuer signs makes it throw', async () => {
  await fc.assert(
    fc.asyncProperty(json, async payload => {
      await check(bearer(token(payload, { header: { alg: 'ES256' }, key: KEYS.p256 })));
    }),
    { numRuns: 2_000 },
  );
});

t.test('no header that an issuer signs makes it throw, and none but a good one passes', async t => {
  const header = fc.oneof(
    json,
    fc.record({ alg: fc.oneof(fc.string(), fc.jsonValue()), kid: fc.jsonValue() }, { requiredKeys: [] }),
  );
  await fc.assert(
    fc.asyncProperty(header, async value => {
      const verdict = await check(bearer(token(claims(), { header: value, alg: 'RS256' })));
      if (verdict.ok) throw new Error('accepted');
    }),
    { numRuns: 1_000 },
  );
  const unprintable = token(claims(), { header: { alg: { toString: 0 } }, alg: 'RS256' });
  t.match(await check(bearer(unprintable)), { ok: false });
  t.match(await check(bearer(token(claims()))), { ok: true });
});

t.test('large and deep input is judged in time', async t => {
  const header = base64url({ alg: 'RS256' });
  const deep = '['.repeat(20_000) + ']'.repeat(20_000);
  const keys = Array.from({ length: 4_000 }, (_, i) => `"k${i}":{}`).join();
  const table: readonly (readonly [says: string, text: string])[] = [
    ['64 KiB of one letter', 'x'.repeat(65_536)],
    ['64 KiB of dots', '.'.repeat(65_536)],
    ['64 KiB of spaces in a section', `${header}.${' '.repeat(60_000)}.x`],
    ['64 KiB of padding', `${header}.${'='.repeat(60_000)}.x`],
    ['three large sections', ['x', 'y', 'z'].map(letter => letter.repeat(20_000)).join('.')],
    ['a deep payload', signed(`${header}.${base64url(`{"iss":"a","x":${deep}}`)}`)],
    ['a deep payload without an end', signed(`${header}.${base64url('{"a":'.repeat(9_000))}`)],
    ['a deep header', signed(`${base64url(`{"alg":"RS256","x":${deep}}`)}.e30`)],
    ['quotes without an end', signed(`${header}.${base64url('"\\'.repeat(20_000))}`)],
    ['many objects', signed(`${header}.${base64url(`{"iss":"a",${keys}}`)}`)],
    ['many numbers', signed(`${header}.${base64url(`{"iss":"a","x":[${'1e309,'.repeat(5_000)}1]}`)}`)],
  ];
  const accepted = ['many objects'];
  for (const [says, text] of table) {
    const started = performance.now();
    const { ok } = await check(bearer(text));
    t.equal(ok, accepted.includes(says), says);
    t.ok(performance.now() - started < 500, `${says}: ${Math.round(performance.now() - started)} ms`);
  }
  const params = `/?${'access_token=x&'.repeat(4_000)}`;
  const cookies = 'sess=x;'.repeat(8_000);
  t.match(await check(request({ cookie: cookies }, { target: params })), { ok: false });
  const lines = Array.from({ length: 100 }, () => token(claims()));
  t.match(await check(request({ 'x-jwt': lines })), { ok: true });
});
