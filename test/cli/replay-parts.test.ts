import { Readable } from 'node:stream';
import t from 'tap';
import { type Finding, Groups } from '../../src/cli/replay-groups.ts';
import { readLogLine } from '../../src/cli/replay-line.ts';
import { linesOf } from '../../src/cli/replay-lines.ts';
import { blocksText } from '../../src/cli/replay-report.ts';
import { pathShape } from '../../src/cli/replay-shape.ts';
import { logLine } from './replay-log.ts';

async function lines(...chunks: readonly (string | Buffer)[]): Promise<(string | null)[]> {
  const found: (string | null)[] = [];
  for await (const line of linesOf(Readable.from(chunks))) found.push(line);
  return found;
}

t.test('lines, however the bytes come', async t => {
  t.same(await lines('a\nb\r\n\nc'), ['a', 'b', '', 'c']);
  t.same(await lines(Buffer.from('a\nb')), ['a', 'b']);
  const bytes = Buffer.from('é\nü\n');
  t.same(await lines(...[...bytes].map(byte => Buffer.from([byte]))), ['é', 'ü']);
  t.same(await lines(), []);
  const endless = Array.from({ length: 40 }, () => 'x'.repeat(100_000));
  t.same(await lines(...endless, '\nb\n'), [null, 'b'], 'a line without an end is not kept');
  t.same(await lines(...endless), [null]);
});

t.test('paths that differ in what names one thing are one shape', async t => {
  for (const [target, shape] of [
    ['/orders/42', '/orders/*'],
    ['/orders/42/items?x=1', '/orders/*/items'],
    ['/u/6f1d2c3b-0000-4000-8000-1234567890ab', '/u/*'],
    ['/blob/deadbeef01', '/blob/*'],
    ['/t/abcDEF123456789xyz', '/t/*'],
    ['/v1/charges', '/v1/charges'],
    ['/a-long-name-without-any-number', '/a-long-name-without-any-number'],
    ['/', '/'],
    ['*', '*'],
    [`/${'é'.repeat(70)}`, '/*'],
    [
      `/${Array.from({ length: 30 }, () => 'a').join('/')}`,
      `/${Array.from({ length: 11 }, () => 'a').join('/')}/…`,
    ],
  ] as const) {
    t.equal(pathShape(target), shape, target);
  }
});

t.test('groups are bounded, and nothing is lost from the count', async t => {
  const groups = new Groups();
  const verdict = { allow: true, policy: null, rule: null, missed: [], reason: '', by: '' };
  for (let i = 0; i < 12_000; i++) {
    const finding: Finding = {
      change: i % 2 === 0 ? 'allow->deny' : 'unknown',
      policy: 'foo/p',
      because: 'AuthorizationPolicy foo/p (new)',
      source: `spiffe://cluster.local/ns/foo/sa/${i}`,
      method: 'GET',
      path: '/',
      verdicts: { before: verdict, after: { ...verdict, allow: false } },
    };
    groups.add(finding, { file: 'a', line: i, request: 'GET /' });
  }
  const sorted = groups.sorted();
  t.ok(sorted.length <= 5_002);
  t.equal(
    sorted.reduce((sum, { count }) => sum + count, 0),
    12_000,
  );
  t.same([groups.changed, groups.unknown], [6_000, 6_000]);
  t.match(sorted[0], { because: 'others, too many to list', source: null, count: 3_500 });
});

t.test('what one change of policy does stands in one block, the most frequent first', t => {
  const groups = new Groups();
  const by = (policy: string) => ({ allow: false, policy, rule: 0, missed: [], reason: 'x', by: '' });
  const add = (policy: string, path: string, line: number) => {
    const verdicts = { before: { ...by('foo/all'), allow: true }, after: by(policy) };
    groups.add(
      {
        change: 'allow->deny',
        policy,
        because: `AuthorizationPolicy ${policy} (new)`,
        source: null,
        method: 'GET',
        path,
        verdicts,
      },
      { file: 'a', line, request: `GET ${path}` },
    );
  };
  add('foo/b', '/one', 1);
  add('foo/a', '/x', 2);
  add('foo/a', '/y', 3);
  add('foo/a', '/y', 4);
  groups.add(
    {
      change: 'unknown',
      policy: null,
      because: 'destination_port',
      source: null,
      method: null,
      path: null,
      verdicts: null,
    },
    { file: 'a', line: 5, request: 'a request' },
  );
  t.equal(
    [...blocksText(groups.sorted())].join(''),
    `allow → deny  3×  AuthorizationPolicy foo/a (new)
  before: allowed by foo/all rule 0
  after:  denied by foo/a rule 0
     2×  no identity (plaintext)  GET /y
         such as a:3: GET /y
     1×  no identity (plaintext)  GET /x
         such as a:2: GET /x

allow → deny  1×  AuthorizationPolicy foo/b (new)
  before: allowed by foo/all rule 0
  after:  denied by foo/b rule 0
     1×  no identity (plaintext)  GET /one
         such as a:1: GET /one

cannot be told  1×  without destination_port
     1×  various
         such as a:5: a request

`,
  );
  for (let i = 0; i < 30; i++) add('foo/c', `/${'a'.repeat(i)}`, i);
  t.match([...blocksText(groups.sorted())][0], /\n {4}10× {2}others; --json has all of them\n\n$/);
  t.end();
});

t.test('a log cannot move the cursor of who reads the report', async t => {
  const groups = new Groups();
  const nothing = { policy: null, source: null, verdicts: null };
  const path = Buffer.from('/\u001b[2Jé', 'utf8').toString('latin1');
  groups.add(
    { change: 'unknown', because: 'header x', method: 'GET', path, ...nothing },
    { file: 'a', line: 1, request: `GET ${path}` },
  );
  const text = [...blocksText(groups.sorted())].join('');
  t.notMatch(text, /\u001b/);
  t.match(text, /GET \/\?\[2Jé/);
});

t.test('a line that lacks what policy needs says what', async t => {
  const without = (line: string, changes: object) => JSON.stringify({ ...JSON.parse(line), ...changes });
  const line = logLine();
  t.match(readLogLine(without(line, { destination_port: undefined })), {
    is: 'incomplete',
    what: 'destination_port',
  });
  const older = without(line, { destination_port: undefined, upstream_host: '127.0.0.1:9090' });
  t.match(
    readLogLine(older),
    { is: 'request', request: { destinationPort: 9090 } },
    'a log of before the field',
  );
  const cut = logLine({ record: { path: `/${'x'.repeat(10_000)}` } });
  t.match(readLogLine(cut), { is: 'incomplete', what: /^the whole path/ });
  const agent = readLogLine(logLine({ headers: { 'user-agent': ['x'.repeat(10_000)] } }));
  t.equal(
    agent.is === 'request' && agent.request.headers.has('user-agent'),
    false,
    'a cut header is not known',
  );
  t.match(readLogLine(without(line, { destination_namespace: undefined })), {
    request: { namespace: 'foo' },
  });
});
