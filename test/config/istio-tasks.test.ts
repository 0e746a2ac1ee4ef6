import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { copyExample, ExampleIssuer, type ExampleRequest } from '../../scripts/example-tokens.ts';
import { agrees } from '../../scripts/istio-cases.ts';
import { loadManifests } from '../../src/config/manifest.ts';

const ROOT = join(import.meta.dirname, '../..');
const TASKS = join(ROOT, 'config/examples/istio-tasks');
const FOLDERS = readdirSync(TASKS).filter(name => name !== 'README.md');

/** What the manifests are warned of, by folder: the traps that they show. The others have none. */
const WARNINGS: Readonly<Record<string, readonly RegExp[]>> = {
  'authz-custom': [/^spec\.provider\.name: "old-ext-authz" is no usable provider/],
  'authz-deny': [/^spec\.rules\[0\]\.when\[0\]\.notValues: holds for a request without the header too/],
  'authz-ingress': [
    /^spec\.rules\[0\]\.from\[0\]\.source\.notPrincipals: holds for a peer without a certificate too/,
  ],
  'authz-tcp': [
    /port 9002 as TCP.*the rule never matches there/,
    /port 9001 as TCP.*methods is left out there/,
  ],
};

t.test('every task is in the list', async t => {
  const list = readFileSync(join(TASKS, 'README.md'), 'utf8');
  t.ok(FOLDERS.length >= 12, 'folders are found');
  for (const name of FOLDERS) t.match(list, `[${name}](${name})`);
});

for (const name of FOLDERS) {
  t.test(name, async t => {
    const folder = join(t.testdir(), name);
    copyExample(join(TASKS, name), folder, new ExampleIssuer());
    t.same(
      readFileSync(join(folder, 'policy.yaml'), 'utf8').slice(0, 2),
      '# ',
      'it says at its top what it is about',
    );

    const loaded = loadManifests([folder]);
    if (!loaded.ok) throw new Error(loaded.faults.map(({ message }) => message).join('\n'));
    const warnings = loaded.warnings.map(({ message }) => message);
    const expected = WARNINGS[name] ?? [];
    t.equal(warnings.length, expected.length, 'as many warnings as are meant', { warnings });
    expected.forEach((pattern, i) => {
      t.match(warnings[i], pattern);
    });

    const requests = join(folder, 'requests.jsonl');
    const wanted = jsonLines<ExampleRequest>(readFileSync(requests, 'utf8'));
    t.ok(wanted.length > 2, 'there are requests');
    const answers = jsonLines<{ id: string }>(await explain(folder, requests));
    t.same(
      answers.map(({ id }) => id),
      wanted.map(({ id }) => id),
      'one answer to each',
    );
    wanted.forEach(({ id, expect }, i) => {
      t.ok(agrees(expect, answers[i]), id, { expect, answer: answers[i] });
    });
  });
}

t.test('each of the mistakes gets the warning that it is there for', async t => {
  const loaded = loadManifests([join(ROOT, 'config/examples/mistakes')]);
  if (!loaded.ok) throw new Error(loaded.faults.map(({ message }) => message).join('\n'));
  const warned = new Set(loaded.warnings.map(({ name }) => name));
  const { authorizationPolicies, peerAuthentications } = loaded.resources;
  for (const { metadata } of [...authorizationPolicies, ...peerAuthentications]) {
    t.ok(warned.has(`${metadata.namespace}/${metadata.name}`), metadata.name);
  }
  t.equal(warned.size, 7);
});

/** The command itself, as a reader of the example would run it. */
function explain(config: string, requests: string): Promise<string> {
  const args = [join(ROOT, 'src/main.ts'), 'explain', '--config', config, '--requests', requests, '--json'];
  return new Promise((done, fail) => {
    execFile(process.execPath, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) done(stdout);
      else fail(new Error(`${error.message}\n${stderr}`));
    });
  });
}

function jsonLines<T>(text: string): T[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as T);
}
