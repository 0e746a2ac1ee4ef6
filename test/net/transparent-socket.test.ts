import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { connectPlain, type PlainConnection } from '../../src/net/connect.ts';
import { bindTransparent } from '../../src/net/transparent-socket.ts';
import { deadPort, startTcpApp } from '../peers.ts';

t.setTimeout(60_000);

const MARK = 1337;
const first = bindTransparent({ address: '127.0.0.9', mark: MARK, lowPort: false });
/** Containers and users without NET_ADMIN cannot; test/capture runs it all where it can. */
const skip = typeof first === 'number' ? false : first.why;
if (typeof first === 'number')
  connectPlain({ host: '127.0.0.1', port: 1, timeoutMs: 1_000, descriptor: first }, () => {});

interface Outcome {
  readonly why: string | null;
  readonly connection: PlainConnection;
}

function dial(from: string, host: string, port: number, lowPort = false): Promise<Outcome> {
  const descriptor = bindTransparent({ address: from, mark: MARK, lowPort });
  if (typeof descriptor !== 'number') throw new Error(descriptor.why);
  return new Promise(resolve => {
    connectPlain({ host, port, timeoutMs: 10_000, descriptor }, (why, connection) =>
      resolve({ why, connection }),
    );
  });
}

t.test('the other end sees the address, and bytes pass both ways', { skip }, async t => {
  const seen: string[] = [];
  const app = await startTcpApp(t, socket => {
    seen.push(`${socket.remoteAddress}`);
    socket.pipe(socket);
  });
  const { why, connection } = await dial('127.0.0.9', '127.0.0.1', app.port);
  t.equal(why, null);
  const said = await new Promise<string>(resolve => {
    connection.inlet.receive = chunk => resolve(chunk.toString());
    connection.socket.write('hello');
  });
  t.equal(said, 'hello');
  t.same(seen, ['127.0.0.9']);
  t.equal(connection.socket.localAddress, '127.0.0.9');
  connection.socket.destroy();
});

t.test('a low port is none that a client would take, and is never used twice', { skip }, async t => {
  const app = await startTcpApp(t, () => {});
  const ports = new Set<number>();
  for (let count = 0; count < 200; count++) {
    const { why, connection } = await dial('127.0.0.9', '127.0.0.1', app.port, true);
    t.equal(why, null);
    t.teardown(() => connection.socket.destroy());
    ports.add(connection.socket.localPort ?? 0);
  }
  t.equal(ports.size, 200);
  t.ok([...ports].every(port => port >= 1_024 && port < 32_768));
});

t.test('a thousand refused connections leave no descriptor open', { skip }, async t => {
  const port = await deadPort();
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const whys = new Set<string | null>();
  for (let batch = 0; batch < 100; batch++) {
    const dialled = Array.from({ length: 10 }, () => dial('127.0.0.9', '127.0.0.1', port));
    for (const { why, connection } of await Promise.all(dialled)) {
      whys.add(why);
      if (!connection.socket.closed) await new Promise(resolve => connection.socket.once('close', resolve));
    }
  }
  t.same([...whys], ['ECONNREFUSED']);
  t.equal(descriptors(), before);
});

t.test('what is no address is said, and its descriptor closed', { skip }, t => {
  const before = readdirSync('/proc/self/fd').length;
  t.match(bindTransparent({ address: 'localhost', mark: MARK, lowPort: false }), { code: 'EINVAL' });
  t.match(bindTransparent({ address: '::1%lo', mark: MARK, lowPort: false }), { code: 'EINVAL' });
  t.equal(readdirSync('/proc/self/fd').length, before);
  t.end();
});

t.test('without the capability it says which one is missing', t => {
  const module = fileURLToPath(new URL('../../src/net/transparent-socket.ts', import.meta.url));
  const program = `
    const { bindTransparent } = await import(${JSON.stringify(module)});
    if (process.getuid() === 0) process.setuid(65534);
    console.log(JSON.stringify(bindTransparent({ address: '192.0.2.1', mark: 1337, lowPort: false })));`;
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  t.match(JSON.parse(said), { code: 'EPERM', why: /need the capability NET_ADMIN$/ });
  t.end();
});
