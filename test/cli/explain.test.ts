import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { type DescribedByFlags, type ExplainOptions, runExplain } from '../../src/cli/explain.ts';

const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: foo}
spec:
  rules:
    - from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]
      to: [{operation: {methods: [GET], paths: [/info*]}}]
`;

const NO_REQUEST: DescribedByFlags = {
  method: null,
  path: null,
  host: null,
  headers: [],
  principal: null,
  sourceIp: null,
  port: null,
  protocol: null,
  plaintext: false,
  custom: null,
};

const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';

async function run(t: Test, options: Partial<ExplainOptions>, input = '') {
  const folder = mkdtempSync(join(tmpdir(), 'outrider-explain-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'policy.yaml'), POLICY);
  const text = { out: '', err: '' };
  const sink = (name: 'out' | 'err') => ({
    write(written: string, done?: () => void) {
      text[name] += written;
      done?.();
    },
  });
  const code = await runExplain(
    {
      configPaths: [folder],
      namespace: 'foo',
      labels: {},
      requests: null,
      json: false,
      expect: null,
      request: NO_REQUEST,
      ...options,
    },
    { stdin: Readable.from([input]), stdout: sink('out'), stderr: sink('err') },
  );
  return { code, ...text, lines: text.out.split('\n').filter(line => line !== '') };
}

t.test('one JSON decision a line, in order', async t => {
  const requests = [
    { id: 'a', source: { principal: SLEEP }, destination: { port: 80 }, request: { path: '/info' } },
    { id: 'b', destination: { port: 80 } },
    { id: 'c', workload: { namespace: 'bar' }, destination: { port: 80 } },
  ];
  const { code, lines, err } = await run(
    t,
    { requests: '-' },
    requests.map(one => JSON.stringify(one)).join('\n\n'),
  );
  const answers = lines.map(line => JSON.parse(line));
  t.match(answers, [
    { id: 'a', decision: 'allow', policy: 'foo/p', rule: 0, path: '/info' },
    { id: 'b', decision: 'deny', status: 403, reason: 'rbac_access_denied_matched_policy[none]' },
    { id: 'c', decision: 'allow' },
  ]);
  t.equal(code, 0);
  t.equal(err, '');
});

t.test('a line that is no request is named, the others are answered, the exit code is 1', async t => {
  const input =
    '{"id":"a","destination":{"port":80}}\n{oops\n{"id":"c"}\n{"id":"d","destination":{"port":80}}\n';
  const { code, lines, err } = await run(t, { requests: '-' }, input);
  t.equal(code, 1);
  t.same(
    lines.map(line => JSON.parse(line).id),
    ['a', 'd'],
  );
  t.match(err, /standard input:2: not JSON: .+\n.*standard input:3: destination\.port is missing\n/);
});

t.test('requests from a file', async t => {
  const folder = t.testdir({ 'requests.jsonl': '{"destination":{"port":80}}\n' });
  const { code, lines } = await run(t, { requests: `${folder}/requests.jsonl` });
  t.equal(code, 0);
  t.equal(lines.length, 1);
  const missing = await run(t, { requests: `${folder}/none.jsonl` });
  t.equal(missing.code, 1);
  t.match(missing.err, /cannot read .*none\.jsonl: /);
});

t.test('flags describe one request, and the answer is for a person', async t => {
  const allowed = await run(t, {
    request: { ...NO_REQUEST, port: 80, principal: SLEEP, path: '/x/../info' },
  });
  t.equal(allowed.code, 0);
  t.equal(
    allowed.out,
    `ALLOW
Policy foo/p, rule 0, matches and allows it.

Considered, in order:
  ALLOW foo/p rule 0: from.principals matched cluster.local/ns/foo/sa/sleep; to.methods matched GET; to.paths matched /info

mutual TLS on port 80: PERMISSIVE
path, as policy sees it: /info
`,
  );
  const denied = await run(t, { request: { ...NO_REQUEST, port: 80, plaintext: true } });
  t.equal(denied.code, 0, 'a denial is an answer, not a failure');
  t.equal(
    denied.out,
    `DENY: HTTP 403
ALLOW policies concern the workload, and none of their rules matches.

Considered, in order:
  ALLOW foo/p rule 0: from.principals did not match: saw no peer identity, wants cluster.local/ns/foo/sa/sleep

To be allowed: policy foo/p, rule 0, comes nearest. It still wants
  from.principals: cluster.local/ns/foo/sa/sleep (saw no peer identity)
  to.paths: /info* (saw /)

mutual TLS on port 80: PERMISSIVE
path, as policy sees it: /
reason: rbac_access_denied_matched_policy[none]
`,
  );
  const free = await run(t, { namespace: 'bar', request: { ...NO_REQUEST, port: 80 } });
  t.match(free.out, /^ALLOW\nNo policy concerns this workload, so it is allowed\.\n\nmutual TLS on port 80/);
});

t.test('--protocol grpc, --json and --header', async t => {
  const request = { ...NO_REQUEST, port: 80, protocol: 'grpc', headers: ['X-A: b'] } as const;
  const { lines } = await run(t, { json: true, request });
  t.match(JSON.parse(lines[0]!), { decision: 'deny', status: 200, grpcStatus: 7 });
  const bad = await run(t, { request: { ...NO_REQUEST, port: 80, headers: ['nonsense'] } });
  t.equal(bad.code, 2);
  t.match(bad.err, /--header "nonsense" is not 'name: value'/);
});

t.test('--expect sets the exit code', async t => {
  const request = { ...NO_REQUEST, port: 80 };
  t.equal((await run(t, { request, expect: 'deny' })).code, 0);
  t.equal((await run(t, { request, expect: 'allow' })).code, 1);
  const input = `{"destination":{"port":80}}\n{"source":{"principal":"${SLEEP}"},"destination":{"port":80},"request":{"path":"/info"}}\n`;
  t.equal((await run(t, { requests: '-', expect: 'deny' }, input)).code, 1, 'every request must meet it');
});

t.test('nothing to ask, or manifests with a fault', async t => {
  const nothing = await run(t, {});
  t.equal(nothing.code, 2);
  t.match(nothing.err, /--port is missing/);
  const folder = t.testdir({ 'bad.yaml': POLICY.replace('GET', '""') });
  const faulty = await run(t, { configPaths: [`${folder}/bad.yaml`], requests: '-' });
  t.equal(faulty.code, 1);
  t.match(faulty.err, /bad\.yaml:\d+:\d+ error /);
  t.equal(faulty.out, '');
});
