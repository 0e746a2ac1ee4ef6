import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../package/run.ts';

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
