import { fstatSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { nodeIsSupported } from '../../src/cli/version.ts';
import { descriptorOf } from '../../src/net/socket-options.ts';
import { run, start } from './run.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

// Stands in for the bundle: says who runs it and with what, then does what its first argument asks.
const BUNDLE = `
const { pid, ppid, argv, env } = process;
const { fstatSync } = process.getBuiltinModule('node:fs');
if (argv[2] === 'sockets') {
  const { LISTEN_PID, LISTEN_FDS, OUTRIDER_LISTEN_PARENT } = env;
  console.log(JSON.stringify({ pid, ppid, LISTEN_PID, LISTEN_FDS, OUTRIDER_LISTEN_PARENT, ino: fstatSync(3).ino }));
  process.exit();
}
if (argv[2] === 'wait') {
  const timer = setInterval(() => {}, 1000);
  process.on(argv[3], () => { console.log('got ' + argv[3]); clearInterval(timer); });
}
console.log(JSON.stringify({ pid, pinned: env.PINNED === 'yes', args: argv.slice(2) }));
if (argv[2] === 'exit') process.exitCode = Number(argv[3]);
if (argv[2] === 'die') process.kill(pid, argv[3]);
`;

/** An installed package in a folder of its own; with it comes a Node that leaves a mark in its environment. */
async function installed(t: Tap, { bundle = true, node = true } = {}) {
  // Outside the project: its own node_modules, found from inside, has the pinned Node as well.
  const root = await mkdtemp(join(tmpdir(), 'outrider-'));
  t.teardown(() => rm(root, { recursive: true }));
  await mkdir(join(root, 'bin'));
  await cp(join(ROOT, 'bin/outrider.js'), join(root, 'bin/outrider.js'));
  await cp(join(ROOT, 'package.json'), join(root, 'package.json'));
  if (bundle) {
    await mkdir(join(root, 'dist'));
    await writeFile(join(root, 'dist/main.js'), BUNDLE);
  }
  const pinned = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin/node');
  if (node) {
    await mkdir(join(pinned, '..'), { recursive: true });
    await writeFile(pinned, `#!/bin/sh\nPINNED=yes exec '${process.execPath}' "$@"\n`, { mode: 0o755 });
  }
  return join(root, 'bin/outrider.js');
}

type Tap = { teardown: (after: () => unknown) => void };

/** Options that make this Node say it is another one, with or without `process.execve` (22.15 and up have it). */
function pretending(version: string, { execve = true } = {}): string[] {
  const code = `Object.defineProperty(process, 'version', { value: '${version}' });${execve ? '' : 'delete process.execve;'}`;
  return ['--import', `data:text/javascript,${encodeURIComponent(code)}`];
}

t.test('a Node that can run the bundle runs it in its own process', async t => {
  const launcher = await installed(t);
  const { child, ended } = start(process.execPath, [launcher, 'run', '--app', '8080']);
  const { code, stdout, stderr } = await ended;
  t.equal(code, 0);
  t.equal(stderr, '');
  t.match(JSON.parse(stdout), { pid: child.pid, pinned: false, args: ['run', '--app', '8080'] });
});

t.test('an older Node becomes the pinned one: same process, same arguments, not a word', async t => {
  const launcher = await installed(t);
  const { child, ended } = start(process.execPath, [...pretending('v22.20.0'), launcher, 'run', '--', 'a b']);
  const { code, stdout, stderr } = await ended;
  t.equal(code, 0);
  t.equal(stderr, '');
  t.same(JSON.parse(stdout), { pid: child.pid, pinned: true, args: ['run', '--', 'a b'] });
});

t.test('a Node too old for that stands before the pinned one', async t => {
  const old = pretending('v20.20.2', { execve: false });

  t.test('and passes arguments and the exit code', async t => {
    const launcher = await installed(t);
    const { child, ended } = start(process.execPath, [...old, launcher, 'exit', '7']);
    const { code, stdout, stderr } = await ended;
    t.equal(code, 7);
    t.equal(stderr, '');
    t.match(JSON.parse(stdout), { pinned: true, args: ['exit', '7'] });
    t.not(JSON.parse(stdout).pid, child.pid);
  });

  t.test('and dies of the signal that the pinned one died of', async t => {
    const launcher = await installed(t);
    const { code, signal } = await run(process.execPath, [...old, launcher, 'die', 'SIGTERM']);
    t.equal(code, null);
    t.equal(signal, 'SIGTERM');
  });

  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const) {
    t.test(`and forwards ${name}`, async t => {
      const launcher = await installed(t);
      const { child, ended, said } = start(process.execPath, [...old, launcher, 'wait', name]);
      await said('stdout', /\n/); // its handler is there before its first line
      child.kill(name);
      const { code, stdout } = await ended;
      t.equal(code, 0);
      t.match(stdout, `got ${name}`);
    });
  }
});

/** As systemd starts a service with its sockets. */
const WITH_PID = ['-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath];

t.test('sockets that systemd hands over reach the Node that runs the bundle', async t => {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const descriptor = descriptorOf(server);
  const { ino } = fstatSync(descriptor);
  const env = { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'inbound' };
  const launcher = await installed(t);
  for (const [what, flags, passedOn] of [
    ['its own process', [], false],
    ['a Node that could be replaced: by execve they would be closed', pretending('v22.20.0'), true],
    ['a Node that cannot', pretending('v20.20.2', { execve: false }), true],
  ] as const) {
    const args = [...WITH_PID, ...flags, launcher, 'sockets'];
    const { child, ended } = start('sh', args, { env, descriptors: [descriptor] });
    const { stdout, stderr } = await ended;
    t.equal(stderr, '', what);
    const pid = String(child.pid);
    const said = JSON.parse(stdout);
    t.match(said, { LISTEN_PID: pid, LISTEN_FDS: '1', ino }, what);
    t.equal(said.OUTRIDER_LISTEN_PARENT, passedOn ? pid : undefined, what);
    t.equal(String(passedOn ? said.ppid : said.pid), pid, what);
  }
});

t.test('without a Node that can run it, one line says which is needed', async t => {
  const launcher = await installed(t, { node: false });
  const { code, stdout, stderr } = await run(process.execPath, [
    ...pretending('v20.20.2'),
    launcher,
    '--version',
  ]);
  t.equal(code, 1);
  t.equal(stdout, '');
  t.match(stderr, /^outrider: needs Node \^24\.21\.0 \|\| >=26\.9\.0 and this is v20\.20\.2; .*\n$/);
});

t.test('without a bundle, one line says how to make it', async t => {
  const launcher = await installed(t, { bundle: false });
  const { code, stderr } = await run(process.execPath, [launcher, '--version']);
  t.equal(code, 1);
  t.equal(stderr, 'outrider: dist/main.js is missing; `npm run build` makes it\n');
});

t.test('launcher, bundle and package.json mean the same versions', async t => {
  const { engines } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));
  t.match(await readFile(join(ROOT, 'bin/outrider.js'), 'utf8'), `const NEEDED = '${engines.node}';`);
  t.equal(engines.node, '^24.21.0 || >=26.9.0', 'the table below is of this range');
  const table: Record<string, boolean> = {
    'v18.20.8': false,
    'v24.20.9': false,
    'v24.21.0': true,
    'v24.30.1': true,
    'v25.9.0': false,
    'v26.8.9': false,
    'v26.9.0': true,
    'v27.0.0': true,
  };
  const launcher = await installed(t, { node: false });
  for (const [version, supported] of Object.entries(table)) {
    t.equal(nodeIsSupported(version), supported, `bundle: ${version}`);
    const { code } = await run(process.execPath, [...pretending(version), launcher]);
    t.equal(code === 0, supported, `launcher: ${version}`);
  }
});
