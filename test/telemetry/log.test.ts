import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { isLogLevel, log, logLevel, setLogLevel, setLogWriter } from '../../src/telemetry/log.ts';

const lines: string[] = [];
setLogWriter(line => lines.push(line));
t.beforeEach(() => {
  lines.length = 0;
  setLogLevel('info');
});

t.test('a line is one JSON object with time, level, msg and the fields', async t => {
  log.warn('certificates refused', { file: 'key.pem', attempts: 2 });
  const { time, ...rest } = JSON.parse(lines[0]!);
  t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  t.same(rest, { level: 'warn', msg: 'certificates refused', file: 'key.pem', attempts: 2 });
});

t.test('levels below the threshold are silent', async t => {
  for (const level of ['debug', 'info', 'warn', 'error', 'off'] as const) {
    lines.length = 0;
    setLogLevel(level);
    t.equal(logLevel(), level);
    log.debug('x');
    log.info('x');
    log.warn('x');
    log.error('x');
    t.equal(lines.length, 4 - ['debug', 'info', 'warn', 'error', 'off'].indexOf(level), level);
  }
  t.ok(isLogLevel('debug'));
  t.notOk(isLogLevel('loud'));
});

t.test('no field breaks the line, overwrites its head or throws', async t => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  log.info('a\nb', {
    reason: 'x\r\n\u009b31m{"level":"error"}',
    level: 'forged',
    msg: 'forged',
    time: 'forged',
  });
  log.info('error', { error: new Error('no such file'), big: 12n });
  log.info('circle', circle);
  for (const line of lines) t.match(line, /^[\x20-\x7e]*$/);
  const [first, second, third] = lines.map(line => JSON.parse(line));
  t.match(first, { level: 'info', msg: 'a\nb', reason: 'x\r\n\u009b31m{"level":"error"}' });
  t.match(second, { error: 'no such file', big: '12' });
  t.match(third, { level: 'info', msg: 'circle' });
});

t.test('lines go to standard error at once, before an exit in the same turn', async t => {
  const path = fileURLToPath(new URL('../../src/telemetry/log.ts', import.meta.url));
  const code = `import { log } from ${JSON.stringify(path)}; log.error('last words'); process.exit(3);`;
  const { status, stderr, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  t.equal(status, 3);
  t.match(JSON.parse(stderr), { level: 'error', msg: 'last words' });
  t.equal(stdout, '');
});
