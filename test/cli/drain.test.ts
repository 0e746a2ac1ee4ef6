import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { temporaryIdentity, testAuthority, testIdentity } from '../certificates.ts';
import { run } from '../package/run.ts';
import { startSidecar } from '../sidecar.ts';

t.setTimeout(120_000); // processes start slowly on a busy machine

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

function outrider(...args: string[]) {
  return run(process.execPath, [MAIN, ...args]);
}

type Tap = { teardown: (after: () => unknown) => void };

async function serve(t: Tap, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return String((server.address() as AddressInfo).port);
}

t.test('drain posts to the admin port', async t => {
  const asked: string[] = [];
  const port = await serve(t, ({ method, url, headers }, response) => {
    asked.push(`${method} ${url} ${headers.host}`);
    response.end('draining\n');
  });
  t.same(await outrider('drain', '--port', port), {
    code: 0,
    signal: null,
    stdout: 'draining\n',
    stderr: '',
  });
  t.same(asked, [`POST /drain 127.0.0.1:${port}`]);
});

t.test('a sidecar that was told to drain is not ready any more, and lives on', async t => {
  const certs = temporaryIdentity(t, await testIdentity(await testAuthority(), 'shop/web'));
  const sidecar = await startSidecar(t, { certs, app: 1 });
  t.match(await sidecar.get('health', '/healthz/ready'), { status: 200 });
  t.match(await outrider('drain', '--port', String(sidecar.ports.admin)), { code: 0, stdout: 'draining\n' });
  t.match(await sidecar.get('health', '/healthz/ready'), { status: 503, body: 'draining\n' });
  t.match(await sidecar.get('health', '/healthz/live'), { status: 200 });
});

t.test('nobody there, and an answer that is none, is exit code 1 and one line', async t => {
  t.match(await outrider('drain', '--port', '1'), {
    code: 1,
    stdout: '',
    stderr: /^not draining: .*ECONNREFUSED.*\n$/,
  });
  const port = await serve(t, (_, response) => response.writeHead(404).end());
  t.match(await outrider('drain', '--port', port), { code: 1, stderr: 'not draining: 404\n' });
});

t.test('healthcheck --wait asks until the sidecar is ready', async t => {
  let asked = 0;
  const port = await serve(t, (_, response) => response.writeHead(++asked < 3 ? 503 : 200).end('LIVE'));
  t.match(await outrider('healthcheck', '--port', port, '--wait', '60'), { code: 0, stdout: 'ready\n' });
  t.equal(asked, 3);
});
