/** A socket that the kernel itself answers on (netlink(7)): Node has none, so the C library's functions make it. */
import { getSystemErrorName } from 'node:util';
import { type CFunction, cLibrary } from './c-library.ts';

/** One kernel, asked and answered without waiting: it has answered when `send` is back. */
export interface NetlinkSocket {
  /** @throws Error of one line */
  send(messages: Buffer): void;
  /** What one read gives: whole messages. null = nothing was said in time. @throws Error of one line */
  receive(): Buffer | null;
  close(): void;
}

/** linux/netlink.h, linux/socket.h */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const EINTR = 4;
const EAGAIN = 11;
const EPROTONOSUPPORT = 93;
const EAFNOSUPPORT = 97;

const PATIENCE_SECONDS = 10n; // a kernel that loads modules answers when it has them
const RECEIVE_BYTES = 65_536; // the kernel sends no more in one piece (linux/netlink.h: NLMSG_GOODSIZE is at most 8192)
const SEND_ROOM = 2; // the kernel counts its own bookkeeping as well

const INT = 'int32';
const PROTOTYPES = {
  socket: { arguments: [INT, INT, INT], return: INT },
  setsockopt: { arguments: [INT, INT, INT, 'pointer', 'uint32'], return: INT },
  send: { arguments: [INT, 'pointer', 'uint64', INT], return: 'int64' },
  recv: { arguments: [INT, 'pointer', 'uint64', INT], return: 'int64' },
  close: { arguments: [INT], return: INT },
} as const;

/** There is no way to speak with the kernel, or it is built without what is asked for. */
export class Unavailable extends Error {}

const NO_FFI =
  'this Node cannot speak with the kernel: it needs Node 26.9 (node:ffi) or the optional package koffi';

/**
 * Opens one.
 * @param protocol such as NETLINK_ROUTE
 * @param name what errors call it
 * @throws Unavailable, or an Error of one line
 */
export function openNetlink(protocol: number, name: string): NetlinkSocket {
  const library = cLibrary(PROTOTYPES);
  if (library === null) throw new Unavailable(NO_FFI);
  const { functions, errno } = library;
  const descriptor = Number(functions.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (descriptor < 0) {
    const code = errno();
    const fault = `no ${name} socket: ${getSystemErrorName(-code)}`;
    const isUnknown = code === EPROTONOSUPPORT || code === EAFNOSUPPORT;
    throw isUnknown ? new Unavailable(`${fault}; the kernel is built without it`) : new Error(fault);
  }
  // struct timeval. An older kernel without words for its errors gives numbers only.
  set(functions.setsockopt, descriptor, [SOL_SOCKET, SO_RCVTIMEO], new BigInt64Array([PATIENCE_SECONDS, 0n]));
  set(functions.setsockopt, descriptor, [SOL_NETLINK, NETLINK_EXT_ACK], new Int32Array([1]));
  const fault = (what: string): Error => new Error(`${what} ${name}: ${getSystemErrorName(-errno())}`);
  const into = Buffer.alloc(RECEIVE_BYTES);
  return {
    send(messages) {
      const room = new Int32Array([messages.length * SEND_ROOM]);
      // Needs NET_ADMIN, as all that is asked for here; without it the kernel's own answer says so.
      set(functions.setsockopt, descriptor, [SOL_SOCKET, SO_SNDBUFFORCE], room);
      const sent = Number(functions.send(descriptor, messages, BigInt(messages.length), 0));
      if (sent !== messages.length) throw fault('nothing can be sent to');
    },
    receive() {
      for (;;) {
        const length = Number(functions.recv(descriptor, into, BigInt(into.length), 0));
        if (length >= 0) return Buffer.from(into.subarray(0, length));
        const code = errno();
        if (code === EAGAIN) return null;
        if (code !== EINTR) throw new Error(`nothing can be read from ${name}: ${getSystemErrorName(-code)}`);
      }
    },
    close() {
      functions.close(descriptor);
    },
  };
}

function set(
  setsockopt: CFunction,
  descriptor: number,
  [level, option]: readonly [level: number, option: number],
  value: BigInt64Array | Int32Array,
): void {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  setsockopt(descriptor, level, option, bytes, bytes.length);
}
