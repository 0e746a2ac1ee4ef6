/**
 * The app behind an attacked proxy, HTTP/1.1: small answers, a large one, and one that never comes. Cheap, since it shares
 * a core with the witness. A child of the bench.
 */
// Hot path: no promise or closure per chunk.
import { createServer, type Socket } from 'node:net';
import { HOLD_PATH, LARGE_PATH } from '../attacks.ts';
import { SMALL_BYTES } from '../workload.ts';

const LARGE_BYTES = 64 * 1024; // 250 of them are more than the sockets hold
const HEAD_END = Buffer.from('\r\n\r\n');
const SMALL = answer(SMALL_BYTES);
const LARGE = answer(LARGE_BYTES);

function answer(bytes: number): Buffer {
  const head = `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${bytes}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(bytes, 'o')]);
}

/** Whatever is no whole head without content here is content of a request that is held, or lost with its connection. */
function serve(socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    if (!chunk.subarray(-HEAD_END.length).equals(HEAD_END)) return;
    const path = chunk.toString('latin1', chunk.indexOf(' ') + 1, chunk.indexOf(' HTTP/'));
    if (path !== HOLD_PATH) socket.write(path === LARGE_PATH ? LARGE : SMALL);
  });
}

const server = createServer({ noDelay: true }, serve);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const address = server.address();
  process.send?.({ port: typeof address === 'object' && address ? address.port : 0 });
});
process.on('disconnect', () => process.exit(0));
