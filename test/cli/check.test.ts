import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { runCheck } from '../../src/cli/check.ts';
import { testAuthority, testIdentity, writeIdentityFolder } from '../certificates.ts';

const GOOD =
  'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: foo}\nspec: {mtls: {mode: STRICT}}\n';
const DOUBTFUL = GOOD.replace('name: a', 'name: b').replace('spec: {', 'spec: {selector: {}, ');
const BAD = GOOD.replace('STRICT', 'STRIKT');

/** A folder with these files; gives a path below it. */
function folder(files: Readonly<Record<string, string>>): (...parts: string[]) => string {
  const root = mkdtempSync(join(tmpdir(), 'outrider-check-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  return (...parts) => join(root, ...parts);
}

async function check(paths: readonly string[], json = false) {
  const lines: string[] = [];
  const summary: string[] = [];
  const code = await runCheck(paths, {
    json,
    print: line => lines.push(line),
    summarise: line => summary.push(line),
  });
  return { code, lines, summary: summary.join() };
}

t.test(
  'manifests without a fault: nothing on standard output, a summary on standard error, exit 0',
  async t => {
    const at = folder({ 'a.yaml': GOOD, 'notes.txt': 'not YAML: [', 'b.json': '{"kind": "MeshConfig"}' });
    t.same(await check([at()]), { code: 0, lines: [], summary: '2 files, no faults' });
  },
);

t.test('an error is a line with file, line and column, and exit 1', async t => {
  const at = folder({ 'a.yaml': BAD });
  t.same(await check([at('a.yaml')]), {
    code: 1,
    lines: [
      `${at('a.yaml')}:4:21 error spec.mtls.mode: "STRIKT" is not one of UNSET, DISABLE, PERMISSIVE, STRICT; write STRICT`,
    ],
    summary: '1 file, 1 error',
  });
});

t.test('a warning is a line and exit 0', async t => {
  const at = folder({ 'a.yaml': DOUBTFUL });
  const { code, lines, summary } = await check([at()]);
  t.equal(code, 0);
  t.match(lines, [/a\.yaml:4:18 warning spec\.selector: has no matchLabels/]);
  t.equal(summary, '1 file, 1 warning');
});

t.test('selectors are held against the workload that is given', async t => {
  const selecting = GOOD.replace('spec: {', 'spec: {selector: {matchLabels: {app: web}}, ');
  const at = folder({ 'a.yaml': selecting });
  const printed = async (namespace: string, app: string): Promise<string> => {
    const lines: string[] = [];
    const workload = { namespace, labels: { app } };
    const print = (line: string): number => lines.push(line);
    t.equal(await runCheck([at('a.yaml')], { json: false, workload, print, summarise: () => {} }), 0);
    return lines.join('\n');
  };
  t.equal(await printed('foo', 'web'), '');
  t.match(
    await printed('foo', 'db'),
    /a\.yaml:4:18 warning spec\.selector: does not fit the workload that is given, so that the policy has no effect/,
  );
  t.equal(await printed('bar', 'db'), '', 'a policy of another namespace is for other workloads');
});

t.test('--json is one object a fault with the fields of the contract, in their order', async t => {
  const at = folder({ 'a.yaml': `${BAD}---\n${DOUBTFUL}` });
  const { code, lines } = await check([at('a.yaml')], true);
  t.equal(code, 1);
  t.equal(lines.length, 2);
  const [error, warning] = lines.map(line => JSON.parse(line));
  t.same(Object.keys(error), ['file', 'line', 'column', 'severity', 'kind', 'name', 'message']);
  t.match(error, {
    file: at('a.yaml'),
    line: 4,
    column: 21,
    severity: 'error',
    kind: 'PeerAuthentication',
    name: 'foo/a',
  });
  t.match(warning, { severity: 'warning', name: 'foo/b' });
});

t.test('a path that is not there is an error', async t => {
  const at = folder({});
  t.match(await check([at('none.yaml')]), {
    code: 1,
    lines: [`${at('none.yaml')}:1:1 error there is no such file or folder`],
    summary: '0 files, 1 error',
  });
});

t.test('control characters of a manifest reach the terminal as text', async t => {
  const at = folder({ 'a.yaml': GOOD.replace('spec: {', 'spec: {"a\\e[31m\\nb": 1, ') });
  const { lines } = await check([at()]);
  t.match(lines, [/spec\.a\\u001b\[31m\\nb: unknown field/]);
});

t.test('a certificate folder is checked as a whole', async t => {
  const at = folder({});
  const authority = await testAuthority();
  writeIdentityFolder(at(), await testIdentity(authority, 'foo/web'));
  t.same(await check([at()]), { code: 0, lines: [], summary: '0 files, 1 certificate folder, no faults' });
});

t.test('a certificate folder with a foreign key is one error that names the file', async t => {
  const at = folder({});
  const authority = await testAuthority();
  const identity = await testIdentity(authority, 'foo/web');
  const other = await testIdentity(authority, 'foo/web');
  writeIdentityFolder(at(), { ...identity, keyPem: other.keyPem });
  const { code, lines } = await check([at()], true);
  t.equal(code, 1);
  t.match(JSON.parse(lines.join()), { file: at('key.pem'), line: 1, column: 1, severity: 'error' });
});

t.test('a certificate folder with one file of three is an error', async t => {
  const at = folder({ 'key.pem': 'x' });
  const { code, lines } = await check([at()]);
  t.equal(code, 1);
  t.match(lines, [/cert-chain\.pem:1:1 error cert-chain\.pem: is missing/]);
});

t.test('one folder may hold manifests and certificates', async t => {
  const at = folder({ 'a.yaml': GOOD, 'mesh.yaml': 'trustDomain: mesh.example\n' });
  const authority = await testAuthority();
  writeIdentityFolder(at(), await testIdentity(authority, 'foo/web'));
  const { code, lines, summary } = await check([at()]);
  t.equal(code, 0);
  t.match(lines, [/cert-chain\.pem:1:1 warning .*its trust domain cluster\.local is neither/]);
  t.equal(summary, '2 files, 1 certificate folder, 1 warning');
});

t.test('no socket is opened', async t => {
  const at = folder({ 'a.yaml': GOOD });
  mkdirSync(at('certs'));
  writeIdentityFolder(at('certs'), await testIdentity(await testAuthority(), 'foo/web'));
  const connect = net.Socket.prototype.connect;
  const listen = net.Server.prototype.listen;
  t.teardown(() => {
    net.Socket.prototype.connect = connect;
    net.Server.prototype.listen = listen;
  });
  let opened = 0;
  const count = (): never => {
    opened += 1;
    throw new Error('a socket was opened');
  };
  net.Socket.prototype.connect = count;
  net.Server.prototype.listen = count;
  t.equal((await check([at(), at('certs')])).code, 0);
  t.equal(opened, 0);
});
