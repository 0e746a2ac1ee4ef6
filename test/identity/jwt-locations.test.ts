import t from 'tap';
import type { JwtRule } from '../../src/config/resources.ts';
import { HeaderEdits } from '../../src/http/header-edits.ts';
import type { JwtRequest, JwtVerdict } from '../../src/identity/jwt.ts';
import { authenticator, bearer, claims, KEYS, request, rule, token } from './jwt-issuer.ts';

const GOOD = token(claims());
const EXPIRED = token({ iss: 'a', exp: 5 });

type Headers = Readonly<Record<string, string | readonly string[]>>;
/** Where the token stands, the headers, the target; what of both is left for the app, or the reason of the refusal. */
type Case = readonly [
  says: string,
  headers: Headers,
  target: string,
  left: Headers | string,
  leftTarget?: string,
];

const FORMAT = 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections';

/** Runs a table twice, the second time with the tokens known. */
function check(name: string, more: Partial<JwtRule>, table: readonly Case[]): void {
  t.test(name, async t => {
    const { authenticate } = authenticator([rule({ forwardOriginalToken: false, ...more })]);
    for (const [says, headers, target, left, leftTarget = target] of [...table, ...table]) {
      const asked = request(headers, { target });
      const verdict = await authenticate(asked);
      if (!verdict.ok) t.equal(verdict.body, left, says);
      else
        t.same([headersLeft(asked, headers, verdict), targetLeft(asked, verdict)], [left, leftTarget], says);
    }
  });
}

function headersLeft(asked: JwtRequest, headers: Headers, verdict: JwtVerdict & { ok: true }): Headers {
  const { edits } = verdict;
  if (edits === null) return headers;
  const fields = new HeaderEdits();
  fields.apply(edits);
  const values = Object.keys(headers).map(
    name => [name, fields.valuesOf(name, asked.headerValues(name))] as const,
  );
  return Object.fromEntries(
    values
      .filter(([, lines]) => lines.length > 0)
      .map(([name, lines]) => [name, lines.length === 1 ? (lines[0] ?? '') : lines]),
  );
}

function targetLeft(asked: JwtRequest, verdict: JwtVerdict & { ok: true }): string {
  return verdict.edits?.target ?? asked.target;
}

check('by default tokens are in Authorization behind `Bearer ` and in access_token', {}, [
  ['the header', { authorization: `Bearer ${GOOD}`, x: '1' }, '/p', { x: '1' }],
  ['two spaces', { authorization: `Bearer  ${GOOD}` }, '/p', {}],
  ['the prefix anywhere', { authorization: `x Bearer ,;${GOOD}` }, '/p', {}],
  ['another case is no token', { authorization: 'bearer x' }, '/p', { authorization: 'bearer x' }],
  ['no prefix is no token', { authorization: GOOD }, '/p', { authorization: GOOD }],
  ['the word alone', { authorization: 'Bearer' }, '/p', { authorization: 'Bearer' }],
  ['the word and a space, as only HTTP/2 hands it on', { authorization: 'Bearer ' }, '/p', FORMAT],
  ['nothing a token could begin with', { authorization: 'Bearer ,,' }, '/p', FORMAT],
  ['the prefix twice', { authorization: `Bearer Bearer ${GOOD}` }, '/p', 'Jwt header is an invalid JSON'],
  ['two lines are one value', { authorization: [`Bearer ${GOOD}`, `Bearer ${GOOD}`] }, '/p', FORMAT],
  ['of two lines, the second', { authorization: ['Basic x', `Bearer ${GOOD}`] }, '/p', {}],
  ['the parameter', {}, `/p?access_token=${GOOD}`, {}, '/p'],
  [
    'among others, which stay as they are',
    {},
    `/p?a=%26&&access_token=${GOOD}&c&b=%zz+`,
    {},
    '/p?a=%26&&c&b=%zz+',
  ],
  ['with an escaped name and value', {}, `/p?access%5Ftoken=${GOOD.replaceAll('.', '%2e')}%20`, {}, '/p'],
  ['twice: the first counts, both go', {}, `/p?access_token=${GOOD}&x=1&access_token=zz`, {}, '/p?x=1'],
  ['twice: the first is bad', {}, `/p?access_token=zz&access_token=${GOOD}`, FORMAT],
  ['empty is a bad token', {}, '/p?access_token=', FORMAT],
  ['and so is the bare name', {}, '/p?access_token', FORMAT],
  ['another case is another name', {}, '/p?Access_Token=x', {}],
  ['a name within a value', {}, '/p?x=access_token=y;access_token=z', {}],
  ['in the path', {}, '/p;access_token=x', {}],
  ['both good', { authorization: `Bearer ${GOOD}` }, `/p?access_token=${GOOD}`, {}, '/p'],
  ['one of both bad', { authorization: `Bearer ${GOOD}` }, `/p?access_token=${EXPIRED}`, 'Jwt is expired'],
  ['the other', { authorization: `Bearer ${EXPIRED}` }, `/p?access_token=${GOOD}`, 'Jwt is expired'],
  [
    'the last is looked at first',
    { authorization: 'Bearer x' },
    `/p?access_token=${EXPIRED}`,
    'Jwt is expired',
  ],
  ['another header', { 'x-jwt': 'x' }, '/p', { 'x-jwt': 'x' }],
]);

check(
  'fromHeaders: each line is a token',
  {
    fromHeaders: [
      { name: 'X-Jwt', prefix: '' },
      { name: 'x-p', prefix: 'T ' },
      { name: 'referer', prefix: '' },
    ],
  },
  [
    ['without a prefix', { 'x-jwt': GOOD }, '/p', {}],
    ['with one', { 'x-p': `a T ${GOOD}` }, '/p', {}],
    ['two lines', { 'x-jwt': [GOOD, GOOD] }, '/p', {}],
    ['two lines, one bad', { 'x-jwt': [EXPIRED, GOOD] }, '/p', 'Jwt is expired'],
    ['two headers, one bad', { 'x-jwt': GOOD, 'x-p': 'T x' }, '/p', FORMAT],
    ['an empty line', { 'x-jwt': '' }, '/p', FORMAT],
    ['a prefix that nobody asked for', { 'x-jwt': `Bearer ${GOOD}` }, '/p', 'Jwt header is an invalid JSON'],
    ['no prefix', { 'x-p': GOOD }, '/p', { 'x-p': GOOD }],
    ['a header that Envoy holds as one value', { referer: [GOOD, GOOD] }, '/p', FORMAT],
    [
      'the defaults are off',
      { authorization: 'Bearer x' },
      '/p?access_token=x',
      { authorization: 'Bearer x' },
    ],
  ],
);

check(
  'fromHeaders: one header with two prefixes',
  {
    fromHeaders: [
      { name: 'x-p', prefix: 'B ' },
      { name: 'x-p', prefix: 'A ' },
      { name: 'x-p', prefix: 'A ' },
    ],
  },
  [
    ['one', { 'x-p': `A ${GOOD}` }, '/p', {}],
    ['each in a line', { 'x-p': [`A ${GOOD}`, `B ${GOOD}`] }, '/p', {}],
    ['both in one', { 'x-p': `A B ${GOOD}` }, '/p', 'Jwt header is an invalid Base64url encoded'],
  ],
);

check('fromParams', { fromParams: ['tok', 'b c', 'z%41', '\u00e9'] }, [
  ['one', {}, `/p?tok=${GOOD}&x=1`, {}, '/p?x=1'],
  ['a space', {}, `/p?b%20c=${GOOD}`, {}, '/p'],
  ['a plus is no space', {}, '/p?b+c=x', {}],
  ['a name is not decoded twice', {}, '/p?z%41=x&zA=x', {}],
  ['but once', {}, `/p?z%2541=${GOOD}`, {}, '/p'],
  ['UTF-8', {}, `/p?%c3%a9=${GOOD}`, {}, '/p'],
  ['two', {}, `/p?tok=${GOOD}&b%20c=${GOOD}`, {}, '/p'],
  ['two, one bad', {}, `/p?tok=${GOOD}&b%20c=x`, FORMAT],
  ['the default is off', {}, '/p?access_token=x', {}],
]);

const cookie = (value: string | readonly string[]) => ({ cookie: value });
const kept = (says: string, value: string | readonly string[]): Case => [
  says,
  cookie(value),
  '/p',
  cookie(value),
];
check('fromCookies: found, and left where they are as Envoy leaves them', { fromCookies: ['sess', 'b'] }, [
  kept('one', `sess=${GOOD}`),
  kept('in quotes', `sess="${GOOD}"`),
  kept('among others', `x=1;  sess=${GOOD}; y=2`),
  kept('in a second line', ['x=1', `sess=${GOOD}`]),
  kept('two', `sess=${GOOD}; b=${GOOD}`),
  kept('twice: the first counts', `sess=${GOOD}; sess=x`),
  kept('no value is no cookie', 'sess; SESS=x; xsess=x; sess =x;\tsess=x'),
  ['twice: the first is bad', cookie(`sess=x; sess=${GOOD}`), '/p', FORMAT],
  ['an empty one', cookie('sess='), '/p', FORMAT],
  ['a space in front of what was signed', cookie(`sess= ${GOOD}`), '/p', 'Jwt verification fails'],
  ['an open quote', cookie(`sess="${GOOD}`), '/p', 'Jwt header is an invalid Base64url encoded'],
  ['two, one bad', cookie(`sess=${GOOD}; b=x`), '/p', FORMAT],
]);

check('forwardOriginalToken leaves everything', { forwardOriginalToken: true }, [
  ['in a header', { authorization: `Bearer ${GOOD}` }, '/p', { authorization: `Bearer ${GOOD}` }],
  ['in a parameter', {}, `/p?access_token=${GOOD}`, {}],
]);

t.test('the claims are those of the token found first', async t => {
  const places = { fromHeaders: [{ name: 'x-jwt', prefix: '' }], fromParams: ['tok'], fromCookies: ['sess'] };
  const { authenticate } = authenticator([rule(places)]);
  const [one, two, three] = ['one', 'two', 'three'].map(sub => token(claims({ sub }))) as [
    string,
    string,
    string,
  ];
  const all = request({ 'x-jwt': one, cookie: `sess=${three}` }, { target: `/p?tok=${two}` });
  t.match(await authenticate(all), { ok: true, jwt: { payload: { sub: 'one' } } });
  const last = request({ cookie: `sess=${three}` }, { target: `/p?tok=${two}` });
  t.match(await authenticate(last), { ok: true, jwt: { payload: { sub: 'two' } } });
});

t.test('a CORS preflight is not asked for a token', async t => {
  const { authenticate } = authenticator([rule()]);
  const bad = { authorization: 'Bearer x' };
  const preflight = { ...bad, origin: 'https://shop.example', 'access-control-request-method': 'GET' };
  const table: readonly (readonly [string, Headers, boolean])[] = [
    ['OPTIONS', preflight, true],
    ['GET', preflight, false],
    ['OPTIONS', { ...bad, origin: 'https://shop.example' }, false],
    ['OPTIONS', { ...preflight, origin: '' }, false],
    ['OPTIONS', { ...bad, 'access-control-request-method': 'GET' }, false],
  ];
  for (const [method, headers, ok] of table)
    t.match(await authenticate(request(headers, { method })), { ok });
});

t.test('the hot path answers at once: no token, an unreadable one, a known one', t => {
  const { authenticate } = authenticator([rule()]);
  t.same(authenticate(request()), { ok: true, jwt: null, edits: null });
  t.match(authenticate(bearer('x')), { ok: false });
  t.match(
    authenticate(bearer(token(claims(), { key: KEYS.otherRsa }))),
    Promise,
    'not so one to be verified',
  );
  t.end();
});
