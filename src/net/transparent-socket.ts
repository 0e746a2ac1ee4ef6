/** Sockets bound to an address of another host (IP_TRANSPARENT), for connections that seem to come from there. */
import { getSystemErrorName } from 'node:util';
import { type CLibrary, cLibrary } from './c-library.ts';

/** linux/socket.h, asm-generic/socket.h, linux/in.h, linux/in6.h */
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_MARK = 36;
const SOL_IP = 0;
const IP_TRANSPARENT = 19;
const IP_BIND_ADDRESS_NO_PORT = 24;
const SOL_IPV6 = 41;
const IPV6_TRANSPARENT = 75;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

const INT = 'int32';
const PROTOTYPES = {
  socket: { arguments: [INT, INT, INT], return: INT },
  setsockopt: { arguments: [INT, INT, INT, 'pointer', 'uint32'], return: INT },
  inet_pton: { arguments: [INT, 'pointer', 'pointer'], return: INT },
  bind: { arguments: [INT, 'pointer', 'uint32'], return: INT },
  close: { arguments: [INT], return: INT },
} as const;

let library: CLibrary<keyof typeof PROTOTYPES> | null | undefined;

/** Systems take ports from 32768 on for their clients (net.ipv4.ip_local_port_range), others from 49152 on. */
const LOW_PORTS = { from: 1_024, to: 32_767 } as const;
const TRIES = 32;

export interface Transparent {
  /** An IPv4 or IPv6 address without a zone. */
  readonly address: string;
  /** Of its packets (SO_MARK). */
  readonly mark: number;
  /**
   * Its port is one that a client's own system would not take. The client may have a connection to the same address and
   * port: two with the same ends would be one to the kernel.
   */
  readonly lowPort: boolean;
}

/** Why there is none: `code` is the system's word (EPERM, EMFILE, …), or ENOSYS where Node cannot ask it. */
export interface NotBound {
  readonly code: string;
  readonly why: string;
}

/** Binds one that does not wait. @returns its descriptor, for whoever gets it to close */
export function bindTransparent({ address, mark, lowPort }: Transparent): number | NotBound {
  library ??= cLibrary(PROTOTYPES);
  if (library === null) return WITHOUT_FFI;
  const { functions, errno } = library;
  const six = address.includes(':');
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const descriptor = Number(functions.socket(six ? AF_INET6 : AF_INET, type, 0));
  if (descriptor < 0) return notBound(errno());
  const set = (level: number, option: number, value: number): boolean => {
    const bytes = Buffer.alloc(4);
    new Int32Array(bytes.buffer, bytes.byteOffset, 1)[0] = value;
    return functions.setsockopt(descriptor, level, option, bytes, bytes.length) === 0;
  };
  let fault: NotBound | null = null;
  const allowed = six ? set(SOL_IPV6, IPV6_TRANSPARENT, 1) : set(SOL_IP, IP_TRANSPARENT, 1);
  if (!allowed || !set(SOL_SOCKET, SO_MARK, mark)) fault = notBound(errno());
  // The port is chosen when it connects: one is taken by many connections to other ports.
  else if (!set(SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)) fault = notBound(errno());
  else fault = bindTo(library, descriptor, { address, lowPort });
  if (fault === null) return descriptor;
  functions.close(descriptor);
  return fault;
}

const WITHOUT_FFI: NotBound = {
  code: 'ENOSYS',
  why: 'it needs Node 26.9 (node:ffi) or the optional package koffi',
};

function notBound(errno: number): NotBound {
  const code = getSystemErrorName(-errno);
  const why =
    code === 'EPERM' ? 'IP_TRANSPARENT and SO_MARK need the capability NET_ADMIN' : `no socket: ${code}`;
  return { code, why };
}

/** @returns null when it is bound */
function bindTo(
  { functions, errno }: CLibrary<keyof typeof PROTOTYPES>,
  descriptor: number,
  { address, lowPort }: Pick<Transparent, 'address' | 'lowPort'>,
): NotBound | null {
  const six = address.includes(':');
  const sockaddr = Buffer.alloc(six ? SOCKADDR_IN6_BYTES : SOCKADDR_IN_BYTES);
  const family = six ? AF_INET6 : AF_INET;
  new Uint16Array(sockaddr.buffer, sockaddr.byteOffset, 1)[0] = family;
  const text = Buffer.from(`${address}\0`);
  if (functions.inet_pton(family, text, sockaddr.subarray(six ? 8 : 4)) !== 1)
    return { code: 'EINVAL', why: `${address} is no address` };
  for (let tried = lowPort ? 0 : TRIES; tried <= TRIES; tried++) {
    sockaddr.writeUInt16BE(tried === TRIES ? 0 : randomPort(), 2);
    if (functions.bind(descriptor, sockaddr, sockaddr.length) === 0) return null;
  }
  return notBound(errno());
}

function randomPort(): number {
  const { from, to } = LOW_PORTS;
  return from + Math.floor(Math.random() * (to - from + 1));
}
