import t from 'tap';
import {
  authenticator,
  base64url,
  bearer,
  claims,
  jwks,
  KEYS,
  NOW,
  publicJwk,
  request,
  rule,
  signed,
  token,
} from './jwt-issuer.ts';

const HEADER = base64url({ alg: 'RS256' });
const CLAIMS = base64url(claims());
const GOOD = token(claims());
const [, , SIGNATURE = ''] = GOOD.split('.');

const FORMAT = 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections';
const PAYLOAD_JSON = 'Jwt payload is an invalid JSON';
const HEADER_JSON = 'Jwt header is an invalid JSON';
const ISSUER = 'Jwt issuer is not configured';
const NOT_VERIFIED = 'Jwt verification fails';

/** What a token says, the token, Envoy's reason; null = accepted. Where Outrider is stricter than Envoy, the name says so. */
type Case = readonly [says: string, text: string, reason: string | null];

const FORMS: readonly Case[] = [
  ['a good one', GOOD, null],
  ['one word', 'x', FORMAT],
  ['two sections', `${HEADER}.${CLAIMS}`, FORMAT],
  ['no signature', `${HEADER}.${CLAIMS}.`, FORMAT],
  ['four sections', `${GOOD}.x`, FORMAT],
  ['only dots', '...', FORMAT],
  ['dots in front, behind and doubled', `.${HEADER}..${CLAIMS}.${SIGNATURE}.`, null],
  ['a space in the signature', `${HEADER}.${CLAIMS}.${SIGNATURE.slice(0, 9)} ${SIGNATURE.slice(9)}`, null],
  [
    'a space in what was signed without it',
    `${HEADER}.${CLAIMS.slice(0, 9)} ${CLAIMS.slice(9)}.${SIGNATURE}`,
    NOT_VERIFIED,
  ],
  ['a space that was signed', signed(`${HEADER.slice(0, 5)} ${HEADER.slice(5)}.${CLAIMS}`), null],
  ['padding as it should be', `${GOOD}==`, null],
  ['half the padding', `${GOOD}=`, 'Jwt signature is an invalid Base64url encoded'],
  [
    'padding within',
    `${GOOD.slice(0, -9)}=${GOOD.slice(-9)}`,
    'Jwt signature is an invalid Base64url encoded',
  ],
  [
    'base64 that is no base64url',
    `${HEADER}.${CLAIMS}.+/${SIGNATURE}`,
    'Jwt signature is an invalid Base64url encoded',
  ],
  ['a letter too many', `${GOOD}AA`, NOT_VERIFIED],
  ['one letter of a signature', `${HEADER}.${CLAIMS}.A`, 'Jwt signature is an invalid Base64url encoded'],
  ['a header of one letter', `A.${CLAIMS}.${SIGNATURE}`, 'Jwt header is an invalid Base64url encoded'],
  ['a payload of five', `${HEADER}.AAAAA.${SIGNATURE}`, 'Jwt payload is an invalid Base64url encoded'],
  ['bytes past ASCII', `${GOOD}\u00e9`, 'Jwt signature is an invalid Base64url encoded'],
];

const HEADERS: readonly Case[] = [
  ['not JSON', signed(`${base64url('nope')}.${CLAIMS}`), HEADER_JSON],
  ['a list', signed(`${base64url('[]')}.${CLAIMS}`), HEADER_JSON],
  [
    'null',
    signed(`${base64url('null')}.${CLAIMS}`),
    'Jwt header [alg] field is required and must be a string',
  ],
  ['alg twice', token(claims(), { header: '{"alg":"none","alg":"RS256"}' }), HEADER_JSON],
  ['no alg', token(claims(), { header: '{}' }), 'Jwt header [alg] field is required and must be a string'],
  [
    'alg null',
    token(claims(), { header: '{"alg":null}' }),
    'Jwt header [alg] field is required and must be a string',
  ],
  [
    'alg inherited',
    token(claims(), { header: '{"__proto__":{"alg":"RS256"}}' }),
    'Jwt header [alg] field is required and must be a string',
  ],
  ...['none', 'None', 'NONE', '', 'rs256', 'Ed25519', 'ES256K', 'constructor', '__proto__', 'toString'].map(
    (alg): Case => [
      `alg ${alg}`,
      token(claims(), { header: { alg }, alg: 'RS256' }),
      'Jwt header [alg] is not supported',
    ],
  ),
  ['kid 1', token(claims(), { header: { alg: 'RS256', kid: 1 } }), 'Jwt header [kid] field is not a string'],
  [
    'kid null',
    token(claims(), { header: { alg: 'RS256', kid: null } }),
    'Jwt header [kid] field is not a string',
  ],
  [
    'fields that mean nothing here',
    token(claims(), { header: { alg: 'RS256', typ: 'at+jwt', jku: 'http://evil' } }),
    null,
  ],
  ['crit: stricter', token(claims(), { header: { alg: 'RS256', crit: ['exp'], exp: 1 } }), NOT_VERIFIED],
  [
    'crit b64: stricter',
    token(claims(), { header: { alg: 'RS256', crit: ['b64'], b64: false } }),
    NOT_VERIFIED,
  ],
];

const BODY = `"iss":"a","exp":${NOW + 9}`;
const json = (says: string, text: string | Buffer, reason: string | null): Case => [
  says,
  token(Buffer.from(text)),
  reason,
];
const JSONS: readonly Case[] = [
  json('not JSON', 'nope', PAYLOAD_JSON),
  json('a list', '[]', PAYLOAD_JSON),
  json('null is an empty object', 'null', ISSUER),
  json('white space around', ` \n{${BODY}}\t`, null),
  json('a byte order mark', `\ufeff{${BODY}}`, PAYLOAD_JSON),
  json('text behind', `{${BODY}} x`, PAYLOAD_JSON),
  json('a key twice', `{"iss":"z",${BODY}}`, PAYLOAD_JSON),
  json('a key twice, further down', `{${BODY},"x":[{"k":1,"k":2}]}`, PAYLOAD_JSON),
  json('a key twice, once escaped', `{${BODY},"x":1,"\\u0078":2}`, PAYLOAD_JSON),
  json('one key in two objects', `{${BODY},"x":{"k":1},"y":{"k":{"k":2}}}`, null),
  json('a key that is a value too', `{${BODY},"x":"x","y":["x","x"]}`, null),
  json('braces and quotes in strings', `{${BODY},"x":"{\\"iss\\":[","y":"}\\\\"}`, null),
  json('single quotes: stricter', `{'iss':'a'}`, PAYLOAD_JSON),
  json('a trailing comma: stricter', `{${BODY},}`, PAYLOAD_JSON),
  json('a raw line break in a string: stricter', `{${BODY},"x":"a\nb"}`, PAYLOAD_JSON),
  json('a number past double', `{${BODY},"x":1e400}`, PAYLOAD_JSON),
  json('a number of 400 digits', `{${BODY},"x":${'9'.repeat(400)}}`, PAYLOAD_JSON),
  json('the largest numbers', `{${BODY},"x":1e308,"y":-0,"z":0.${'1'.repeat(5_000)}}`, null),
  json('half a surrogate pair', `{${BODY},"x":"\\ud800"}`, PAYLOAD_JSON),
  json('the other half, in a key', `{${BODY},"\\udc00":1}`, PAYLOAD_JSON),
  json('a pair', `{${BODY},"x":"\\ud83d\\ude00 \u00e9 \u6f22"}`, null),
  json(
    'bytes that are no UTF-8',
    Buffer.concat([Buffer.from(`{${BODY},"x":"`), Buffer.from([0xff]), Buffer.from('"}')]),
    PAYLOAD_JSON,
  ),
  json('99 lists within the object', `{${BODY},"x":${'['.repeat(99)}${']'.repeat(99)}}`, null),
  json('100 lists within the object', `{${BODY},"x":${'['.repeat(100)}${']'.repeat(100)}}`, PAYLOAD_JSON),
  json(
    '100 objects within the object',
    `{${BODY},"x":${'{"a":'.repeat(100)}1${'}'.repeat(100)}}`,
    PAYLOAD_JSON,
  ),
  json('__proto__ as a claim', `{${BODY},"__proto__":{"a":1},"constructor":1}`, null),
  json('an inherited iss', `{"__proto__":{"iss":"a"}}`, ISSUER),
];

const claim = (says: string, more: object, reason: string | null): Case => [
  says,
  token({ iss: 'a', ...more }),
  reason,
];
const notInteger = (name: string) => `Jwt payload [${name}] field is not an integer`;
const notInRange = (name: string) => `Jwt payload [${name}] field is not a positive 64 bit integer`;
const CLAIMS_TABLE: readonly Case[] = [
  claim('no exp', {}, null),
  ['no iss', token({ sub: 's' }), ISSUER],
  claim('another iss', { iss: 'A' }, ISSUER),
  claim('iss a number', { iss: 1 }, 'Jwt payload [iss] field is not a string'),
  claim('iss null', { iss: null }, 'Jwt payload [iss] field is not a string'),
  claim('sub a number', { sub: 1 }, 'Jwt payload [sub] field is not a string'),
  claim('jti a number', { jti: 1 }, 'Jwt payload [jti] field is not a string'),
  claim('aud a number', { aud: 1 }, 'Jwt payload [aud] field is not a string or string list'),
  claim('aud null', { aud: null }, 'Jwt payload [aud] field is not a string or string list'),
  claim('aud of two kinds', { aud: ['x', 1] }, 'Jwt payload [aud] field is not a string or string list'),
  claim('exp now', { exp: NOW }, null),
  claim('exp a minute ago', { exp: NOW - 60 }, null),
  claim('exp longer ago', { exp: NOW - 61 }, 'Jwt is expired'),
  claim('exp 0 is no exp', { exp: 0.5 }, null),
  claim('exp text', { exp: '1' }, notInteger('exp')),
  claim('exp null', { exp: null }, notInteger('exp')),
  claim('exp below zero', { exp: -1 }, notInRange('exp')),
  claim('exp past 64 bits', { exp: 2 ** 64 }, notInRange('exp')),
  claim('nbf in a minute', { nbf: NOW + 60 }, null),
  claim('nbf later', { nbf: NOW + 61 }, 'Jwt not yet valid'),
  claim('nbf text', { nbf: '1' }, notInteger('nbf')),
  claim('nbf below zero', { nbf: -1 }, notInRange('nbf')),
  claim('iat in the future', { iat: NOW + 9_999 }, null),
  claim('iat text', { iat: '1' }, notInteger('iat')),
  claim('iat past 64 bits', { iat: 1e300 }, notInRange('iat')),
  claim('iss is looked at before exp', { iss: 'b', exp: 1 }, ISSUER),
  claim('nbf is looked at before exp', { exp: 1, nbf: NOW + 999 }, 'Jwt not yet valid'),
  [
    'exp is looked at before the signature',
    token({ iss: 'a', exp: 1 }, { key: KEYS.otherRsa }),
    'Jwt is expired',
  ],
  ['a key that is not in the set', token(claims(), { key: KEYS.otherRsa }), NOT_VERIFIED],
];

for (const [name, table] of Object.entries({ FORMS, HEADERS, JSONS, CLAIMS: CLAIMS_TABLE })) {
  t.test(`${name.toLowerCase()} of tokens are judged as Envoy judges them`, async t => {
    const { authenticate } = authenticator([rule()]);
    for (const [says, text, reason] of table) {
      const verdict = await authenticate(bearer(text));
      t.equal(verdict.ok ? null : verdict.body, reason, says);
      t.same(await authenticate(bearer(text)), verdict, `${says}, once more`);
    }
  });
}

t.test('audiences compare without scheme and slash; a wrong one is 403', async t => {
  const { authenticate } = authenticator([rule({ audiences: ['http://svc/', 'b', 'x/'] })]);
  const table: readonly (readonly [unknown, boolean])[] = [
    ...['svc', 'https://svc/', 'http://svc', 'b', 'b/', 'x', 'x/'].map(aud => [aud, true] as const),
    ...['x//', 'B', 'HTTP://b', '', '/', 'nope'].map(aud => [aud, false] as const),
    [['nope', 'b'], true],
    [['nope'], false],
    [[], false],
    [undefined, false],
  ];
  for (const [aud, isAllowed] of table) {
    const verdict = await authenticate(bearer(token(claims({ aud }))));
    const expected = { status: 403, body: 'Audiences in Jwt are not allowed' };
    t.match(verdict, isAllowed ? { ok: true } : { ok: false, ...expected }, JSON.stringify(aud));
  }
  const expired = await authenticate(bearer(token({ iss: 'a', aud: 'nope', exp: 1 })));
  t.match(expired, { status: 401, body: 'Jwt is expired' }, 'times come first');
});

t.test('a refusal has the status, the challenge and the details of Envoy', async t => {
  const { authenticate } = authenticator([rule()]);
  t.same(await authenticate(bearer(token({ iss: 'a', exp: 1 }))), {
    ok: false,
    status: 401,
    body: 'Jwt is expired',
    wwwAuthenticate: 'Bearer realm="https://shop.example:8080/cart", error="invalid_token"',
    details: 'jwt_authn_access_denied{Jwt_is_expired}',
  });
  const long = request({ authorization: 'Bearer x' }, { target: `/${'p'.repeat(300)}`, scheme: 'http' });
  t.match(await authenticate(long), {
    wwwAuthenticate: `Bearer realm="http://shop.example:8080/${'p'.repeat(255)}", error="invalid_token"`,
  });
  const quotes = request({ authorization: 'Bearer x' }, { host: 'a"b\\c', target: '/"' });
  t.match(await authenticate(quotes), {
    wwwAuthenticate: 'Bearer realm="https://a%22b%5Cc/%22", error="invalid_token"',
  });
});

t.test('keys that cannot be had refuse every token and let requests without one pass', async t => {
  const jwksUri = 'https://keys.example/jwks';
  for (const keySets of [{}, { [jwksUri]: { failure: 'ECONNREFUSED' } }]) {
    const { authenticate } = authenticator([rule({ jwks: null, jwksUri })], { keySets });
    t.match(await authenticate(bearer(GOOD)), { ok: false, status: 401, body: NOT_VERIFIED });
    t.match(await authenticate(bearer('x')), { ok: false, body: FORMAT });
    t.same(await authenticate(request()), { ok: true, jwt: null, edits: null });
  }
  const { authenticate } = authenticator([rule({ jwks: null, jwksUri })], {
    keySets: { [jwksUri]: { jwks: jwks(publicJwk(KEYS.rsa)) } },
  });
  t.match(await authenticate(bearer(GOOD)), { ok: true }, 'and once they are there, they verify');
});
