/** The unit files: systemd takes them, and Outrider takes the command lines and variables in them. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseCapture } from '../../src/cli/capture-flags.ts';
import { parseHealthcheck } from '../../src/cli/healthcheck.ts';
import { parseRun } from '../../src/cli/run-flags.ts';
import { DEFAULT_LISTENERS } from '../../src/config/settings.ts';
import type { HandedOver } from '../../src/messages.ts';
import { temporaryFolder } from '../certificates.ts';
import { ROOT } from './built.ts';

const FOLDER = join(ROOT, 'config/systemd');
const OUTRIDER = '/usr/local/bin/outrider';
const manual = readFileSync(join(ROOT, 'docs/VM.md'), 'utf8');
const read = (file: string): string => readFileSync(join(FOLDER, file), 'utf8');

/** `Section.Key` → its values, in order. */
function settings(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  let section = '';
  for (const line of text.split('\n')) {
    if (/^(?:[#;].*)?$/.test(line)) continue;
    const [, name] = /^\[(\w+)\]$/.exec(line) ?? [];
    if (name !== undefined) section = name;
    else {
      const [, key, value = ''] = /^(\w+)=(.*)$/.exec(line) ?? [];
      if (key === undefined) throw new Error(`no setting: ${line}`);
      found.set(`${section}.${key}`, [...(found.get(`${section}.${key}`) ?? []), value]);
    }
  }
  return found;
}

const service = settings(read('outrider.service'));
const environment = Object.fromEntries(
  [...read('outrider.env').matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
);
const one = (key: string): string => service.get(key)?.[0] ?? '';

/** The arguments of a command of the unit, variables put in. */
function argsOf(key: string): string[] {
  const [command = '', ...args] = one(`Service.${key}`)
    .replace(/\$(\w+)/g, (_, name: string) => environment[name] ?? '')
    .split(' ');
  t.equal(command.replace('+', ''), OUTRIDER);
  return args;
}

t.test('capture: as root, with flags that it takes', t => {
  t.match(one('Service.ExecStartPre'), /^\+/);
  const [, ...args] = argsOf('ExecStartPre');
  const parsed = parseCapture(args);
  t.match(parsed, { ok: true, value: { action: 'apply', rules: {} } });
  t.match(environment.CAPTURE_FLAGS, /--include-inbound-ports/, "never sshd's port by default");
  t.match(parseCapture(['apply', '--mode', 'tproxy', ...args.slice(1)]), { ok: true });
  t.end();
});

t.test('run: variables are its own, and the drain ends before systemd is impatient', t => {
  t.same(argsOf('ExecStart'), ['run']);
  const parsed = parseRun([], environment);
  if (!parsed.ok) return t.fail(JSON.stringify(parsed));
  t.match(parsed.value, { configPaths: ['/etc/outrider/config'], certsDir: '/etc/outrider/certs' });
  t.equal(parsed.value.capture, 'redirect');
  t.ok(Number(parsed.value.drainSeconds) < Number(one('Service.TimeoutStopSec')));
  for (const name of Object.keys(environment)) t.match(name, /^(?:OUTRIDER_\w+|CAPTURE_FLAGS)$/);
  t.end();
});

t.test('it has started when it is ready, before systemd is impatient', t => {
  const [, ...args] = argsOf('ExecStartPost');
  const parsed = parseHealthcheck(args, environment);
  if (!parsed.ok) return t.fail(JSON.stringify(parsed));
  t.ok(parsed.value.waitMs < Number(one('Service.TimeoutStartSec')) * 1_000);
  t.end();
});

t.test('the user is the one whose connections are not captured', t => {
  t.same([one('Service.User'), one('Service.Group')], ['outrider', 'outrider']);
  t.match(read('outrider.sysusers.conf'), /^g outrider 1337$/m);
  t.match(read('outrider.sysusers.conf'), /^u outrider 1337:1337 /m);
  t.equal(one('Service.CapabilityBoundingSet'), '');
  t.end();
});

t.test("TPROXY: the capability that the client's address needs, and no other", t => {
  const drop = settings(read('tproxy.conf'));
  const [name = '', value = ''] = drop.get('Service.Environment')?.[0]?.split('=') ?? [];
  t.match(parseRun([], { [name]: value }), { ok: true, value: { capture: 'tproxy' } });
  t.same(drop.get('Service.AmbientCapabilities'), ['CAP_NET_ADMIN']);
  t.same(drop.get('Service.CapabilityBoundingSet'), ['CAP_NET_ADMIN']);
  t.same(drop.get('Unit.Requires'), ['outrider.socket']);
  t.end();
});

t.test('the socket is the inbound port of both families, by a name that Outrider knows', t => {
  const socket = settings(read('outrider.socket'));
  const { port } = DEFAULT_LISTENERS.inbound;
  t.same(socket.get('Socket.ListenStream'), [`0.0.0.0:${port}`, `[::]:${port}`]);
  const [name = ''] = socket.get('Socket.FileDescriptorName') ?? [];
  t.ok(name in ({ inbound: [], outbound: [] } satisfies HandedOver), name);
  t.same(socket.get('Socket.Transparent'), ['yes']);
  t.notOk(socket.has('Socket.Service'), 'it is of the unit of the same name');
  t.end();
});

t.test('the app starts after the sidecar, and ends before it', t => {
  const app = settings(read('app.service'));
  t.same(app.get('Unit.After'), ['outrider.service']);
  t.same(app.get('Unit.Requires'), ['outrider.service']);
  t.end();
});

t.test('docs/VM.md names every file, and none that is not there', t => {
  for (const file of readdirSync(FOLDER)) t.match(manual, file);
  for (const [, file = ''] of manual.matchAll(/install -D -m 644 (\S+)/g))
    t.ok(existsSync(join(FOLDER, file)), file);
  t.end();
});

const analyze = spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' });

t.test('systemd takes them', { skip: analyze.status !== 0 && 'needs systemd-analyze' }, t => {
  const folder = temporaryFolder(t);
  // What the units start is not installed here.
  const put = (file: string, text: string): string => {
    writeFileSync(join(folder, file), text.replaceAll(/\/usr\/local\/bin\/\w+/g, '/bin/true'));
    return join(folder, file);
  };
  const units = ['outrider.service', 'outrider.socket', 'app.service'].map(file => put(file, read(file)));
  mkdirSync(join(folder, 'outrider.service.d'));
  put('outrider.service.d/tproxy.conf', read('tproxy.conf'));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], {
    encoding: 'utf8',
  });
  // Of these units only: a machine has others, with faults of their own.
  const said = `${stdout}${stderr}`.split('\n').filter(line => line.includes(folder));
  t.same(said, []);
  t.equal(status, 0, stderr);
  t.end();
});
