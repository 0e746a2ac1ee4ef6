import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from './package/run.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = `${ROOT}src/main.ts`;

function outrider(...args: string[]) {
  return run(process.execPath, [MAIN, ...args]);
}

t.test('--version names Outrider, Node and OpenSSL', async t => {
  const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'));
  t.same(await outrider('--version'), {
    code: 0,
    signal: null,
    stdout: `outrider ${version} (node ${process.version}, OpenSSL ${process.versions.openssl})\n`,
    stderr: '',
  });
});

t.test('--help lists every command on standard output', async t => {
  const { code, stdout, stderr } = await outrider('--help');
  t.equal(code, 0);
  t.equal(stderr, '');
  for (const command of [
    'run',
    'demo',
    'check',
    'explain',
    'certs',
    'capture',
    'inject',
    'webhook',
    'healthcheck',
    'drain',
  ]) {
    t.match(stdout, new RegExp(`^  ${command} `, 'm'));
  }
});

t.test('no command is a wrong command line: the usage on standard error', async t => {
  const { code, stdout, stderr } = await outrider();
  t.equal(code, 2);
  t.equal(stdout, '');
  t.match(stderr, /^usage: outrider /);
});

t.test('an unknown command or flag is exit code 2 and one line that names it', async t => {
  for (const name of ['frob', '--frob', 'toString', '__proto__']) {
    const { code, stdout, stderr } = await outrider(name);
    t.equal(code, 2);
    t.equal(stdout, '');
    t.match(stderr, /^outrider: [^\n]+\n$/);
    t.match(stderr, name);
  }
});

t.test('a reader that leaves early is not an error', async t => {
  const child = spawn(process.execPath, [MAIN, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')]);
  t.equal(stderr, '');
  t.equal(code, 0);
});

t.test('a Node that is too old is one line', async t => {
  const old = encodeURIComponent("Object.defineProperty(process, 'version', { value: 'v24.20.0' });");
  const { code, stdout, stderr } = await run(process.execPath, [
    '--import',
    `data:text/javascript,${old}`,
    MAIN,
    '--version',
  ]);
  t.equal(code, 1);
  t.equal(stdout, '');
  t.equal(stderr, 'outrider: needs Node ^24.21.0 || >=26.9.0 and this is v24.20.0\n');
});

t.test('an error that nobody expected is one line with its place, and exit code 1', async t => {
  // Broken on purpose: what the version line is made of is missing.
  const broken = encodeURIComponent(
    "Object.defineProperty(process, 'versions', { get() { throw new TypeError('broken\\nbadly'); } });",
  );
  const { code, stderr } = await run(process.execPath, [
    '--import',
    `data:text/javascript,${broken}`,
    MAIN,
    '--version',
  ]);
  t.equal(code, 1);
  t.match(stderr, /^outrider: TypeError: broken at \S+\n$/);
});
