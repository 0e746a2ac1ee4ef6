import t from 'tap';
import type { MtlsMode, PeerAuthentication, Selector } from '../../src/config/resources.ts';
import { effectiveMtls, mtlsModeFor } from '../../src/policy/peer-authentication.ts';

const ROOT = 'root-namespace';
const workload = { namespace: 'my-ns', labels: { app: 'foo' } };
const FOO: Selector = { app: 'foo' };

interface Given {
  readonly namespace?: string;
  readonly name?: string;
  readonly selector?: Selector;
  readonly mode?: MtlsMode | null;
  readonly ports?: Record<number, MtlsMode | null>;
  readonly createdAt?: number;
}

const mesh = (mode: MtlsMode | null, given: Given = {}) => policy({ namespace: ROOT, mode, ...given });
const ns = (mode: MtlsMode | null, given: Given = {}) => policy({ mode, ...given });
const ofWorkload = (mode: MtlsMode | null, given: Given = {}) => policy({ selector: FOO, mode, ...given });

function policy(given: Given): PeerAuthentication {
  return {
    kind: 'PeerAuthentication',
    metadata: {
      namespace: given.namespace ?? 'my-ns',
      name: given.name ?? 'default',
      createdAt: given.createdAt ?? 0,
      annotations: {},
    },
    origin: { file: 'test', line: 1, column: 1 },
    selector: given.selector ?? null,
    mode: given.mode ?? null,
    ports: Object.entries(given.ports ?? {}).map(([port, mode]) => ({ port: Number(port), mode })),
  };
}

const TABLE: readonly (readonly [string, readonly PeerAuthentication[], MtlsMode])[] = [
  ['no policy', [], 'PERMISSIVE'],
  ['mesh STRICT', [mesh('STRICT')], 'STRICT'],
  ['the namespace overrides the mesh', [mesh('STRICT'), ns('PERMISSIVE')], 'PERMISSIVE'],
  ['a selector in the root namespace is never used', [mesh('STRICT', { selector: FOO })], 'PERMISSIVE'],
  ['UNSET at every level', [ns(null), ofWorkload(null)], 'PERMISSIVE'],
  ['the order of files does not matter', [ns('PERMISSIVE'), mesh('DISABLE')], 'PERMISSIVE'],
  [
    'of several mesh policies the oldest, of equals the first by name',
    [
      mesh('DISABLE', { createdAt: 2000, name: 'a' }),
      mesh('STRICT', { createdAt: 1000, name: 'c' }),
      mesh('PERMISSIVE', { createdAt: 1000, name: 'b' }),
    ],
    'PERMISSIVE',
  ],
  [
    'of several namespace policies, too',
    [
      ns('DISABLE', { createdAt: 2000, name: 'a' }),
      ns('STRICT', { createdAt: 1000, name: 'c' }),
      ns('PERMISSIVE', { createdAt: 1000, name: 'b' }),
    ],
    'PERMISSIVE',
  ],
  [
    'of several workload policies that select it',
    [
      ofWorkload('DISABLE', { createdAt: 2000, name: 'a' }),
      ofWorkload('PERMISSIVE', { createdAt: 1000, name: 'b' }),
      policy({ mode: 'STRICT', createdAt: 500, name: 'c', selector: { app: 'bar' } }),
    ],
    'PERMISSIVE',
  ],
  ['mesh UNSET', [mesh(null)], 'PERMISSIVE'],
  ['a workload policy without a mode inherits the mesh', [mesh('STRICT'), ofWorkload(null)], 'STRICT'],
  ['and the namespace', [ns('STRICT'), ofWorkload(null)], 'STRICT'],
  ['through a namespace that is UNSET', [mesh('STRICT'), ns(null), ofWorkload(null)], 'STRICT'],
  ['the workload overrides both', [mesh('STRICT'), ns('STRICT'), ofWorkload('DISABLE')], 'DISABLE'],
  ['another namespace', [policy({ namespace: 'other', mode: 'STRICT' })], 'PERMISSIVE'],
];

t.test('the mode of a workload', t => {
  for (const [says, policies, mode] of TABLE) {
    t.equal(effectiveMtls({ policies, workload, rootNamespace: ROOT }).mode, mode, says);
  }
  t.end();
});

t.test('a workload that lives in the root namespace has the mesh policy only', t => {
  const policies = [mesh('STRICT'), mesh('DISABLE', { selector: FOO, name: 'x' })];
  const inRoot = { namespace: ROOT, labels: { app: 'foo' } };
  t.equal(effectiveMtls({ policies, workload: inRoot, rootNamespace: ROOT }).mode, 'STRICT');
  t.end();
});

t.test('ports of the workload policy, where UNSET is the mode of the workload', t => {
  const ports = { 80: 'DISABLE', 90: null } as const;
  const policies = [mesh('STRICT'), ofWorkload(null, { ports, name: 'b' })];
  const losing = ofWorkload(null, { ports: { 8080: 'DISABLE' }, name: 'c' });
  const effective = effectiveMtls({ policies: [...policies, losing], workload, rootNamespace: ROOT });
  t.equal(mtlsModeFor(effective, 80), 'DISABLE');
  t.equal(mtlsModeFor(effective, 90), 'STRICT');
  t.equal(mtlsModeFor(effective, 8080), 'STRICT', 'a policy that lost adds no ports');
  t.equal(effective.source, policies[0], 'the policy that set the mode is named');
  t.end();
});
