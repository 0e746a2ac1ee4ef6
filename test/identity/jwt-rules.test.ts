import t from 'tap';
import type { JwtRule } from '../../src/config/resources.ts';
import { HeaderEdits } from '../../src/http/header-edits.ts';
import type { JwtVerdict } from '../../src/identity/jwt.ts';
import {
  authenticator,
  base64url,
  claims,
  jwks,
  KEYS,
  publicJwk,
  request,
  rule,
  token,
} from './jwt-issuer.ts';

const a = (more: object = {}) => token(claims(more));
const b = (more: object = {}) => token(claims({ iss: 'b', sub: 'other', ...more }), { key: KEYS.otherRsa });
const EXPIRED_A = a({ exp: 5 });
const EXPIRED_B = b({ exp: 5 });
const BAD_A = token(claims(), { key: KEYS.otherRsa });
const OF_NOBODY = token(claims({ iss: 'c' }));

const RULE_A = rule({ forwardOriginalToken: false, outputClaimToHeaders: [{ header: 'x-a', claim: 'sub' }] });
const RULE_B = rule({
  issuer: 'b',
  jwks: jwks(publicJwk(KEYS.otherRsa)),
  forwardOriginalToken: false,
  outputClaimToHeaders: [{ header: 'X-B', claim: 'sub' }],
});
const at = (base: JwtRule, ...names: string[]): JwtRule => ({
  ...base,
  fromHeaders: names.map(name => ({ name, prefix: '' })),
});

type Headers = Readonly<Record<string, string | readonly string[]>>;
interface Expected {
  readonly sub?: string | null;
  readonly refused?: string;
  /** What the app gets of x-one, x-two, x-a and x-b; absent = nothing. */
  readonly headers?: Headers;
}
type Case = readonly [says: string, headers: Headers, target: string, expected: Expected];

const ISSUER = 'Jwt issuer is not configured';
const FORMAT = 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections';

function check(name: string, rules: readonly JwtRule[], table: readonly Case[]): void {
  t.test(name, async t => {
    const { authenticate } = authenticator(rules);
    for (const [says, headers, target, { sub = null, refused, headers: left = {} }] of [...table, ...table]) {
      const asked = request(headers, { target });
      const verdict = await authenticate(asked);
      if (refused !== undefined || !verdict.ok)
        t.equal(verdict.ok ? 'accepted' : verdict.body, refused, says);
      else t.same([verdict.jwt?.payload.sub ?? null, headersLeft(headers, verdict)], [sub, left], says);
    }
  });
}

function headersLeft(sent: Headers, { edits }: JwtVerdict & { ok: true }): Headers {
  const fields = new HeaderEdits();
  if (edits !== null) fields.apply(edits);
  const values = ['x-one', 'x-two', 'x-a', 'x-b'].map(
    name => [name, fields.valuesOf(name, [sent[name] ?? []].flat())] as const,
  );
  return Object.fromEntries(
    values.filter(([, lines]) => lines.length > 0).map(([name, lines]) => [name, lines.join()]),
  );
}

const bearer = (text: string, more: Headers = {}) => ({ authorization: `Bearer ${text}`, ...more });
check(
  'two issuers at the same place: the token of either passes',
  [RULE_B, RULE_A],
  [
    ['the first', bearer(a()), '/', { sub: 'someone', headers: { 'x-a': 'someone' } }],
    ['the second', bearer(b()), '/', { sub: 'other', headers: { 'x-b': 'other' } }],
    ['no token', {}, '/', {}],
    ['of nobody', bearer(OF_NOBODY), '/', { refused: ISSUER }],
    [
      'a wrong signature says more than another issuer',
      bearer(BAD_A),
      '/',
      { refused: 'Jwt verification fails' },
    ],
    ['and so does a past time', bearer(EXPIRED_B), '/', { refused: 'Jwt is expired' }],
    ['no token at all', bearer('x'), '/', { refused: FORMAT }],
    // The second rule takes its parameter away, after which the first finds only its own.
    [
      'one each, the second issuer in the parameter',
      bearer(a()),
      `/?access_token=${b()}`,
      { sub: 'someone', headers: { 'x-a': 'someone' } },
    ],
    [
      'one each, the first in the parameter',
      bearer(b()),
      `/?access_token=${a()}`,
      { sub: 'other', headers: { 'x-a': 'someone', 'x-b': 'other' } },
    ],
    [
      'a spoofed header of the rule that accepts',
      bearer(a(), { 'x-a': 'evil' }),
      '/',
      { sub: 'someone', headers: { 'x-a': 'someone' } },
    ],
    [
      'a spoofed header of the other',
      bearer(a(), { 'x-b': 'evil' }),
      '/',
      { sub: 'someone', headers: { 'x-a': 'someone' } },
    ],
    ['spoofed headers without a token', { 'x-a': 'evil', 'x-b': 'evil' }, '/', {}],
  ],
);

check(
  'two issuers at places of their own: one good token is enough, and the other place is not looked at',
  [at(RULE_A, 'x-one'), at(RULE_B, 'x-two')],
  [
    ['the first', { 'x-one': a() }, '/', { sub: 'someone', headers: { 'x-a': 'someone' } }],
    [
      'both',
      { 'x-one': a(), 'x-two': b({ jti: 'kept' }) },
      '/',
      { sub: 'someone', headers: { 'x-a': 'someone', 'x-two': b({ jti: 'kept' }) } },
    ],
    [
      'good and bad',
      { 'x-one': a(), 'x-two': 'x' },
      '/',
      { sub: 'someone', headers: { 'x-a': 'someone', 'x-two': 'x' } },
    ],
    [
      'bad and good',
      { 'x-one': 'x', 'x-two': b() },
      '/',
      { sub: 'other', headers: { 'x-b': 'other', 'x-one': 'x' } },
    ],
    ['exchanged', { 'x-one': b(), 'x-two': a() }, '/', { refused: ISSUER }],
    [
      'one bad, one of the wrong issuer',
      { 'x-one': EXPIRED_A, 'x-two': a() },
      '/',
      { refused: 'Jwt is expired' },
    ],
    ['the other way round', { 'x-one': b(), 'x-two': EXPIRED_B }, '/', { refused: 'Jwt is expired' }],
  ],
);

check(
  'a place that both share',
  [at(RULE_A, 'x-one'), at(RULE_B, 'x-one', 'x-two')],
  [
    ['the first', { 'x-one': a() }, '/', { sub: 'someone', headers: { 'x-a': 'someone' } }],
    ['the second', { 'x-one': b() }, '/', { sub: 'other', headers: { 'x-b': 'other' } }],
    ['at the place of the second only', { 'x-two': a() }, '/', { refused: ISSUER }],
    [
      'bad at one, good at the other',
      { 'x-one': BAD_A, 'x-two': b() },
      '/',
      { refused: 'Jwt verification fails' },
    ],
    // The last line is looked at first: it is good, so that the header goes, and the bad line with it.
    ['two lines, the last good', { 'x-one': [EXPIRED_A, a()] }, '/', { sub: 'someone' }],
    ['two lines, the first good', { 'x-one': [a(), EXPIRED_A] }, '/', { refused: 'Jwt is expired' }],
  ],
);

check(
  'rules of one issuer are tried in their order',
  [rule({ audiences: ['q'] }), rule({ jwks: jwks(publicJwk(KEYS.otherRsa)) })],
  [
    ['the first', bearer(a({ aud: 'q' })), '/', { sub: 'someone' }],
    ['the second', bearer(BAD_A), '/', { sub: 'someone' }],
    ['neither', bearer(a({ aud: 'w' })), '/', { refused: 'Audiences in Jwt are not allowed' }],
  ],
);

t.test('space-delimited claims are lists for policy, and stay what they were for the app', async t => {
  const outputs = { outputClaimToHeaders: [{ header: 'x-scope', claim: 'scope' }] };
  const { authenticate } = authenticator([
    rule({ spaceDelimitedClaims: ['roles', '__proto__'], ...outputs }),
  ]);
  const payload = `{"iss":"a","scope":"read  write","permission":"","roles":"x","other":"a b","__proto__":"p q"}`;
  const verdict = await authenticate(request(bearer(token(payload))));
  if (!verdict.ok || verdict.jwt === null) return void t.fail('refused');
  const { scope, permission, roles, other } = verdict.jwt.payload;
  t.same(
    { scope, permission, roles, other },
    { scope: ['read', 'write'], permission: '', roles: ['x'], other: 'a b' },
  );
  t.same(
    Object.getOwnPropertyDescriptor(verdict.jwt.payload, '__proto__')?.value,
    ['p', 'q'],
    'a claim like any other',
  );
  t.same(verdict.edits?.headers, [['x-scope', 'read  write']]);
});

t.test('claims become headers as Envoy writes them', async t => {
  const table: readonly (readonly [unknown, string | null])[] = [
    ['text', 'text'],
    ['\u00e9 \u6f22', Buffer.from('\u00e9 \u6f22').toString('latin1')],
    ['a\tb', 'a\tb'],
    ['', null],
    [null, null],
    [42, '42'],
    [0, '0'],
    [2 ** 53, '9007199254740992'],
    [1e18, '1000000000000000000'],
    [2 ** 64, '18446744073709551616.000000'],
    [1e22, '10000000000000000000000.000000'],
    [-3, '-3.000000'],
    [1.5, '1.500000'],
    [1e-7, '0.000000'],
    [true, 'true'],
    [false, 'false'],
    [['a', 'b<', 1, 2.5, true, null], Buffer.from('["a","b\\u003c",1,2.5,true,null]').toString('base64')],
    [{ k: '\u00e9' }, Buffer.from('{"k":"\u00e9"}').toString('base64')],
    [[], 'W10='],
  ];
  const { authenticate } = authenticator([
    rule({ outputClaimToHeaders: [{ header: 'X-Claim', claim: 'x' }] }),
  ]);
  for (const [x, value] of table) {
    const verdict = await authenticate(request(bearer(token(claims({ x })))));
    t.match(
      verdict,
      { ok: true, edits: { remove: ['x-claim'], headers: value === null ? [] : [['x-claim', value]] } },
      JSON.stringify(x),
    );
  }
});

t.test('claims are found by a dotted path through objects', async t => {
  const paths = {
    nested: 'o.a.b',
    dots: 'https://e.example/c',
    list: 'l.0',
    missing: 'o.x.b',
    inherited: 'constructor.name',
    empty: 'o..b',
  };
  const outputClaimToHeaders = Object.entries(paths).map(([header, claim]) => ({ header, claim }));
  const { authenticate } = authenticator([rule({ outputClaimToHeaders })]);
  const payload = claims({ o: { a: { b: 'deep' } }, 'https://e.example/c': 'x', l: ['x'] });
  t.match(await authenticate(request(bearer(token(payload)))), { edits: { headers: [['nested', 'deep']] } });
});

t.test('the payload goes on as it stands in the token', async t => {
  const outputs = {
    outputPayloadToHeader: 'X-Payload',
    outputClaimToHeaders: [{ header: 'x-payload', claim: 'sub' }],
  };
  const { authenticate } = authenticator([rule(outputs)]);
  const text = a();
  const headers = [
    ['x-payload', base64url(claims())],
    ['x-payload', 'someone'],
  ];
  t.match(await authenticate(request(bearer(text))), { edits: { remove: ['x-payload'], headers } });
});

t.test('a claim that would break the head, or write a header that frames it, never gets there', async t => {
  const { authenticate } = authenticator([
    rule({ outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }] }),
  ]);
  for (const sub of ['a\r\nx-evil: 1', 'a\0', '\x01', '\x7f', 'a\n']) {
    const verdict = await authenticate(request(bearer(token(claims({ sub })))));
    t.match(
      verdict,
      { ok: false, status: 401, body: 'Jwt claim is not a valid header value' },
      JSON.stringify(sub),
    );
  }
  const names = [
    'Host',
    'content-length',
    'Transfer-Encoding',
    'connection',
    ':path',
    'x evil',
    'x:y',
    '',
    'x\r\ny',
  ];
  const careless = rule({
    outputClaimToHeaders: names.map(header => ({ header, claim: 'sub' })),
    outputPayloadToHeader: 'upgrade',
  });
  t.same(await authenticator([careless]).authenticate(request(bearer(a()))), {
    ok: true,
    jwt: { payload: claims() },
    edits: null,
  });
});
