import t from 'tap';
import { AROUND, type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('security.istio.io/v1', 'RequestAuthentication');
const rule = (inner: string): string => `{jwtRules: [{issuer: x, ${inner}}]}`;
const alone = (inner: string): string => `{jwtRules: [${inner}]}`;
const AT = 'spec.jwtRules[0]';
const times = (count: number, text: string): string => Array.from({ length: count }, () => text).join(', ');

const SHAPE: readonly Case[] = [
  { title: 'an empty spec is valid and does nothing', text: '{}' },
  { title: 'no rules are', text: '{jwtRules: []}' },
  { title: 'a selector', text: '{selector: {matchLabels: {a: b}}}' },
  {
    title: 'an empty selector selects everything, with a warning, as in Istio',
    text: '{selector: §{}}',
    faults: ['warning spec.selector: has no matchLabels; it selects every workload'],
  },
  {
    title: 'selectors take no wildcard',
    text: '{selector: {matchLabels: {a: §"b*"}}}',
    faults: ['error spec.selector.matchLabels.a: selectors take no wildcard'],
  },
  {
    title: 'one with targetRefs is taken, with a warning',
    text: '{§targetRefs: [{kind: Service, name: web}], jwtRules: [{issuer: x}]}',
    faults: [
      'warning spec: a policy with targetRefs belongs to a gateway or waypoint; a sidecar passes it over',
    ],
  },
  {
    title: 'selector and targetRefs exclude each other',
    text: '§{selector: {matchLabels: {a: b}}, targetRefs: []}',
    faults: ['error spec: only one of selector, targetRef and targetRefs can be set'],
  },
  {
    title: 'the name of a target has 253 characters at most',
    text: `{§targetRefs: [{kind: Service, name: §${'a'.repeat(254)}}, {kind: Service, name: ${'a'.repeat(253)}}]}`,
    faults: ['warning spec: a policy', 'error spec.targetRefs[0].name: has more than 253 characters'],
  },
  { title: '4096 rules are not too many', text: alone(times(4_096, '{issuer: x}')) },
  {
    title: '4097 rules are too many',
    text: `{jwtRules: §[${times(4_097, '{issuer: x}')}]}`,
    faults: ['error spec.jwtRules: has more than 4096 rules'],
  },
  {
    title: 'a null rule is refused',
    text: alone('§null'),
    faults: ['error spec.jwtRules[0]: must be a mapping, not empty'],
  },
  {
    title: 'a misspelt field is refused',
    text: rule('§audience: [a]'),
    faults: [`error ${AT}.audience: unknown field; did you mean audiences?`],
  },
];

const ISSUER: readonly Case[] = [
  { title: 'an issuer alone: its keys are found by OpenID discovery', text: alone('{issuer: https://x}') },
  { title: 'a jwksUri alone: any issuer', text: alone('{jwksUri: https://x/keys}') },
  {
    title: 'neither',
    text: alone('§{audiences: [a]}'),
    faults: [`error ${AT}: needs an issuer or a jwksUri`],
  },
  {
    title: 'inline keys without an issuer',
    text: alone(`§{jwks: '{"keys":[]}'}`),
    faults: [`error ${AT}: needs an issuer or a jwksUri`],
  },
  {
    title: 'an empty issuer, which the schema alone refuses',
    text: alone('{issuer: §"", jwksUri: https://x}'),
    faults: [`error ${AT}.issuer: is empty`],
  },
  {
    title: 'a null issuer',
    text: alone('{issuer: §null}'),
    faults: [`error ${AT}.issuer: is empty; give it a value`],
  },
];

const KEYS: readonly Case[] = [
  { title: 'the older name of jwksUri', text: rule('jwks_uri: https://x/keys') },
  {
    title: 'both names',
    text: rule('jwksUri: §https://x, jwks_uri: https://y'),
    faults: [`error ${AT}.jwksUri: jwksUri and jwks_uri exclude each other; keep one`],
  },
  {
    title: 'jwks and jwksUri',
    text: rule(`jwksUri: §https://x, jwks: '{"keys":[]}'`),
    faults: [`error ${AT}.jwksUri: jwksUri and jwks exclude each other; keep one`],
  },
  {
    title: 'jwks written empty beside jwksUri, which the schema counts',
    text: rule(`jwksUri: §https://x, jwks: ''`),
    faults: [`error ${AT}.jwksUri: jwksUri and jwks exclude each other; keep one`],
  },
  {
    title: 'an empty jwksUri',
    text: rule('jwksUri: §""'),
    faults: [`error ${AT}.jwksUri: is empty; write the URL of a key set`],
  },
  {
    title: 'another scheme',
    text: rule('jwksUri: §ftp://x/keys'),
    faults: [`error ${AT}.jwksUri: "ftp://x/keys" is not a URL that starts with http:// or https://`],
  },
  { title: 'a URL of 2048 characters', text: rule(`jwksUri: https://x/${'a'.repeat(2_038)}`) },
  {
    title: 'a URL of 2049 characters',
    text: rule(`jwksUri: §https://x/${'a'.repeat(2_039)}`),
    faults: [`error ${AT}.jwksUri: has more than 2048 characters`],
  },
  {
    title: "a URL that passes Istio's validation and cannot be fetched",
    text: rule('jwksUri: §https://x:99999/keys'),
    faults: [
      `warning ${AT}.jwksUri: nothing can be fetched from "https://x:99999/keys": every token is refused`,
    ],
  },
  {
    title: 'inline keys are a key set',
    text: rule(`jwks: §'{"keys":[{"kty":"RSA"}]}'`),
    faults: [`error ${AT}.jwks: key 0 has no n`],
  },
  {
    title: 'inline keys with private parts are a warning each, as in Istio',
    text: rule(
      `jwks: §§'{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}]}'`,
    ),
    faults: [
      `warning ${AT}.jwks: key 0 holds private key material; only public keys are needed to verify`,
      `warning ${AT}.jwks: key 2 holds private key material`,
    ],
  },
  {
    title: 'text after the keys',
    text: rule(`jwks: §'{"keys":[]},'`),
    faults: [`warning ${AT}.jwks: has text after the key set: every token is refused`],
  },
  ...['1ms', '5s', '1h30m', '+1s', '.5s', '1000us', '2562047h'].map(
    (timeout): Case => ({ title: `the timeout ${timeout}`, text: rule(`timeout: ${timeout}`) }),
  ),
  ...['0s', '999us', '-1s', '1.5ms'].map(
    (timeout): Case => ({
      title: `the timeout ${timeout} is refused`,
      text: rule(`timeout: §${timeout}`),
      faults: [`error ${AT}.timeout: "${timeout}" must be a whole number of milliseconds, at least 1ms`],
    }),
  ),
  ...['1d', '"5"', '""', '2562048h'].map(
    (timeout): Case => ({
      title: `the timeout ${timeout} is none`,
      text: rule(`timeout: §${timeout}`),
      faults: [`error ${AT}.timeout: "${timeout.replaceAll('"', '')}" is not a duration`],
    }),
  ),
];

const LISTS: readonly Case[] = [
  ...['audiences', 'fromParams', 'fromCookies', 'spaceDelimitedClaims'].map(
    (field): Case => ({
      title: `${field} holds no empty text`,
      text: rule(`${field}: [a, §""]`),
      faults: [`error ${AT}.${field}[1]: is empty; write a value or remove it`],
    }),
  ),
  { title: '64 claims', text: rule(`spaceDelimitedClaims: [${times(64, 'a')}]`) },
  {
    title: '65 claims',
    text: rule(`spaceDelimitedClaims: §[${times(65, 'a')}]`),
    faults: [`error ${AT}.spaceDelimitedClaims: has more than 64 claims`],
  },
  {
    title: 'fromHeaders has a name',
    text: rule('fromHeaders: [{name: a, prefix: "b "}, §{prefix: b}, {name: §""}, §null]'),
    faults: [
      `error ${AT}.fromHeaders[1].name: must be set`,
      `error ${AT}.fromHeaders[2].name: must be set`,
      `error ${AT}.fromHeaders[3]: must be a mapping, not empty`,
    ],
  },
  {
    title: 'outputClaimToHeaders has a header and a claim',
    text: rule(
      'outputClaimToHeaders: [{header: x-A_1, claim: a.b}, §{header: a}, §{claim: a}, {header: §a.b, claim: c}, {header: §"a b", claim: c}, {header: §é, claim: c}]',
    ),
    faults: [
      `error ${AT}.outputClaimToHeaders[1].claim: must be set`,
      `error ${AT}.outputClaimToHeaders[2].header: must be set`,
      `error ${AT}.outputClaimToHeaders[3].header: "a.b" may hold letters, digits, "-" and "_" only`,
      `error ${AT}.outputClaimToHeaders[4].header: "a b" may hold`,
      `error ${AT}.outputClaimToHeaders[5].header: "é" may hold`,
    ],
  },
  {
    title: 'outputPayloadToHeader takes any text in Istio; what is no header name is not written',
    text: rule('outputPayloadToHeader: §"a b"'),
    faults: [`warning ${AT}.outputPayloadToHeader: "a b" is not a header name; the payload is not passed on`],
  },
  {
    title: 'forwardOriginalToken is true or false',
    text: rule('forwardOriginalToken: §"yes"'),
    faults: [`error ${AT}.forwardOriginalToken: must be true or false, not a string`],
  },
];

for (const cases of [SHAPE, ISSUER, KEYS, LISTS]) runCases(cases, text => wrap(text) + AROUND);

t.test('a dry run is refused, as in Istio', async t => {
  const text = wrap('{}').replace(
    'namespace: foo',
    'namespace: foo, annotations: {istio.io/dry-run: "false"}',
  );
  t.match(loadText(text), {
    ok: false,
    faults: [{ line: 3, message: /istio.io\/dry-run has no meaning on a RequestAuthentication/ }],
  });
});

/** The policies of a text that must be right. */
function policiesOf(spec: string) {
  const result = loadText(wrap(spec));
  if (!result.ok) throw new Error(JSON.stringify(result.faults));
  return result.resources.requestAuthentications.map(({ origin, metadata, ...policy }) => policy);
}

t.test('every field comes out as data', async t => {
  const rule = {
    issuer: 'https://issuer.example',
    audiences: ['a', 'b'],
    jwks: null,
    jwksUri: 'https://issuer.example/keys',
    timeoutMs: 1_500,
    fromHeaders: [
      { name: 'x-token', prefix: 'T ' },
      { name: 'x-other', prefix: '' },
    ],
    fromParams: ['token'],
    fromCookies: ['session'],
    forwardOriginalToken: true,
    outputPayloadToHeader: 'x-payload',
    outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }],
    spaceDelimitedClaims: ['roles'],
  };
  const { timeoutMs, jwks, ...written } = rule;
  const spec = JSON.stringify({
    selector: { matchLabels: { app: 'web' } },
    jwtRules: [{ ...written, timeout: '1.5s' }],
  });
  t.same(policiesOf(spec), [
    { kind: 'RequestAuthentication', selector: { app: 'web' }, bound: false, jwtRules: [rule] },
  ]);
});

t.test('what a rule does not say is as in Istio', async t => {
  t.same(policiesOf(`{jwtRules: [{issuer: x, jwks: '', outputPayloadToHeader: ''}]}`), [
    {
      kind: 'RequestAuthentication',
      selector: null,
      bound: false,
      jwtRules: [
        {
          issuer: 'x',
          audiences: [],
          jwks: null,
          jwksUri: null,
          timeoutMs: 5_000,
          fromHeaders: [],
          fromParams: [],
          fromCookies: [],
          forwardOriginalToken: false,
          outputPayloadToHeader: null,
          outputClaimToHeaders: [],
          spaceDelimitedClaims: [],
        },
      ],
    },
  ]);
});
