import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadManifests } from '../../src/config/manifest.ts';
import { type Case, faultsOf, loadText, runCases } from './cases.ts';

const named = (name: string, extra = ''): string =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}${extra}}\n`;

const DOCUMENTS: readonly Case[] = [
  { title: 'spec may be absent', text: named('it') },
  { title: 'status may be there', text: `${named('it')}status: {conditions: []}\n` },
  { title: 'the namespace may be absent', text: named('it') },
  { title: 'a comment is no document', text: '# nothing here\n' },
  {
    title: "Kubernetes' own metadata is passed over",
    text: `${named('it', ', uid: 1, resourceVersion: "7", managedFields: [], labels: {a: b}, annotations: null, creationTimestamp: null')}`,
  },
  {
    title: 'spec is not null',
    text: `${named('it')}spec: §null\n`,
    faults: ['error spec: is empty; give it a value or remove the field'],
  },
  {
    title: 'spec is a mapping',
    text: `${named('it')}spec: §[]\n`,
    faults: ['error spec: must be a mapping, not a list'],
  },
  {
    title: 'a field beside spec is refused',
    text: `${named('it')}§mtls: {mode: STRICT}\n`,
    faults: ['error mtls: unknown field'],
  },
  {
    title: 'metadata is needed',
    text: '§apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n',
    faults: ['error metadata: is missing; give the resource a metadata.name'],
  },
  {
    title: 'a name is needed',
    text: 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: §{namespace: foo}\n',
    faults: ['error metadata.name: is missing; give the resource a name'],
  },
  {
    title: 'a bare n is no name',
    text: 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: §n}\n',
    faults: ['error metadata.name: must be a string, not the boolean false (YAML reads n so); quote it: "n"'],
  },
  {
    title: 'names have the letters of Kubernetes',
    text: 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: §"a/b]", namespace: §"x y"}\n',
    faults: [
      'error metadata.name: "a/b]" is not a Kubernetes name',
      'error metadata.namespace: "x y" is not a Kubernetes name',
    ],
  },
  {
    title: 'annotations are strings',
    text: named('it', ', annotations: {a: §1}'),
    faults: ['error metadata.annotations.a: must be a string'],
  },
  {
    title: "annotations that are Istio's own are refused on whatever they stand",
    text: named('it').replace('{name: it', '{name: it, annotations: §{internal.istio.io/parents: x}'),
    faults: ['error metadata.annotations: internal.istio.io/parents may not be set; remove it'],
  },
  {
    title: 'labels are strings',
    text: named('it').replace('{name: it', '{name: it, labels: {a: b, c: §1}'),
    faults: ['error metadata.labels.c: must be a string, not the number 1; quote it: "1"'],
  },
  {
    title: 'the time of creation is a time',
    text: named('it', ', creationTimestamp: §yesterday'),
    faults: ['error metadata.creationTimestamp: "yesterday" is not a time'],
  },
  {
    title: 'a document is a mapping',
    text: '§just words\n',
    faults: ['error must be a mapping with apiVersion, kind, metadata and spec, not a string'],
  },
  {
    title: 'a kind is needed',
    text: '§apiVersion: security.istio.io/v1\nmetadata: {name: it}\n',
    faults: ['error kind: is missing; write one of PeerAuthentication'],
  },
  {
    title: 'an apiVersion is needed',
    text: '§kind: PeerAuthentication\nmetadata: {name: it}\n',
    faults: [
      'error apiVersion: is missing; a PeerAuthentication has security.istio.io/v1 or security.istio.io/v1beta1',
    ],
  },
  {
    title: 'a security kind of another version or group is refused, not passed over',
    text: 'apiVersion: §security.istio.io/v1alpha1\nkind: PeerAuthentication\nmetadata: {name: it}\n---\napiVersion: §example.com/v1\nkind: AuthorizationPolicy\nmetadata: {name: it}\n',
    faults: [
      'error apiVersion: "security.istio.io/v1alpha1"; a PeerAuthentication has',
      'error apiVersion: "example.com/v1"',
    ],
  },
  {
    title: 'a kind of another group with the same name is passed over',
    text: 'apiVersion: example.com/v1\nkind: §Sidecar\nspec: whatever\n',
    faults: ['warning kind: Sidecar is not a kind that Outrider reads; it is passed over'],
  },
  {
    title: 'RequestAuthentication is a kind of security.istio.io',
    text: 'apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: it}\n---\napiVersion: §security.istio.io/v2\nkind: RequestAuthentication\nmetadata: {name: other}\n',
    faults: ['error apiVersion: "security.istio.io/v2"; a RequestAuthentication has security.istio.io/v1 or'],
  },
  {
    title: 'kinds that are not implemented are passed over with a warning',
    text: 'apiVersion: networking.istio.io/v1\nkind: §VirtualService\nmetadata: {name: it}\n---\napiVersion: networking.istio.io/v1\nkind: §WorkloadEntry\n',
    faults: [
      'warning kind: VirtualService is not supported yet; it is passed over and has no effect',
      'warning kind: WorkloadEntry is not supported yet',
    ],
  },
  {
    title: 'kinds that nobody knows are passed over with a warning and what was meant',
    text: 'apiVersion: v1\nkind: §ConfigMap\n---\napiVersion: security.istio.io/v1\nkind: §AuthorisationPolicy\n',
    faults: [
      'warning kind: ConfigMap is not a kind that Outrider reads',
      'warning kind: AuthorisationPolicy is not a kind that Outrider reads; it is passed over; did you mean AuthorizationPolicy?',
    ],
  },
  {
    title: 'a List is taken apart',
    text: `apiVersion: v1\nkind: List\nitems:\n- ${named('a').trim().replaceAll('\n', '\n  ')}\n- ${named('b').trim().replaceAll('\n', '\n  ')}\n  spec: {mtls: {mode: §NONE}}\n- §x\n`,
    faults: ['error spec.mtls.mode: "NONE" is not one of', 'error items: must hold mappings'],
  },
  {
    title: 'a List has items',
    text: '§apiVersion: v1\nkind: List\n',
    faults: ['error items: a List has its resources under items'],
  },
  {
    title: 'a syntax error has its place',
    text: `${named('it')}spec: {mtls: {mode: STRICT}\n§---\n`,
    faults: ['error is not valid YAML'],
  },
  {
    title: 'a repeated field is refused where it repeats',
    text: `${named('it')}spec:\n  mtls: {mode: STRICT}\n  §mtls: {mode: DISABLE}\n`,
    faults: ['error the field mtls is written twice; keep one'],
  },
];

runCases(DOCUMENTS, text => text);

function folder(t: Test, files: Readonly<Record<string, string>> = {}): (...parts: string[]) => string {
  const root = mkdtempSync(join(tmpdir(), 'outrider-manifests-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  return (...parts) => join(root, ...parts);
}

function names(...paths: string[]): readonly string[] {
  const loaded = loadManifests(paths);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.faults));
  return loaded.resources.peerAuthentications.map(({ metadata }) => metadata.name);
}

t.test('the same name twice is refused, and both places are named', async t => {
  const at = folder(t, { 'a.yaml': named('x'), 'b.yaml': `# here\n${named('x')}` });
  t.match(loadManifests([at()]), {
    ok: false,
    faults: [
      {
        file: at('b.yaml'),
        line: 2,
        name: 'default/x',
        message: `PeerAuthentication default/x is defined twice; the first is at ${at('a.yaml')}:1; rename or remove one`,
      },
    ],
  });
});

t.test('the same name in another namespace or of another kind is another resource', async t => {
  const other = named('x').replace('PeerAuthentication', 'AuthorizationPolicy');
  t.ok(loadText(`${named('x')}---\n${named('x', ', namespace: foo')}---\n${other}`).ok);
});

t.test('a folder gives its own YAML and JSON files in the order of their names', async t => {
  const at = folder(t, {
    'b.yaml': named('b'),
    'a.yml': named('a'),
    'c.json':
      '{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "c"}}',
    'README.md': 'not [ YAML',
    '.hidden.yaml': 'not [ YAML',
  });
  mkdirSync(at('sub.yaml'));
  writeFileSync(at('sub.yaml', 'd.yaml'), 'not [ YAML');
  t.same(names(at()), ['a', 'b', 'c']);
});

t.test('paths come in the order given, a file that two of them reach once', async t => {
  const at = folder(t, { 'a.yaml': named('a'), 'b.yaml': named('b'), 'notes.txt': named('c') });
  t.same(names(at('b.yaml'), at(), at('notes.txt'), at('b.yaml')), ['b', 'a', 'c']);
});

t.test('a ConfigMap mount is read through its links, once', async t => {
  const at = folder(t);
  mkdirSync(at('..2026_01_01'));
  writeFileSync(at('..2026_01_01', 'a.yaml'), named('a'));
  symlinkSync('..2026_01_01', at('..data'));
  symlinkSync(join('..data', 'a.yaml'), at('a.yaml'));
  t.same(names(at()), ['a']);
});

t.test('a path that is not there, or empty, is one clear fault', async t => {
  const at = folder(t);
  t.same(faultsOf(loadManifests([at('none')])), [
    {
      file: at('none'),
      line: 1,
      column: 1,
      severity: 'error',
      kind: '',
      name: '',
      message: 'there is no such file or folder',
    },
  ]);
  t.match(loadManifests(['']), {
    ok: false,
    faults: [{ message: 'the path is empty; name a file or a folder' }],
  });
});

t.test('a named pipe is a fault, and is not waited for', async t => {
  const at = folder(t);
  execFileSync('mkfifo', [at('a.yaml')]);
  t.match(loadManifests([at()]), { ok: false, faults: [{ file: at('a.yaml'), message: 'is not a file' }] });
  t.match(loadManifests([at('a.yaml')]), {
    ok: false,
    faults: [{ message: 'is neither a file nor a folder' }],
  });
});

t.test('a link that leads nowhere is a fault of the link', async t => {
  const at = folder(t, { 'b.yaml': named('b') });
  symlinkSync('nowhere', at('a.yaml'));
  t.match(loadManifests([at()]), {
    ok: false,
    faults: [{ file: at('a.yaml'), message: 'there is no such file or folder' }],
  });
});

t.test(
  'a file that may not be read is a fault',
  { skip: process.getuid?.() === 0 && 'root reads everything' },
  async t => {
    const at = folder(t, { 'a.yaml': named('a') });
    chmodSync(at('a.yaml'), 0);
    t.match(loadManifests([at()]), { ok: false, faults: [{ message: 'cannot be read: permission denied' }] });
  },
);

t.test('a file that is empty, not UTF-8, or too large is a fault', async t => {
  const at = folder(t, { 'a.yaml': ' \n' });
  writeFileSync(at('b.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xff]));
  writeFileSync(at('c.yaml'), '#'.repeat(8 * 1024 * 1024 + 1));
  t.match(loadManifests([at()]), {
    ok: false,
    faults: [
      { file: at('a.yaml'), message: /^is empty: half written/ },
      { file: at('b.yaml'), message: 'is not UTF-8 text' },
      { file: at('c.yaml'), message: /^has more than 8388608 bytes/ },
    ],
  });
});

t.test('a folder without manifests is a warning', async t => {
  const at = folder(t);
  t.match(loadManifests([at()]), {
    ok: true,
    warnings: [{ severity: 'warning', message: /holds no \.yaml/ }],
  });
});

t.test('one error anywhere refuses the whole', async t => {
  const at = folder(t, { 'a.yaml': named('a'), 'b.yaml': 'a: [' });
  t.notOk(loadManifests([at()]).ok);
});

t.test('the result is frozen to its depth and crosses threads', async t => {
  const result = loadText(
    `${named('a')}spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: STRICT}}}\n`,
  );
  if (!result.ok) throw new Error('refused');
  t.same(structuredClone(result), result);
  const [policy] = result.resources.peerAuthentications;
  for (const value of [
    result,
    result.resources,
    result.resources.mesh,
    policy,
    policy?.selector,
    policy?.ports,
    policy?.ports[0],
  ]) {
    t.ok(Object.isFrozen(value));
  }
});

t.test('the time of creation is read in milliseconds, in any zone', async t => {
  const result = loadText(
    `${named('a', ', creationTimestamp: 2026-01-31T12:00:00Z')}---\n${named('b', ', creationTimestamp: "2026-01-31T13:00:00+01:00"')}---\n${named('c')}`,
  );
  t.match(result.ok && result.resources.peerAuthentications.map(({ metadata }) => metadata.createdAt), [
    Date.UTC(2026, 0, 31, 12),
    Date.UTC(2026, 0, 31, 12),
    0,
  ]);
});

t.test(
  "kubectl's copy of the resource, which may hold a secret key, is not kept among the annotations",
  async t => {
    const text = named('it').replace(
      '{name: it',
      '{name: it, annotations: {a: b, kubectl.kubernetes.io/last-applied-configuration: \'{"k":"SECRET"}\'}',
    );
    const result = loadText(text);
    t.match(result, {
      ok: true,
      resources: { peerAuthentications: [{ metadata: { annotations: { a: 'b' } } }] },
    });
    t.notMatch(JSON.stringify(result), 'SECRET');
  },
);

t.test('the digest tells other bytes and other names', async t => {
  const at = folder(t, { 'a.yaml': named('a') });
  const first = loadManifests([at()]).digest;
  t.equal(loadManifests([at()]).digest, first);
  writeFileSync(at('a.yaml'), `${named('a')}# more\n`);
  const second = loadManifests([at()]).digest;
  t.not(second, first);
  writeFileSync(at('b.yaml'), '# nothing\n');
  t.not(loadManifests([at()]).digest, second);
});

t.test('a PeerAuthentication that another one puts out of force is a warning', async t => {
  const result = loadText(
    [
      named('b', ', namespace: foo'),
      named('a', ', namespace: foo'),
      named('old', ', namespace: bar, creationTimestamp: 2020-01-01T00:00:00Z'),
      named('new', ', namespace: bar, creationTimestamp: 2021-01-01T00:00:00Z'),
      `${named('root', ', namespace: istio-system')}spec: {selector: {matchLabels: {a: b}}}\n`,
      `${named('one', ', namespace: foo')}spec: {selector: {matchLabels: {a: b}}}\n`,
      named('mesh', ', namespace: istio-system'),
    ].join('---\n'),
  );
  const said = faultsOf(result).map(({ line, name, message }) => `${line} ${name} ${message}`);
  t.equal(said.length, 3, said.join('\n'));
  t.ok(
    said.some(line =>
      /^1 foo\/b has no effect: a selects the same workloads and comes first by name/.test(line),
    ),
  );
  t.ok(said.some(line => /bar\/new has no effect: old selects the same workloads and is older/.test(line)));
  t.ok(
    said.some(line =>
      /istio-system\/root has no effect: one with a selector in the root namespace/.test(line),
    ),
  );
});
