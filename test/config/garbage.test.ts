import fc from 'fast-check';
import t from 'tap';
import { loadText } from './cases.ts';

const FIELDS = [
  'apiVersion',
  'kind',
  'metadata',
  'spec',
  'name',
  'namespace',
  'annotations',
  'items',
  'selector',
  'matchLabels',
  'rules',
  'from',
  'to',
  'source',
  'operation',
  'when',
  'key',
  'values',
  'principals',
  'paths',
  'mtls',
  'mode',
  'portLevelMtls',
  'hosts',
  'ports',
  'number',
  'endpoints',
  'address',
  'trafficPolicy',
  'tls',
  'egress',
  'port',
  'defaultConfig',
  'tracing',
  'extensionProviders',
  'opentelemetry',
  '<<',
  '__proto__',
];
const WORDS = [
  'security.istio.io/v1',
  'networking.istio.io/v1',
  'PeerAuthentication',
  'AuthorizationPolicy',
  'ServiceEntry',
  'DestinationRule',
  'Sidecar',
  'MeshConfig',
  'List',
  'it',
  'STRICT',
  'DENY',
  '10.0.0.0/8',
  'a.com',
  '/{*}/{**}',
  'request.headers[x]',
  '80',
  'no',
  '~',
  '',
  '\u0000\u001b',
];

/** Documents of the right words in any arrangement: far closer to a manifest than random text. */
const manifest = fc.letrec(tie => ({
  value: fc.oneof(
    { maxDepth: 6 },
    fc.constantFrom(...WORDS),
    fc.oneof(fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.string()),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('map'),
  ),
  map: fc.dictionary(fc.oneof(fc.constantFrom(...FIELDS), fc.string()), tie('value'), { maxKeys: 6 }),
})).map;

const head = fc.record({
  apiVersion: fc.constantFrom('security.istio.io/v1', 'networking.istio.io/v1'),
  kind: fc.constantFrom(
    'PeerAuthentication',
    'AuthorizationPolicy',
    'ServiceEntry',
    'DestinationRule',
    'Sidecar',
  ),
  metadata: fc.constant({ name: 'it' }),
});

/** Every fault of a result has a place in the file and something to say. */
function wellSaid(text: string, name?: string): boolean {
  const lines = text.split('\n').length;
  const result = loadText(text, name);
  const faults = result.ok ? result.warnings : result.faults;
  return faults.every(
    ({ line, column, message }) =>
      line >= 1 && line <= lines + 1 && column >= 1 && message !== '' && !/undefined|\[object/.test(message),
  );
}

t.test('no text makes the loader throw, and every fault has its place', async t => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), text => wellSaid(text)),
    { numRuns: 300 },
  );
  t.pass('any text');
});

t.test('no arrangement of the right words does', async t => {
  fc.assert(
    fc.property(manifest, fc.boolean(), (value, mesh) =>
      wellSaid(JSON.stringify(value), mesh ? 'mesh.yaml' : undefined),
    ),
    { numRuns: 400 },
  );
  t.pass('any arrangement');
});

t.test('no spec of a known kind does', async t => {
  fc.assert(
    fc.property(head, manifest, (start, spec) => wellSaid(JSON.stringify({ ...start, spec }, null, 1))),
    { numRuns: 400 },
  );
  t.pass('any spec');
});

t.test('no cut of a right manifest does', async t => {
  const whole =
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: &m {name: it}\nspec:\n  rules:\n  - from:\n    - source: {principals: ["a"]}\n    when: [{key: "request.headers[x]", values: [\'y\', |\n b]}]\n';
  for (let i = 0; i <= whole.length; i++) t.ok(wellSaid(whole.slice(0, i)), whole.slice(0, i));
});
