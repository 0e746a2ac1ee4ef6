import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../package/run.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

function probe(...args: string[]) {
  return run(process.execPath, [MAIN, 'healthcheck', ...args]);
}

type Tap = { teardown: (after: () => unknown) => void };

async function healthPort(t: Tap, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return String((server.address() as AddressInfo).port);
}

t.test('a sidecar that is ready is healthy', async t => {
  const port = await healthPort(t, ({ url }, response) =>
    response.writeHead(url === '/healthz/ready' ? 200 : 404).end('LIVE'),
  );
  t.same(await probe('--port', port), { code: 0, signal: null, stdout: 'ready\n', stderr: '' });
  t.equal((await probe(`--port=${port}`)).code, 0);
});

t.test('a sidecar that is not ready is not, and its reason is shown', async t => {
  const port = await healthPort(t, (_, response) => response.writeHead(503).end('no identity loaded\nmore'));
  const { code, stdout, stderr } = await probe('--port', port);
  t.equal(code, 1);
  t.equal(stdout, '');
  t.equal(stderr, 'not ready: 503 no identity loaded\n');
});

t.test('an answer that breaks off or never ends is not healthy', async t => {
  const broken = await healthPort(t, (_, response) =>
    response.writeHead(200, { 'content-length': 9 }).write('L', () => response.destroy()),
  );
  t.equal((await probe('--port', broken)).code, 1);
  const silent = await healthPort(t, () => {});
  const { code, stderr } = await probe('--port', silent);
  t.equal(code, 1);
  t.match(stderr, /^not ready: no answer within \d+ ms\n$/);
});

t.test('nobody there is not healthy', async t => {
  const { code, stderr } = await probe('--port', '1');
  t.equal(code, 1);
  t.match(stderr, /^not ready: .*ECONNREFUSED.*\n$/);
});

t.test('a wrong flag is exit code 2 and one line', async t => {
  for (const args of [
    ['--port'],
    ['--port', '0'],
    ['--port', '65536'],
    ['--port', '80x'],
    ['--prot', '1'],
    ['--port', '1', 'x'],
  ]) {
    const { code, stdout, stderr } = await probe(...args);
    t.equal(code, 2, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, /^outrider: healthcheck: [^\n]+\n$/);
  }
});

t.test('it asks on the port that the environment gives the sidecar', async t => {
  const port = await healthPort(t, (_, response) => response.end('LIVE'));
  const env = { ...process.env, OUTRIDER_HEALTH: `0.0.0.0:${port}` };
  t.equal((await run(process.execPath, [MAIN, 'healthcheck'], { env })).code, 0);
  t.equal(
    (await run(process.execPath, [MAIN, 'healthcheck', '--port', '1'], { env })).code,
    1,
    'a flag wins',
  );
});

t.test('--help says what it does', async t => {
  const { code, stdout } = await probe('--help');
  t.equal(code, 0);
  t.match(stdout, /^usage: outrider healthcheck \[--port PORT\] \[--wait SECONDS\]\n/);
});
