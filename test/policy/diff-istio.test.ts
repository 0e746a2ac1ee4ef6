import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { describeDifference } from '../../scripts/difference.ts';
import { agrees } from '../../scripts/istio-cases.ts';
import { readCase, readCaseFile, signToken } from './case-file.ts';

const ROOT = join(import.meta.dirname, '../..');

function judge(env: NodeJS.ProcessEnv): Promise<{ code: number; stdout: string }> {
  return new Promise(done => {
    const args = [join(ROOT, 'scripts/diff-istio.ts')];
    execFile(process.execPath, args, { env, timeout: 60_000 }, (error, stdout) => {
      done({ code: error === null ? 0 : Number(error.code ?? -1), stdout });
    });
  });
}

t.test('without what it needs the judge says all of it in one line and ends with 0', async t => {
  const empty = t.testdir();
  const { code, stdout } = await judge({ PATH: empty, ISTIO_REAL_DIR: empty });
  t.equal(code, 0);
  t.equal(stdout.split('\n').length, 2, 'one line');
  for (const name of [empty, 'Go', 'Python 3 with venv', 'iproute2', 'unshare']) t.match(stdout, name);
});

t.test('only what is expected is compared; null is absent', async t => {
  const got = { decision: 'deny', status: 403, dryRun: [{ policy: 'foo/p', decision: 'deny' }] };
  t.ok(agrees({ decision: 'deny' }, got));
  t.ok(agrees({ reason: null }, got));
  t.ok(agrees({ dryRun: [{ policy: 'foo/p' }] }, got));
  t.notOk(agrees({ status: null }, got));
  t.notOk(agrees({ status: 401 }, got));
  t.notOk(agrees({ dryRun: [] }, got));
  t.notOk(agrees({ reason: 'x' }, got));
});

t.test('a difference becomes a case file that can be read, with the manifests that concern it', async t => {
  const policy = (name: string, namespace: string) =>
    JSON.stringify({
      apiVersion: 'security.istio.io/v1',
      kind: 'AuthorizationPolicy',
      metadata: { name, namespace },
      spec: { rules: [{}] },
    });
  const folder = t.testdir({
    '00.yaml': policy('own', 'foo'),
    '01.yaml': policy('other', 'bar'),
    '02.yaml': policy('root', 'istio-system'),
    'mesh.yaml': '{"kind": "MeshConfig", "trustDomain": "a.example"}',
  });
  const scratch = join(folder, 'scratch');
  const request = {
    id: 'Z-1-1',
    workload: { namespace: 'foo', labels: { app: 'web' } },
    protocol: 'http2',
    source: { ip: '10.0.0.9', principal: 'spiffe://a.example/ns/foo/sa/web' },
    destination: { ip: '10.1.0.1', port: 8085 },
    sni: 'a.com',
    request: {
      method: 'GET',
      path: '/x?q=1',
      host: 'a.com',
      headers: { 'x-foo': ['a', 'b'], authorization: [`Bearer ${signToken({ iss: 'me', sub: 'alice' })}`] },
    },
  };
  const difference = {
    kind: 'explain' as const,
    folder,
    why: 'seed 1: deny',
    request,
    expect: { decision: 'deny' },
    got: { decision: 'allow' },
  };
  const said = describeDifference(1, difference, scratch);
  t.match(said, 'npm run diff:istio -- --seed 1 --keep');
  const file = join(scratch, 'differences', '1-Z-1-1.yaml');
  t.match(said, file);
  const { resources, tables } = readCaseFile(file, scratch);
  t.same(
    resources.authorizationPolicies.map(({ metadata }) => metadata.name),
    ['own', 'root'],
  );
  t.equal(resources.mesh.trustDomain, 'a.example');
  t.same(tables[0]?.workload, request.workload);
  const read = readCase(tables[0]!.cases[0]!);
  t.equal(read.decision, 'deny');
  t.match(read.request, {
    protocol: 'http2',
    sni: 'a.com',
    source: request.source,
    destination: request.destination,
    request: { method: 'GET', path: '/x?q=1', headers: { 'x-foo': ['a', 'b'] } },
  });
  t.match(readFileSync(file, 'utf8'), '# {"id":"Z-1-1"', 'the request as it was is above it');
});
