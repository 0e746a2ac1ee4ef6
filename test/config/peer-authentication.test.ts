import t from 'tap';
import { type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('security.istio.io/v1', 'PeerAuthentication');
const selected = 'selector: {matchLabels: {app: web}}';

const CASES: readonly Case[] = [
  { title: 'an empty spec is valid: UNSET', text: '{}' },
  { title: 'STRICT for the namespace', text: '{mtls: {mode: STRICT}}' },
  { title: 'UNSET may be written', text: '{mtls: {mode: UNSET}}' },
  { title: 'mtls without a mode is UNSET', text: '{mtls: {}}' },
  {
    title: 'ports of a selected workload',
    text: `{${selected}, portLevelMtls: {8080: {mode: DISABLE}, 9090: {}}}`,
  },
  {
    title: 'modes are upper case',
    text: '{mtls: {mode: §strict}}',
    faults: ['error spec.mtls.mode: "strict" is not one of UNSET, DISABLE, PERMISSIVE, STRICT; write STRICT'],
  },
  {
    title: 'a bare word that YAML 1.1 reads as a boolean is no mode',
    text: '{mtls: {mode: §on}}',
    faults: [
      'error spec.mtls.mode: must be a string, not the boolean true (YAML reads on so); quote it: "on"',
    ],
  },
  {
    title: 'a mode is a string, not a number of the enum',
    text: '{mtls: {mode: §3}}',
    faults: ['error spec.mtls.mode: must be a string, not the number 3'],
  },
  {
    title: 'null is refused, as by the resource definition',
    text: '{§mtls: , selector: {matchLabels: {a: b}}}',
    faults: ['error spec.mtls: is empty; give it a value or remove the field'],
  },
  {
    title: 'a field that nobody knows is refused, with what was meant',
    text: '{§mtsl: {mode: STRICT}}',
    faults: ['error spec.mtsl: unknown field; did you mean mtls?'],
  },
  {
    title: 'a field inside a port is checked too',
    text: `{${selected}, portLevelMtls: {8080: {§node: STRICT}}}`,
    faults: ['error spec.portLevelMtls.8080.node: unknown field; did you mean mode?'],
  },
  {
    title: 'ports need a selector',
    text: '{portLevelMtls: §{8080: {mode: STRICT}}}',
    faults: ['error spec.portLevelMtls: needs a selector'],
  },
  {
    title: 'ports without a port are refused',
    text: `{${selected}, portLevelMtls: §{}}`,
    faults: ['error spec.portLevelMtls: has no port'],
  },
  {
    title: 'port 0 is not a port',
    text: `{${selected}, portLevelMtls: {§0: {mode: STRICT}}}`,
    faults: ['error spec.portLevelMtls: "0" is not a port from 1 to 65535'],
  },
  {
    title: 'port 65536 is not a port',
    text: `{${selected}, portLevelMtls: {65535: {}, §65536: {}}}`,
    faults: ['error spec.portLevelMtls: "65536" is not a port from 1 to 65535'],
  },
  {
    title: 'a port with a leading zero or a name is not a port',
    text: `{${selected}, portLevelMtls: {§"080": {}, §http: {}}}`,
    faults: [
      'error spec.portLevelMtls: "080" is not a port',
      'error spec.portLevelMtls: "http" is not a port',
    ],
  },
  {
    title: 'an empty selector selects everything, with a warning',
    text: '{selector: §{}}',
    faults: ['warning spec.selector: has no matchLabels'],
  },
  {
    title: 'wildcards are refused in selectors',
    text: '{selector: {matchLabels: {app: §"*", "a*": §b}}}',
    faults: [
      'error spec.selector.matchLabels.app: selectors take no wildcard ("app=*")',
      'error spec.selector.matchLabels.a*: selectors take no wildcard ("a*=b")',
    ],
  },
  {
    title: 'a label has a name',
    text: '{selector: {matchLabels: {"": §x}}}',
    faults: ['error spec.selector.matchLabels.: a label has a name'],
  },
  { title: 'a label value may be empty', text: '{selector: {matchLabels: {app: ""}}}' },
  {
    title: 'a label value is a string',
    text: '{selector: {matchLabels: {version: §1}}}',
    faults: ['error spec.selector.matchLabels.version: must be a string, not the number 1; quote it: "1"'],
  },
  {
    title: 'a label value has 63 characters at most',
    text: `{selector: {matchLabels: {app: §${'x'.repeat(64)}}}}`,
    faults: ['error spec.selector.matchLabels.app: has more than 63 characters'],
  },
  {
    title: 'it cannot be bound to a target',
    text: '{§targetRefs: [{kind: Service, name: x}]}',
    faults: ['error spec.targetRefs: unknown field'],
  },
];

runCases(CASES, wrap);

t.test('the dry-run annotation is refused', async t => {
  const result = loadText(
    'apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: it, annotations: {istio.io/dry-run: "true"}}\n',
  );
  t.match(result, { ok: false, faults: [{ line: 3, severity: 'error', message: /dry-run has no meaning/ }] });
});

t.test('modes and ports come out as data, UNSET as null, ports in order', async t => {
  const result = loadText(
    wrap(`{${selected}, mtls: {mode: UNSET}, portLevelMtls: {9090: {}, 80: {mode: STRICT}}}`),
  );
  t.match(result, {
    ok: true,
    resources: {
      peerAuthentications: [
        {
          kind: 'PeerAuthentication',
          metadata: { namespace: 'foo', name: 'it', createdAt: 0 },
          origin: { line: 1, column: 1 },
          selector: { app: 'web' },
          mode: null,
          ports: [
            { port: 80, mode: 'STRICT' },
            { port: 9090, mode: null },
          ],
        },
      ],
    },
  });
});
