import t from 'tap';
import { workloadFacts } from '../../src/telemetry/workload.ts';

const BARE = {
  name: null,
  namespace: 'foo',
  serviceAccount: 'sleep',
  labels: {},
  cluster: null,
  domain: 'cluster.local',
};

t.test('a workload without labels goes by its service account, and its service is unknown', async t => {
  t.same(workloadFacts(BARE), {
    name: 'sleep',
    namespace: 'foo',
    app: null,
    version: null,
    canonicalService: 'sleep',
    canonicalRevision: 'latest',
    cluster: null,
    service: null,
  });
  t.equal(workloadFacts({ ...BARE, serviceAccount: '' }).name, 'unknown');
});

t.test('labels name it, the canonical ones first', async t => {
  t.match(workloadFacts({ ...BARE, labels: { app: 'a', version: 'v1' } }), {
    name: 'a',
    app: 'a',
    version: 'v1',
    canonicalService: 'a',
    canonicalRevision: 'v1',
    service: 'a.foo.svc.cluster.local',
  });
  t.match(
    workloadFacts({
      ...BARE,
      name: 'httpbin-v2',
      labels: {
        app: 'a',
        'app.kubernetes.io/name': 'b',
        'app.kubernetes.io/version': 'v3',
        'service.istio.io/canonical-name': 'c',
        'service.istio.io/canonical-revision': 'v2',
      },
    }),
    { name: 'httpbin-v2', app: 'a', version: 'v3', canonicalService: 'c', canonicalRevision: 'v2' },
  );
});
