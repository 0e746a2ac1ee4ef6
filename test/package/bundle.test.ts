import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { bundledPackages } from '../../scripts/licenses.ts';
import { buildElsewhere, ROOT } from './built.ts';
import { run } from './run.ts';

const built = await buildElsewhere();
t.teardown(() => built.remove());
const dist = join(built.folder, 'dist');
const { outputs } = built.metafile;

/** Output file → what it imports when it is loaded, through every chunk. */
function loadedWith(entry: string): Set<string> {
  const seen = new Set<string>();
  const next = [outputNamed(entry)];
  for (let path = next.pop(); path !== undefined; path = next.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { path: imported, kind, external } of outputs[path]!.imports) {
      if (kind === 'import-statement' && !external) next.push(imported);
    }
  }
  return seen;
}

function outputNamed(name: string): string {
  return Object.keys(outputs).find(path => basename(path) === name)!;
}

function packagesIn(paths: Iterable<string>): string[] {
  const some = Object.fromEntries([...paths].map(path => [path, outputs[path]!]));
  return bundledPackages({ inputs: {}, outputs: some });
}

t.test('the bundle prints its version with no package beside it', async t => {
  const { code, stdout, stderr } = await run(process.execPath, [built.launcher, '--version']);
  t.equal(stderr, '');
  t.equal(code, 0);
  t.equal(
    stdout,
    `outrider ${await version()} (node ${process.version}, OpenSSL ${process.versions.openssl})\n`,
  );
});

async function version(): Promise<string> {
  return JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')).version;
}

t.test('the start of the command loads no package', async t => {
  t.same(packagesIn(loadedWith('main.js')), []);
});

t.test('no chunk imports node:http as a module, which would load fetch with it', async t => {
  const importers = Object.entries(outputs).filter(([, { imports }]) =>
    imports.some(({ path, kind }) => kind !== 'require-call' && /^(node:)?http$/.test(path)),
  );
  t.same(
    importers.map(([path]) => basename(path)),
    [],
  );
});

t.test('every package is inside: what is left to import is of Node, or optional', async t => {
  const left = Object.values(outputs).flatMap(({ imports }) => imports.filter(one => one.external));
  const missing = left.map(one => one.path).filter(path => !isBuiltin(path));
  // koffi is native and optional; the rest are packages that the OpenTelemetry ones try and do without.
  t.same(
    missing.filter(path => path !== 'koffi'),
    [],
  );
});

t.test('every chunk is a module that loads', async t => {
  // A worker and the command itself do something when they are loaded; the chunks only define things.
  const entries = new Set(['main.js', 'worker.js']);
  const chunks = (await readdir(dist)).filter(file => file.endsWith('.js') && !entries.has(file));
  const code = chunks.map(file => `await import('${pathToFileURL(join(dist, file)).href}');`).join('\n');
  const { code: exit, stderr } = await run(process.execPath, ['--input-type=module', '-e', code]);
  t.equal(stderr, '');
  t.equal(exit, 0);
});

t.test('what is loaded on demand is taken by what its chunk exports', async t => {
  // esbuild gives a CommonJS package that is imported dynamically one export, its `default`; Node gives the names as well.
  const onlyDefault = new Set(
    Object.values(outputs)
      .filter(({ entryPoint, exports }) => entryPoint !== undefined && String(exports) === 'default')
      .map(({ entryPoint }) => entryPoint)
      .filter(entryPoint => !entryPoint?.includes('/reflect-metadata/')), // nothing is taken from it
  );
  const checked: string[] = [];
  for (const [source, { imports }] of Object.entries(built.metafile.inputs)) {
    const taken = imports.filter(({ path, kind }) => kind === 'dynamic-import' && onlyDefault.has(path));
    if (!source.startsWith('src/') || taken.length === 0) continue;
    const text = await readFile(join(ROOT, source), 'utf8');
    const defaults = text.match(/\bdefault: |\)\.default\b/g)?.length ?? 0;
    t.ok(
      defaults >= taken.length,
      `${source} takes the default of ${taken.map(({ path }) => path).join(', ')}`,
    );
    checked.push(source);
  }
  t.ok(checked.includes('src/proxy/ext-authz-grpc.ts'));
});

t.test('the worker is beside every chunk, where they look for it', async t => {
  t.ok(existsSync(join(dist, 'worker.js')));
  t.same(
    (await readdir(dist, { withFileTypes: true })).filter(one => one.isDirectory()),
    [],
  );
});

t.test('names survive in the bundle, comments do not', async t => {
  const text = (
    await Promise.all([...loadedWith('main.js')].map(path => readFile(join(ROOT, path), 'utf8')))
  ).join('');
  t.match(text, 'function versionLine(');
  t.notMatch(text, 'The line of');
});

t.test('every bundled package is in THIRD_PARTY_LICENSES.txt with its text', async t => {
  const text = await readFile(join(dist, 'THIRD_PARTY_LICENSES.txt'), 'utf8');
  for (const folder of packagesIn(Object.keys(outputs))) {
    const { name, version } = JSON.parse(await readFile(join(ROOT, folder, 'package.json'), 'utf8'));
    t.match(text, `\n${name} ${version}  `);
  }
  t.notMatch(text, 'carries no text');
});
