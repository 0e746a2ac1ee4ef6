/**
 * getsockopt and setsockopt, which Node does not have: by its own FFI (node:ffi, without a flag from 26.9 on), else by
 * koffi. Loaded when first asked for, once a thread.
 */
import { createRequire } from 'node:module';
import type { Server, Socket } from 'node:net';

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
  loaded ??= fromNode() ?? fromKoffi();
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

function fromNode(): SocketOptions | null {
  try {
    const ffi = withoutWarning(() => process.getBuiltinModule('node:ffi'));
    if (ffi === undefined) return null;
    // The program itself: its C library is called something else on each system.
    const { functions } = ffi.dlopen(null, {
      getsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'pointer'], return: 'int32' },
      setsockopt: { arguments: ['int32', 'int32', 'int32', 'pointer', 'uint32'], return: 'int32' },
    });
    return calling('node:ffi', functions.getsockopt as Read, functions.setsockopt as Write);
  } catch {
    return null;
  }
}

/** Standard error is lines of JSON; that FFI is an experiment is known here. */
function withoutWarning<T>(load: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}

interface Koffi {
  load(path: string | null): { func(prototype: string): unknown };
}

function fromKoffi(): SocketOptions | null {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const program = koffi.load(null);
    return calling(
      'koffi',
      program.func('int getsockopt(int, int, int, void *, void *)') as Read,
      program.func('int setsockopt(int, int, int, const void *, uint32_t)') as Write,
    );
  } catch {
    return null;
  }
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
