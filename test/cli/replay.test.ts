import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { runReplay } from '../../src/cli/replay.ts';
import { parseReplay } from '../../src/cli/replay-flags.ts';
import { type Line, logLine, PLAINTEXT, policy, SLEEP } from './replay-log.ts';

interface Asked {
  readonly before: string;
  readonly after: string;
  /** Lines of the log, on standard input. */
  readonly log: readonly string[];
  readonly flags?: readonly string[];
}

async function replay(t: Test, { before, after, log, flags = [] }: Asked) {
  const folder = t.testdir({ before: { 'a.yaml': before }, after: { 'a.yaml': after } });
  const line = ['--before', `${folder}/before`, '--after', `${folder}/after`, ...flags, '-'];
  const parsed = parseReplay(line);
  if (!parsed.ok) throw new Error(parsed.message);
  const text = { out: '', err: '' };
  const sink = (name: 'out' | 'err') => ({
    write(written: string, done?: () => void) {
      text[name] += written;
      done?.();
    },
  });
  const stdin = Readable.from([Buffer.from(log.map(one => `${one}\n`).join(''))]);
  const code = await runReplay(parsed.value, { stdin, stdout: sink('out'), stderr: sink('err') });
  return { code, ...text, summary: text.out.trimEnd().split('\n').at(-1) ?? '' };
}

/** The groups as JSON. */
async function groups(t: Test, asked: Asked) {
  const { out, ...rest } = await replay(t, { ...asked, flags: ['--json', ...(asked.flags ?? [])] });
  const lines = out.split('\n').filter(line => line !== '');
  return { ...rest, out, groups: lines.map(line => JSON.parse(line)) };
}

const to = (path: string, method = 'GET', more: Line = {}) =>
  logLine({ ...more, record: { method, path, ...more.record } });

const ALLOW_ALL = policy('all', 'ALLOW', '[{}]');
const NO_ADMIN = policy('no-admin', 'DENY', '[{to: [{operation: {paths: ["/admin*"]}}]}]');
const NOTHING = policy('watch', 'AUDIT', '[{to: [{operation: {paths: [/nothing]}}]}]');

t.test('a verdict that would change is printed with the policy that changes it', async t => {
  const { code, out, summary, err } = await replay(t, {
    before: ALLOW_ALL,
    after: ALLOW_ALL + NO_ADMIN,
    log: [to('/'), to('/admin/1'), to('/admin/2?x=1')],
  });
  t.equal(code, 1);
  t.equal(
    out,
    `allow → deny  2×  AuthorizationPolicy foo/no-admin (new)
  before: allowed by foo/all rule 0
  after:  denied by foo/no-admin rule 0
     2×  ${SLEEP}  GET /admin/*
         such as standard input:2: GET /admin/1

3 lines: 2 would change, 0 cannot be told, 1 would not
`,
  );
  t.equal(summary, '3 lines: 2 would change, 0 cannot be told, 1 would not');
  t.equal(err, '');
});

t.test('nothing changes: exit code 0', async t => {
  const { code, out } = await replay(t, { before: ALLOW_ALL, after: ALLOW_ALL + NO_ADMIN, log: [to('/')] });
  t.equal(code, 0);
  t.equal(out, '1 line: 0 would change, 0 cannot be told, 1 would not\n');
  t.equal((await replay(t, { before: ALLOW_ALL, after: ALLOW_ALL, log: [] })).code, 0);
});

t.test('one JSON object a group, most frequent first, the summary on standard error', async t => {
  const writes = policy('p', 'ALLOW', '[{to: [{operation: {methods: [GET, POST]}}]}]');
  const reads = policy('p', 'ALLOW', '[{to: [{operation: {methods: [GET]}}]}]');
  const found = await groups(t, {
    before: writes + NO_ADMIN,
    after: reads,
    log: [to('/admin/9'), to('/orders/1', 'POST'), to('/orders/2', 'POST'), to('/x')],
  });
  t.equal(found.code, 1);
  t.strictSame(found.groups, [
    {
      change: 'allow->deny',
      count: 2,
      policy: 'foo/p',
      because: 'AuthorizationPolicy foo/p (changed)',
      source: SLEEP,
      method: 'POST',
      path: '/orders/*',
      before: { decision: 'allow', policy: 'foo/p', rule: 0 },
      after: { decision: 'deny', reason: 'rbac_access_denied_matched_policy[none]' },
      example: { file: 'standard input', line: 2, request: 'POST /orders/1' },
    },
    {
      change: 'deny->allow',
      count: 1,
      policy: 'foo/no-admin',
      because: 'AuthorizationPolicy foo/no-admin (removed)',
      source: SLEEP,
      method: 'GET',
      path: '/admin/*',
      before: {
        decision: 'deny',
        policy: 'foo/no-admin',
        rule: 0,
        reason: 'rbac_access_denied_matched_policy[ns[foo]-policy[no-admin]-rule[0]]',
      },
      after: { decision: 'allow', policy: 'foo/p', rule: 0 },
      example: { file: 'standard input', line: 1, request: 'GET /admin/9' },
    },
  ]);
  t.equal(found.err, 'outrider replay: 4 lines: 3 would change, 0 cannot be told, 1 would not\n');
});

t.test('what policy reads of a line is what the sidecar saw', async t => {
  for (const [says, rules, line, changes] of [
    ['method', '{to: [{operation: {methods: [PUT]}}]}', to('/', 'PUT'), true],
    ['path, normalised', '{to: [{operation: {paths: [/b]}}]}', to('/a/../b?x=1'), true],
    [
      'host',
      '{to: [{operation: {hosts: [b.com]}}]}',
      to('/', 'GET', { record: { authority: 'B.com' } }),
      true,
    ],
    ['port', '{to: [{operation: {ports: ["8080"]}}]}', to('/'), true],
    ['another port', '{to: [{operation: {ports: ["81"]}}]}', to('/'), false],
    ['principal', '{from: [{source: {principals: [cluster.local/ns/foo/sa/sleep]}}]}', to('/'), true],
    ['plaintext', '{from: [{source: {notPrincipals: ["*"]}}]}', to('/', 'GET', { conn: PLAINTEXT }), true],
    ['address', '{from: [{source: {ipBlocks: [10.0.0.9]}}]}', to('/'), true],
    [
      'an IPv6 address',
      '{from: [{source: {ipBlocks: ["::1"]}}]}',
      to('/', 'GET', { conn: { remoteAddress: '::1:4' } }),
      true,
    ],
    [
      'user-agent',
      '{when: [{key: "request.headers[user-agent]", values: ["curl*"]}]}',
      to('/', 'GET', { headers: { 'user-agent': ['curl/8'] } }),
      true,
    ],
    ['no user-agent', '{when: [{key: "request.headers[user-agent]", values: ["*"]}]}', to('/'), false],
    [
      'x-forwarded-for',
      '{from: [{source: {remoteIpBlocks: [1.2.3.4]}}]}',
      to('/', 'GET', { headers: { 'x-forwarded-for': ['9.9.9.9, 1.2.3.4'] } }),
      true,
    ],
    ['server name', '{when: [{key: connection.sni, values: ["*.foo.svc.cluster.local"]}]}', to('/'), true],
    [
      'TCP',
      '{from: [{source: {namespaces: [foo]}}]}',
      logLine({ record: { requestProtocol: 'tcp', method: null, path: null, protocol: null } }),
      true,
    ],
  ] as const) {
    const found = await replay(t, {
      before: NOTHING,
      after: policy('deny', 'DENY', `[${rules}]`),
      log: [line],
    });
    t.equal(found.code, changes ? 1 : 0, says);
    t.match(found.summary, changes ? /: 1 would change, 0 cannot/ : /: 0 would change, 0 cannot/, says);
  }
});

t.test('PeerAuthentication counts: a plaintext connection that would be refused', async t => {
  const strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: foo}
spec: {mtls: {mode: STRICT}}
`;
  const log = [to('/', 'GET', { conn: PLAINTEXT }), to('/')];
  const found = await groups(t, { before: ALLOW_ALL, after: `${ALLOW_ALL}${strict}`, log });
  t.equal(found.code, 1);
  t.match(found.groups, [
    {
      change: 'allow->deny',
      count: 1,
      source: null,
      because: 'PeerAuthentication foo/strict STRICT',
      after: { decision: 'deny', reason: 'mtls_required' },
    },
  ]);
  const disable = strict.replace('STRICT', 'DISABLE');
  const off = await groups(t, { before: ALLOW_ALL, after: `${ALLOW_ALL}${disable}`, log });
  t.match(off.groups, [{ source: SLEEP, after: { decision: 'deny', reason: 'mtls_disabled' } }]);
});

t.test('the mesh config counts: trust domains and path normalisation', async t => {
  const mesh = (text: string) => `kind: MeshConfig\n${text}\n`;
  const foreign = await groups(t, {
    before: ALLOW_ALL,
    after: ALLOW_ALL + mesh('trustDomain: other.example'),
    log: [to('/')],
  });
  t.match(foreign.groups, [
    {
      change: 'allow->deny',
      because: 'mesh config (trust domains)',
      after: { reason: 'foreign_trust_domain' },
    },
  ]);
  const merged = await groups(t, {
    before: ALLOW_ALL + NO_ADMIN,
    after: ALLOW_ALL + NO_ADMIN + mesh('pathNormalization: {normalization: MERGE_SLASHES}'),
    log: [to('//admin')],
  });
  t.match(merged.groups, [{ change: 'allow->deny', because: 'mesh config', policy: null }]);
});

t.test('token rules that went are named where they change a verdict', async t => {
  const login = `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login, namespace: foo}
spec: {jwtRules: [{issuer: https://issuer, jwks: '{"keys":[]}'}]}
---
`;
  const alice = policy('alice', 'ALLOW', '[{from: [{source: {requestPrincipals: ["*"]}}]}]');
  const change = { before: login + alice, after: alice };
  const because = 'RequestAuthentication foo/login (removed)';
  const accepted = to('/', 'GET', {
    record: { requestPrincipal: 'https://issuer/alice', policy: 'foo/alice' },
  });
  const lost = await groups(t, { ...change, log: [accepted] });
  t.match(lost.groups, [{ change: 'allow->deny', because, policy: null }]);
  const refused = {
    details: 'jwt_authn_access_denied{Jwt_is_expired}',
    status: 401,
    decision: 'deny' as const,
  };
  const opened = await groups(t, {
    before: login + ALLOW_ALL,
    after: ALLOW_ALL,
    log: [to('/', 'GET', { record: refused })],
  });
  t.match(opened.groups, [{ change: 'deny->allow', because, policy: null }]);
});

t.test('selectors need --labels; namespaces come from the line or from --namespace', async t => {
  const selecting = NO_ADMIN.replace('{action', '{selector: {matchLabels: {app: web}}, action');
  const asked = { before: ALLOW_ALL, after: ALLOW_ALL + selecting, log: [to('/admin')] };
  const without = await replay(t, asked);
  t.equal(without.code, 0);
  t.match(without.err, /without --labels policies that have a selector concern nobody/);
  t.equal((await replay(t, { ...asked, flags: ['--labels', 'app=web'] })).code, 1);
  const elsewhere = { ...asked, after: ALLOW_ALL + NO_ADMIN, flags: ['--namespace', 'bar'] };
  t.equal((await replay(t, elsewhere)).code, 0, 'the namespace of the flag wins');
  const nameless = [to('/admin', 'GET', { conn: { ...PLAINTEXT, destinationNamespace: null } })];
  const untold = await groups(t, { ...asked, after: ALLOW_ALL + NO_ADMIN, log: nameless });
  t.match(untold.groups, [{ change: 'unknown', because: /give --namespace/ }]);
});

t.test('lines that policy was never asked about are counted', async t => {
  const { code, summary } = await replay(t, {
    before: ALLOW_ALL,
    after: policy('none', 'DENY', '[{}]'),
    log: [
      logLine({ conn: { direction: 'outbound' } }),
      logLine({ record: { method: null, path: null, protocol: null, flag: 'NR', details: 'not_tls' } }),
      to('/%00', 'GET', { record: { status: 400, flag: 'DPE' } }),
    ],
  });
  t.equal(code, 0);
  t.equal(
    summary,
    '3 lines: 0 would change, 0 cannot be told, 0 would not, 1 passed over (outbound), ' +
      '1 passed over (connections refused before a request), 1 passed over (answered before policy)',
  );
});

t.test('lines of others are named once and counted', async t => {
  const asked = { before: ALLOW_ALL, after: ALLOW_ALL + NO_ADMIN };
  const log = ['hello', '{"method":"GET"}', '[1]', '', 'null', to('/admin')];
  const { code, err, summary } = await replay(t, { ...asked, log });
  t.equal(code, 1);
  t.equal(err, 'outrider replay: standard input:1: not JSON; passed over, as all others like it\n');
  t.match(summary, /^1 line: 1 would change, .*, 4 not of Outrider's access log$/);
  const none = await replay(t, { ...asked, log: ['hello'] });
  t.equal(none.code, 1, 'a log of which nothing was read is no proof that nothing changes');
  t.match(none.err, /nothing was compared: replay reads the JSON form of the access log/);
});

t.test('a log that does not agree with --before is said', async t => {
  const log = [to('/', 'GET', { record: { decision: 'deny', policy: 'foo/other', policyRule: 0 } })];
  const { code, err } = await replay(t, { before: ALLOW_ALL, after: ALLOW_ALL, log });
  t.equal(code, 0);
  t.match(err, /1 of the requests were decided otherwise than --before decides them/);
});

t.test('what cannot be read, and lines that are wrong', async t => {
  const folder = t.testdir({
    good: { 'a.yaml': ALLOW_ALL },
    bad: { 'a.yaml': ALLOW_ALL.replace('[{}]', '3') },
  });
  const run = async (before: string, log: string) => {
    let err = '';
    const stderr = {
      write(text: string) {
        err += text;
      },
    };
    const stdout = { write: (_: string, done?: () => void) => done?.() };
    const settings = {
      before: [before],
      after: [`${folder}/good`],
      namespace: null,
      labels: {},
      json: false,
    };
    const code = await runReplay({ ...settings, logs: [log] }, { stdin: Readable.from([]), stdout, stderr });
    return { code, err };
  };
  const missing = await run(`${folder}/good`, `${folder}/none.log`);
  t.equal(missing.code, 1);
  t.match(missing.err, /cannot read .*none\.log: there is no such file\n/);
  const faulty = await run(`${folder}/bad`, '-');
  t.equal(faulty.code, 1);
  t.match(faulty.err, /bad\/a\.yaml:\d+:\d+ error .*\n.*the configuration of --before is not valid/);
  for (const [line, message] of [
    [[], /^replay: --before is needed/],
    [['--before', 'a'], /^replay: --after is needed/],
    [['--before', 'a', '--after', 'b'], /^replay: name at least one LOG/],
    [['--before', 'a', '--after', 'b', '--frob', 'x'], /^replay: unknown flag --frob/],
  ] as const) {
    t.match(parseReplay(line), { ok: false, exitCode: 2, message });
  }
});
