/** ClientHellos for tests: what real clients send, and the same taken apart and put together wrong. */
import { Duplex } from 'node:stream';
import { type ConnectionOptions, connect } from 'node:tls';

export interface Extension {
  readonly type: number;
  readonly body: Buffer;
}

export const SERVER_NAME = 0;
export const ALPN = 16;

/** The bytes with which Node's TLS client begins. */
export async function realHello(options: ConnectionOptions = {}): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const network = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
  const socket = connect({ socket: network, rejectUnauthorized: false, ...options });
  socket.on('error', () => {});
  const hello = await promise;
  socket.destroy();
  return hello;
}

/** Where the extensions' length stands in a hello of one record. */
export function extensionsAt(hello: Buffer): number {
  let at = 5 + 4 + 2 + 32;
  at += 1 + hello.readUInt8(at);
  at += 2 + hello.readUInt16BE(at);
  return at + 1 + hello.readUInt8(at);
}

/** The same hello with other extensions. */
export function withExtensions(hello: Buffer, change: (extensions: Extension[]) => Extension[]): Buffer {
  const start = extensionsAt(hello);
  const extensions: Extension[] = [];
  for (let at = start + 2; at < hello.length; ) {
    const length = hello.readUInt16BE(at + 2);
    extensions.push({ type: hello.readUInt16BE(at), body: hello.subarray(at + 4, at + 4 + length) });
    at += 4 + length;
  }
  const written = change(extensions).map(({ type, body }) =>
    Buffer.concat([u16(type), u16(body.length), body]),
  );
  const whole = Buffer.concat(written);
  return withLengths(Buffer.concat([hello.subarray(0, start), u16(whole.length), whole]));
}

/** Without the field of extensions itself, as before TLS had any. */
export function withoutExtensions(hello: Buffer): Buffer {
  return withLengths(Buffer.from(hello.subarray(0, extensionsAt(hello))));
}

/** Record and message lengths that are true again; the record may become longer than the protocol allows. */
function withLengths(hello: Buffer): Buffer {
  const true16 = Buffer.from(hello);
  true16.writeUInt16BE(hello.length - 5, 3);
  true16.writeUIntBE(hello.length - 9, 6, 3);
  return true16;
}

/** The same handshake bytes in records of these sizes, the last of which repeats. */
export function inRecords(hello: Buffer, ...sizes: readonly number[]): Buffer {
  const parts: Buffer[] = [];
  const content = hello.subarray(5);
  for (let at = 0, turn = 0; at < content.length; turn++) {
    const size = sizes[Math.min(turn, sizes.length - 1)] ?? content.length;
    const part = content.subarray(at, at + size);
    parts.push(hello.subarray(0, 3), u16(part.length), part);
    at += part.length;
  }
  return Buffer.concat(parts);
}

export function alpnBody(...names: readonly string[]): Buffer {
  const list = Buffer.concat(
    names.map(name => Buffer.concat([u8(name.length), Buffer.from(name, 'latin1')])),
  );
  return Buffer.concat([u16(list.length), list]);
}

export function serverNameBody(...names: readonly string[]): Buffer {
  const list = Buffer.concat(
    names.map(name => Buffer.concat([u8(0), u16(name.length), Buffer.from(name, 'latin1')])),
  );
  return Buffer.concat([u16(list.length), list]);
}

export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

function u8(value: number): Buffer {
  return Buffer.from([value]);
}
