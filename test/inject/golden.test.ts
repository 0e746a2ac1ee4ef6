/**
 * cases/ is the manual of `outrider inject`: each file a manifest, its first line the command. golden/ has what comes of it,
 * and beside it, as .txt, what is said on standard error. UPDATE_GOLDEN=1 writes them anew.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parse } from 'node:path';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { parseCapture } from '../../src/cli/capture-flags.ts';
import { runInject } from '../../src/cli/inject.ts';
import { parseInject } from '../../src/cli/inject-flags.ts';
import { parseRun } from '../../src/cli/run-flags.ts';
import { KUBERNETES_YAML } from '../../src/inject/manifests.ts';
import { schemaFaults } from './kubernetes-schema.ts';

const CASES = new URL('cases/', import.meta.url);
const GOLDEN = new URL('golden/', import.meta.url);

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command on a text, read from standard input. */
async function inject(text: string, flags: readonly string[]): Promise<Ran> {
  const parsed = parseInject([...flags, '-f', '-']);
  if (!parsed.ok) throw new Error(parsed.message);
  const said = { stdout: '', stderr: '' };
  const code = await runInject(parsed.value, {
    stdin: (async function* () {
      yield text;
    })(),
    stdout: { write: written => (said.stdout += written) },
    stderr: { write: written => (said.stderr += written) },
  });
  return { code, ...said };
}

function flagsOf(text: string): readonly string[] {
  return (/^# outrider inject ?(.*)$/m.exec(text)?.[1] ?? '').split(' ').filter(word => word !== '');
}

function expected(name: string, actual: string): string {
  const file = new URL(name, GOLDEN);
  if (process.env.UPDATE_GOLDEN === '1' && (actual !== '' || existsSync(file))) writeFileSync(file, actual);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

const files = readdirSync(CASES);

t.test('every case has its golden file, and no golden file is left over', async t => {
  const names = files.map(file => parse(file).name);
  const golden = readdirSync(GOLDEN).map(file => parse(file).name);
  t.same([...new Set(golden)].sort(), names.sort());
});

for (const file of files) {
  const text = readFileSync(new URL(file, CASES), 'utf8');
  const flags = flagsOf(text);

  t.test(
    `${file}: what comes of it, valid for Kubernetes, and the same when it is injected again`,
    async t => {
      const { code, stdout, stderr } = await inject(text, flags);
      t.equal(stdout, expected(file, stdout));
      t.equal(stderr, expected(`${parse(file).name}.txt`, stderr));
      t.equal(code, 0);
      for (const document of parseAllDocuments(stdout, KUBERNETES_YAML as object)) {
        t.same(document.errors, []);
        t.same(schemaFaults(document.toJS()) ?? [], [], 'valid');
      }
      t.equal((await inject(stdout, flags)).stdout, stdout, 'again');
    },
  );
}

t.test("what the containers of a pod run are lines that Outrider's own parsers take", async t => {
  const lines = new Set<string>();
  for (const file of files) {
    const text = readFileSync(new URL(file, GOLDEN), 'utf8');
    const value = parseAllDocuments(text, KUBERNETES_YAML as object).map(document => document.toJS());
    JSON.stringify(value, (_, one) => {
      if (one?.name === 'istio-proxy' || one?.name === 'istio-init')
        lines.add(JSON.stringify(one.args ?? []));
      return one;
    });
  }
  for (const line of lines) {
    const [command, ...args] = JSON.parse(line) as string[];
    if (command === 'run') t.match(parseRun(args, {}), { ok: true }, line);
    else if (command === 'capture') {
      // The file is in the pod only; every other fault would be named first.
      t.match(parseCapture(args), { message: /^capture: --annotations: \S+ cannot be read: ENOENT/ }, line);
    } else t.same([command, args], [undefined, []], "another sidecar's");
  }
  t.ok(lines.size > 3);
});
