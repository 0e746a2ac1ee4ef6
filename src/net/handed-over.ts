/** Listening sockets that another process opened, by their descriptors. */
import { getSystemErrorName } from 'node:util';
import { type CLibrary, cLibrary } from './c-library.ts';
import { socketOptions } from './socket-options.ts';

/** linux/fcntl.h, asm-generic/socket.h, linux/socket.h */
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_DUPFD_CLOEXEC = 1030;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const SOCK_STREAM = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const FIRST_FREE = 3; // the standard streams are nobody's to replace

const INT = 'int32';
const PROTOTYPES = { fcntl: { arguments: [INT, INT, INT], return: INT } } as const;

let library: CLibrary<keyof typeof PROTOTYPES> | null | undefined;

/** Keeps a descriptor from the programs that this process starts. @throws Error when it is no listening TCP socket */
export function keep(descriptor: number): void {
  const control = fileControl();
  const ask = (option: number): number | null => {
    const value = Buffer.alloc(4);
    if (socketOptions()?.read(descriptor, SOL_SOCKET, option, value) !== true) return null;
    return new Int32Array(value.buffer, value.byteOffset, 1)[0] ?? null;
  };
  const family = ask(SO_DOMAIN);
  const isTcp = ask(SO_TYPE) === SOCK_STREAM && (family === AF_INET || family === AF_INET6);
  if (!isTcp || ask(SO_ACCEPTCONN) !== 1) throw new Error('it is not a listening TCP socket');
  control(descriptor, F_SETFD, FD_CLOEXEC);
}

/** Another descriptor of the same socket, which goes on listening when it is closed. @throws Error with the system's word */
export function duplicate(descriptor: number): number {
  return fileControl()(descriptor, F_DUPFD_CLOEXEC, FIRST_FREE);
}

type FileControl = (descriptor: number, command: number, value: number) => number;

function fileControl(): FileControl {
  library ??= cLibrary(PROTOTYPES);
  if (library === null) throw new Error('it needs Node 26.9 (node:ffi) or the optional package koffi');
  const { functions, errno } = library;
  return (descriptor, command, value) => {
    const result = Number(functions.fcntl(descriptor, command, value));
    if (result < 0) throw new Error(`fcntl of descriptor ${descriptor}: ${getSystemErrorName(-errno())}`);
    return result;
  };
}
