import { execFileSync } from 'node:child_process';
import t from 'tap';
import { hasTrailingText, jwksProblem, privateKeys, redactedJwks } from '../../src/config/jwks-text.ts';

const RSA = { kty: 'RSA', e: 'AQAB', n: 'AAAA' };
const EC = { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' };
const OKP = { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' };
const OCT = { kty: 'oct', k: 'AAAA' };

/** Each measured on Istio's own parser. */
const KEYS: readonly (readonly [key: unknown, problem: string | null])[] = [
  [RSA, null],
  [EC, null],
  [OKP, null],
  [OCT, null],
  [{ ...RSA, d: 'AAAA', p: 'AAAA', q: 'AAAA', dp: 'AAAA', dq: 'AAAA', qi: 'AAAA', oth: [1] }, null],
  [{ ...RSA, alg: 'any', use: 'any', kid: '', x5u: 1, x5t: 'x', foo: { bar: [1] } }, null],
  [{ ...RSA, alg: null, kid: null, key_ops: null, x5c: null }, null],
  [{ KTY: 'RSA', e: 'AQAB', n: 'AAAA' }, null],
  [{}, 'key 0 has the kty null; RSA, EC, OKP and oct are known'],
  [null, 'key 0 is not a JSON object'],
  ['x', 'key 0 is not a JSON object'],
  [[], 'key 0 is not a JSON object'],
  [{ ...RSA, kty: 'rsa' }, 'key 0 has the kty "rsa"; RSA, EC, OKP and oct are known'],
  [{ ...RSA, kty: 1 }, 'key 0 has the kty 1; RSA, EC, OKP and oct are known'],
  [{ kty: 'RSA', e: 'AQAB' }, 'key 0 has no n'],
  [{ kty: 'RSA', E: 'AQAB', n: 'AAAA' }, 'key 0 has no e'],
  [{ kty: 'EC', x: 'AAAA', y: 'AAAA' }, 'key 0 has no crv'],
  [{ kty: 'OKP', crv: 'Ed25519' }, 'key 0 has no x'],
  [{ kty: 'oct' }, 'key 0 has no k'],
  [{ ...RSA, D: 'AAAA' }, 'key 0 has no d'],
  [{ ...RSA, n: 1 }, 'key 0 has a n that is not base64'],
  [{ ...RSA, n: 'a' }, 'key 0 has a n that is not base64'],
  [{ ...RSA, n: 'aa=' }, 'key 0 has a n that is not base64'],
  [{ ...RSA, n: 'a-/b' }, 'key 0 has a n that is not base64'],
  [{ ...RSA, n: 'aa aa' }, 'key 0 has a n that is not base64'],
  [{ ...RSA, n: '' }, null],
  [{ ...RSA, n: null }, null],
  [{ ...RSA, n: 'aa==' }, null],
  [{ ...RSA, n: 'a-_b' }, null],
  [{ ...RSA, n: 'a+/b' }, null],
  [{ ...RSA, n: 'aa\naa' }, null],
  [{ ...RSA, d: 'x y' }, 'key 0 has a d that is not base64'],
  [{ ...RSA, d: 'AAAA', p: 1 }, 'key 0 has a p that is not base64'],
  [{ ...RSA, p: 1 }, null],
  [{ ...EC, crv: 1 }, 'key 0 has a crv that is not a string'],
  [{ ...EC, crv: 'any' }, null],
  [{ ...RSA, kid: 1 }, 'key 0 has a kid that is not a string'],
  [{ ...RSA, key_ops: ['any', null] }, null],
  [{ ...RSA, key_ops: 'verify' }, 'key 0 has key_ops that are not a list of strings'],
  [{ ...RSA, key_ops: [1] }, 'key 0 has key_ops that are not a list of strings'],
  [{ ...RSA, x5c: [] }, null],
  [{ ...RSA, x5c: 'x' }, 'key 0 has an x5c that is not a list'],
  [{ ...RSA, x5c: ['AAAA'] }, 'key 0 has an x5c with something that is not a certificate'],
];

for (const [key, problem] of KEYS) {
  t.test(`a set with the key ${JSON.stringify(key)}`, async t => {
    t.equal(jwksProblem(JSON.stringify({ keys: [key] })), problem);
  });
}

const NO_OBJECT = 'is not a JSON object: a key set starts with {"keys": [';
const TEXTS: readonly (readonly [text: string, problem: string | null])[] = [
  ['{"keys":[]}', null],
  ['{"keys":null}', null],
  [' {"a":"}","keys":[]} ', null],
  ['{"keys":[]} and more', null],
  [JSON.stringify(RSA), null],
  ['{"keys":{}}', 'keys must be a list of keys'],
  ['{}', 'key 0 has the kty null; RSA, EC, OKP and oct are known'],
  ['', NO_OBJECT],
  ['[]', NO_OBJECT],
  ['null', NO_OBJECT],
  ['"keys"', NO_OBJECT],
  ['{keys:[]}', NO_OBJECT],
  ['{"keys":[],}', NO_OBJECT],
  ['{"keys":[', NO_OBJECT],
  ['\ufeff{"keys":[]}', NO_OBJECT],
  ['{"keys":[],"z":1e999}', NO_OBJECT],
  ['-----BEGIN PUBLIC KEY-----', NO_OBJECT],
];

for (const [text, problem] of TEXTS) {
  t.test(`the text ${JSON.stringify(text)}`, async t => {
    t.equal(jwksProblem(text), problem);
  });
}

t.test('a certificate in x5c is read', async t => {
  const pem = execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      '/dev/null',
      '-subj',
      '/CN=a',
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const x5c = [pem.replace(/-----[A-Z ]+-----|\n/g, '')];
  t.equal(jwksProblem(JSON.stringify({ keys: [{ ...RSA, x5c }] })), null);
});

t.test('text after the set is found, white space is none', async t => {
  t.equal(hasTrailingText('{"keys":["}"]} x'), true);
  t.equal(hasTrailingText(' {"keys":[]}\n'), false);
});

t.test('keys with a private part, and secret keys, are named by their index', async t => {
  const keys = [RSA, { ...RSA, d: 'AAAA' }, EC, { ...EC, d: 'AAAA' }, { ...OKP, d: 'AAAA' }, OCT];
  t.same(privateKeys(JSON.stringify({ keys })), [1, 3, 4, 5]);
  t.same(privateKeys(JSON.stringify(OCT)), [0]);
});

t.test('a set that is shown holds the public members alone', async t => {
  const keys = [
    {
      ...RSA,
      kid: 'a',
      d: 'SECRET',
      p: 'SECRET',
      q: 'SECRET',
      dp: 'SECRET',
      dq: 'SECRET',
      qi: 'SECRET',
      oth: ['SECRET'],
    },
    { ...EC, D: 'SECRET', d: 'SECRET', other: 'SECRET' },
    { ...OCT, k: 'SECRET', kid: 'b', x: 'SECRET', n: 'SECRET' },
    { kty: 'new', x: 'SECRET' },
    'SECRET',
  ];
  const shown = redactedJwks(JSON.stringify({ keys, other: 'SECRET' }));
  t.notMatch(shown, 'SECRET');
  t.same(JSON.parse(shown), {
    keys: [{ ...RSA, kid: 'a' }, EC, { kty: 'oct', kid: 'b' }, { kty: 'new' }, null],
  });
});

t.test('what is no key set is not shown at all', async t => {
  t.equal(redactedJwks('SECRET'), '(not a key set)');
  t.equal(redactedJwks('{"keys":"SECRET"}'), '(not a key set)');
  t.notMatch(redactedJwks(JSON.stringify({ ...OCT, k: 'SECRET' })), 'SECRET');
});
