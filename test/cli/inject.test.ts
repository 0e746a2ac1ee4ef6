import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runInject } from '../../src/cli/inject.ts';
import { parseInject } from '../../src/cli/inject-flags.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const TEMPLATE = fileURLToPath(new URL('../../config/inject/sidecar.yaml', import.meta.url));

const POD = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: web
    image: shop/web:1
`;
const SERVICE = 'kind: Service\nmetadata: {name:   web} # as it was\n';

/** The command in this process; files are of `folder`, whose path messages leave out. */
async function inject(args: readonly string[], input = '', folder = '') {
  const words = args.map(word => (folder !== '' && /\.yaml$|^sub$/.test(word) ? join(folder, word) : word));
  const parsed = parseInject(words);
  if (!parsed.ok) throw new Error(parsed.message);
  const said = { stdout: '', stderr: '' };
  const code = await runInject(parsed.value, {
    stdin: (async function* () {
      yield input;
    })(),
    stdout: {
      write: written => {
        said.stdout += written;
      },
    },
    stderr: {
      write: written => {
        said.stderr += written;
      },
    },
  });
  return { code, stdout: said.stdout, stderr: said.stderr.replaceAll(`${folder}/`, '') };
}

/** A pod with one annotation. */
function annotated(name: string, value: string): string {
  return POD.replace('  name: web\n', `  name: web\n  annotations:\n    ${name}: ${JSON.stringify(value)}\n`);
}

t.test('standard input to standard output, what is said on standard error, and the exit code', async t => {
  const command = async (input: string) => {
    const child = spawn(process.execPath, [MAIN, 'inject', '-f', '-'], { stdio: 'pipe' });
    child.stdin.end(input);
    const [stdout, stderr] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    return { code: child.exitCode, stdout, stderr };
  };
  t.same(await command(POD), await inject(['-f', '-'], POD));
  t.same(await command('a: ['), await inject(['-f', '-'], 'a: ['));
});

t.test('several files become one stream of documents, in their order', async t => {
  const folder = t.testdir({ 'a.yaml': SERVICE, 'b.yaml': POD });
  const { code, stdout, stderr } = await inject(['-f', 'a.yaml', '-f', '-', '-f', 'b.yaml'], SERVICE, folder);
  t.equal(code, 0);
  t.equal(stderr, '');
  t.ok(stdout.startsWith(`${SERVICE}---\n${SERVICE}---\napiVersion: v1\nkind: Pod\n`), 'byte for byte');
  t.match(stdout, /^ {2}- name: istio-proxy$/m);
});

t.test('a file without pods passes byte for byte, whatever it holds', async t => {
  for (const input of [
    '',
    '\n',
    '# nothing\n',
    '---\n---\n',
    `%YAML 1.2\n---\na:   [1,2]\n...\n`,
    'a: &x 1\nb: *x\n\n\n',
  ]) {
    t.same(await inject(['-f', '-'], input), { code: 0, stdout: input, stderr: '' }, JSON.stringify(input));
  }
});

t.test(
  'a wrong manifest is one line with its place, exit code 1, and nothing on standard output',
  async t => {
    const fault = async (input: string, line: RegExp): Promise<void> => {
      const { code, stdout, stderr } = await inject(['-f', '-'], `${SERVICE}---\n${input}`);
      t.match(stderr, line);
      t.equal(stderr.split('\n').length, 2, 'one line');
      t.equal(code, 1);
      t.equal(stdout, '');
    };
    await fault('kind: Pod\n  x: [\n', /^<stdin>:4:\d+ error is not valid YAML: /);
    await fault('a: 1\na: 2\n', /^<stdin>:5:1 error is not valid YAML: Map keys must be unique\n/);
    const place = /^<stdin>:9:5 error Pod web: /;
    for (const [name, value] of [
      ['traffic.sidecar.istio.io/includeInboundPorts', '80,x'],
      ['traffic.sidecar.istio.io/excludeOutboundPorts', '70000'],
      ['traffic.sidecar.istio.io/includeOutboundIPRanges', '10.0.0.0/33'],
      ['sidecar.istio.io/interceptionMode', 'redirect'],
      ['sidecar.istio.io/proxyCPU', 'a lot'],
      ['sidecar.istio.io/nativeSidecar', 'maybe'],
      ['proxy.istio.io/config', 'concurrency: many'],
      ['proxy.istio.io/config', '{'],
      ['proxy.istio.io/config', 'terminationDrainDuration: 5'],
    ] as const) {
      await fault(annotated(name, value), place);
    }
    const taken = `${POD}  volumes:\n  - {name: outrider-podinfo, emptyDir: {}}\n`;
    await fault(
      taken,
      /^<stdin>:13:5 error Pod web: spec\.volumes\[0\]: the name outrider-podinfo is the sidecar's/,
    );
  },
);

t.test('an alias bomb and a deep nest are faults, not a hang', async t => {
  const bomb = [
    'a: &a [x,x,x,x,x,x,x,x,x]',
    ...'bcdefghi'.split('').map((name, i) => `${name}: &${name} [${`*${'abcdefgh'[i]},`.repeat(9)}]`),
  ].join('\n');
  t.match(await inject(['-f', '-'], bomb), { code: 1, stdout: '', stderr: /^<stdin>:1:1 error .*alias/i });
  t.match(await inject(['-f', '-'], '['.repeat(100_000)), {
    code: 1,
    stdout: '',
    stderr: /^<stdin>:1:\d+ error /,
  });
});

t.test('a file that cannot be read is one line', async t => {
  const folder = t.testdir({ sub: {} });
  t.match(await inject(['-f', 'none.yaml'], '', folder), {
    code: 1,
    stdout: '',
    stderr: 'none.yaml:1:1 error does not exist\n',
  });
  t.match(await inject(['-f', 'sub'], '', folder), {
    code: 1,
    stderr: 'sub:1:1 error is a folder; name its files\n',
  });
  writeFileSync(join(folder, 'latin1.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xe4]));
  t.match(await inject(['-f', 'latin1.yaml'], '', folder), {
    code: 1,
    stderr: 'latin1.yaml:1:1 error is not UTF-8\n',
  });
});

t.test('another template is taken, and what is wrong with one is said with its place', async t => {
  const folder = t.testdir({
    'own.yaml': `spec:
  containers:
    - name: istio-proxy
      image: \${image}
      args: [run, "--drain-seconds=\${drainSeconds}"]
      $when: native
    - name: other
      image: x
      $when: [identity=secret, native]
`,
    'typo.yaml': `spec:\n  a: \${imgae}\n`,
    'when.yaml': 'spec:\n  a:\n    $when: natve\n',
    'empty.yaml': '',
    'broken.yaml': 'spec: [',
  });
  const { code, stdout } = await inject(
    ['-f', '-', '--template', 'own.yaml', '--image', 'x/y:2'],
    POD,
    folder,
  );
  t.equal(code, 0);
  t.match(
    stdout,
    /^ {2}- name: istio-proxy\n {4}image: x\/y:2\n {4}args: \[run\]\n$/m,
    'without places that have no value',
  );
  t.notMatch(stdout, 'name: other');
  for (const [file, message] of [
    ['typo.yaml', /^outrider: typo\.yaml:2:6 error \$\{imgae\} is not a place; did you mean image\?\n$/],
    ['when.yaml', /^outrider: when\.yaml:3:5 error \$when needs .*; did you mean native\?\n$/],
    ['empty.yaml', /^outrider: empty\.yaml:1:1 error a template is a mapping with spec\n$/],
    ['broken.yaml', /^outrider: broken\.yaml:1:\d+ error /],
    ['none.yaml', /^outrider: none\.yaml: does not exist\n$/],
  ] as const) {
    t.match(
      await inject(['-f', '-', '--template', file], POD, folder),
      { code: 1, stdout: '', stderr: message },
      file,
    );
  }
});

t.test('the template that comes with Outrider is what --template with its path is', async t => {
  const own = await inject(['-f', '-'], POD);
  t.same(await inject(['-f', '-', '--template', TEMPLATE], POD), own);
});
