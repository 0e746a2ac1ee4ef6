/** getsockopt and setsockopt, which Node does not have. Loaded when first asked for, once a thread. */
import type { Server, Socket } from 'node:net';
import { cLibrary } from './c-library.ts';

export interface SocketOptions {
  /** What calls the system. */
  readonly by: 'node:ffi' | 'koffi';
  /** Fills `into`; false when the system says no, for whatever reason. */
  read(descriptor: number, level: number, option: number, into: Buffer): boolean;
  write(descriptor: number, level: number, option: number, value: number): boolean;
}

type Read = (fd: number, level: number, option: number, into: Buffer, length: Buffer) => number;
type Write = (fd: number, level: number, option: number, value: Buffer, length: number) => number;

let loaded: SocketOptions | null | undefined;

/** @returns null where neither is there: Node 24 without koffi, or FFI not permitted */
export function socketOptions(): SocketOptions | null {
  loaded ??= load();
  return loaded;
}

/**
 * The descriptor of a socket. `_handle.fd` is private to Node and as old as its sockets; the documented ways to one
 * (`net.BoundSocket`) end where a server accepts.
 * @returns -1 when it is closed
 */
export function descriptorOf(socket: Socket | Server): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null };
  return handle?.fd ?? -1;
}

function load(): SocketOptions | null {
  const library = cLibrary({
    getsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'pointer'], return: 'int32' },
    setsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'uint32'], return: 'int32' },
  });
  if (library === null) return null;
  const { by, functions } = library;
  return calling(by, functions.getsockopt as Read, functions.setsockopt as Write);
}

function calling(by: SocketOptions['by'], getsockopt: Read, setsockopt: Write): SocketOptions {
  const length = Buffer.alloc(4);
  const number = Buffer.alloc(4);
  return {
    by,
    read(descriptor, level, option, into) {
      if (descriptor < 0) return false;
      writeNative(length, into.length);
      return getsockopt(descriptor, level, option, into, length) === 0;
    },
    write(descriptor, level, option, value) {
      if (descriptor < 0) return false;
      writeNative(number, value);
      return setsockopt(descriptor, level, option, number, number.length) === 0;
    },
  };
}

/** Node runs on little-endian machines but for s390x and old PowerPC. */
function writeNative(buffer: Buffer, value: number): void {
  new Uint32Array(buffer.buffer, buffer.byteOffset, 1)[0] = value;
}
