/** Whatever a pod looks like: no throw, one sidecar, the same on every way, and nothing new the second time. */
import fc from 'fast-check';
import t from 'tap';
import { parse } from 'yaml';
import { INJECT, INTERCEPTION_MODE } from '../../src/inject/annotations.ts';
import { type Edit, editsBetween } from '../../src/inject/json-patch.ts';
import { type Json, type JsonObject, objectOf, textOf } from '../../src/inject/json-value.ts';
import { injectText, KUBERNETES_YAML } from '../../src/inject/manifests.ts';
import { type InjectSettings, injectPod } from '../../src/inject/pod.ts';
import { ownTemplate } from '../../src/inject/template.ts';

t.setTimeout(120_000); // a busy machine

const own = ownTemplate();
if (!own.ok) throw new Error(own.message);
const SETTINGS: InjectSettings = {
  template: own.template,
  image: 'outrider:test',
  imagePullPolicy: null,
  captureImage: null,
  identity: 'csi',
  spireSocket: 'agent.sock',
  configMap: 'policies',
  classic: false,
};
const OWNER = { kind: 'Pod', namespace: 'shop', name: 'web' };

const word = fc.constantFrom('web', 'cache', 'istio-init', 'http', 'true', '');
const junk = fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<Json>;
const port = fc.oneof(fc.constantFrom<Json>('http', '80', 8080, -1), junk);
const action = fc.record<JsonObject>({ port, host: word, path: word } as never, { requiredKeys: [] });
const probe = fc.oneof(
  junk,
  fc.record({ httpGet: action, tcpSocket: action, grpc: action, timeoutSeconds: junk } as never, {
    requiredKeys: [],
  }),
);
const container = fc.record(
  {
    name: word,
    ports: fc.oneof(junk, fc.constant([{ name: 'http', containerPort: 8080 }])),
    livenessProbe: probe,
    startupProbe: probe,
    lifecycle: fc.oneof(junk, fc.record({ preStop: probe })),
    restartPolicy: fc.constantFrom('Always', 'Never'),
  } as never,
  { requiredKeys: [] },
);
const containers = fc.oneof(
  { weight: 1, arbitrary: junk },
  { weight: 9, arbitrary: fc.array(container, { maxLength: 3 }) },
);
const annotations = fc.oneof(
  junk,
  fc.dictionary(
    fc.constantFrom(INJECT, INTERCEPTION_MODE, 'proxy.istio.io/config', 'a/b'),
    fc.oneof(junk, word),
  ),
);
const pod = fc.record(
  {
    metadata: fc.oneof(junk, fc.record({ labels: annotations, annotations } as never, { requiredKeys: [] })),
    spec: fc.record({ containers, initContainers: containers, volumes: containers } as never, {
      requiredKeys: [],
    }),
  } as never,
  { requiredKeys: ['spec'] as never },
) as unknown as fc.Arbitrary<JsonObject>;

/** RFC 6902, in the plainest way. */
function apply(value: Json, edits: readonly Edit[]): Json {
  const root = { value: structuredClone(value) as unknown };
  for (const edit of edits) {
    const path: (string | number)[] = ['value', ...edit.path];
    const last = path.pop() as string;
    const target = path.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], root);
    if (edit.op === 'remove') delete (target as Record<string, unknown>)[last];
    else if (edit.op === 'add' && Array.isArray(target))
      target.splice(Number(last), 0, structuredClone(edit.value));
    else (target as Record<string, unknown>)[last] = structuredClone(edit.value);
  }
  return root.value as Json;
}

t.test('a pod is left, refused, or injected once', async t => {
  const outcomes = { left: 0, refused: 0, injected: 0 };
  fc.assert(
    fc.property(pod, one => {
      const outcome = injectPod(one, OWNER, SETTINGS);
      outcomes[outcome.is]++;
      if (outcome.is !== 'injected') return;
      const again = injectPod(outcome.pod, OWNER, SETTINGS);
      if (again.is !== 'left') throw new Error(`the second time: ${again.is}`);
      const patched = apply(one, editsBetween(one, outcome.pod));
      if (JSON.stringify(sorted(patched)) !== JSON.stringify(sorted(outcome.pod)))
        throw new Error('another pod');
    }),
    { numRuns: 1_000, seed: 7 },
  );
  t.ok(outcomes.injected > 100 && outcomes.left > 30 && outcomes.refused > 30, JSON.stringify(outcomes));
});

t.test('a YAML file holds the pod that the edits make, and a second run changes nothing', async t => {
  fc.assert(
    fc.property(pod, one => {
      const document = { apiVersion: 'v1', kind: 'Pod', ...one };
      const source = `# kept\n${JSON.stringify(document)}\n`;
      const first = injectText(source, 'f', SETTINGS);
      if (first.text === '' || first.injected === 0) return;
      const { metadata } = one;
      const name = textOf(objectOf(metadata).name);
      const outcome = injectPod(document, { kind: 'Pod', namespace: '', name }, SETTINGS);
      const read = parse(first.text, KUBERNETES_YAML as object) as Json;
      const expected = outcome.is === 'injected' ? outcome.pod : null;
      if (JSON.stringify(sorted(read)) !== JSON.stringify(sorted(expected))) throw new Error('another pod');
      if (!first.text.startsWith('# kept\n')) throw new Error('the comment is gone');
      if (injectText(first.text, 'f', SETTINGS).text !== first.text)
        throw new Error('the second run changed it');
    }),
    { numRuns: 200, seed: 7 },
  );
  t.pass();
});

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value as JsonObject).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, one]) => [name, sorted(one)]));
}
