/** Listening sockets of the data plane: bound with reusePort, every accepted socket owned at once. */
import { createServer, type Server, type ListenOptions as ServerListenOptions, type Socket } from 'node:net';
import { duplicate } from './handed-over.ts';
import { descriptorOf, socketOptions } from './socket-options.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Listener {
  readonly address: Address;
  /** No further accepts; resolves when the port is closed. Accepted sockets live on. */
  close(): Promise<void>;
}

export interface ListenOptions extends Address {
  /** Several threads share the port (SO_REUSEPORT); the kernel spreads connections over them. */
  readonly reusePort: boolean;
  /** Accepted sockets above this many are closed at once, and `onOverflow` is told. */
  readonly maxConnections: number;
  /** `::` without the addresses of IPv4. */
  readonly ipv6Only?: boolean;
  /** It takes connections to any address that TPROXY leads to it (IP_TRANSPARENT); needs NET_ADMIN or NET_RAW. */
  readonly transparent?: boolean;
  /** A listening socket that was handed over, in place of the address; it outlives the listener. */
  readonly descriptor?: number;
  onConnection(socket: Socket): void;
  onOverflow(): void;
  /** An accept failed (EMFILE, …); the listener goes on. */
  onFault(error: Error): void;
}

/** Binds; @throws Error with the address in its message when that is impossible. */
export function listen(options: ListenOptions): Promise<Listener> {
  let open = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, socket => {
    socket.on('error', () => {});
    if (open >= options.maxConnections) {
      options.onOverflow();
      socket.resetAndDestroy();
      return;
    }
    open++;
    socket.once('close', () => {
      open--;
    });
    options.onConnection(socket);
  });
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void =>
      reject(new Error(`cannot listen on ${placeOf(options)}: ${error.code ?? error.message}`));
    server.once('error', failed);
    server.listen({ ...whereOf(options), backlog: 4096 }, () => {
      server.off('error', failed);
      if (options.transparent === true && !makeTransparent(server)) {
        server.close();
        reject(new Error(`cannot take TPROXY connections on ${placeOf(options)}: ${NOT_TRANSPARENT}`));
        return;
      }
      server.on('error', options.onFault);
      resolve({ address: boundAddress(server), close: () => closeServer(server) });
    });
  });
}

function whereOf(options: ListenOptions): ServerListenOptions & { readonly fd?: number } {
  const { host, port, reusePort, ipv6Only = false, descriptor } = options;
  // What is closed with this listener is its own descriptor: other threads, and the next process, have theirs.
  if (descriptor !== undefined) return { fd: duplicate(descriptor) };
  // An IPv6 listener beside one of IPv4 takes nothing from it; one alone takes both.
  return { host, port, reusePort, ipv6Only };
}

function placeOf({ host, port, descriptor }: ListenOptions): string {
  return descriptor === undefined ? `${host}:${port}` : `the socket of descriptor ${descriptor}`;
}

/** linux/in.h and linux/in6.h. */
const SOL_IP = 0;
const IP_TRANSPARENT = 19;
const SOL_IPV6 = 41;
const IPV6_TRANSPARENT = 75;
const NOT_TRANSPARENT =
  'IP_TRANSPARENT needs CAP_NET_ADMIN or CAP_NET_RAW (or Transparent= of a socket unit), and Node 26.9 (node:ffi) or ' +
  'the optional package koffi';

/** After bind: the port is the listener's own, only what is led to it has other addresses. */
function makeTransparent(server: Server): boolean {
  const options = socketOptions();
  if (options === null) return false;
  const six = boundAddress(server).host.includes(':');
  const [level, option] = six ? [SOL_IPV6, IPV6_TRANSPARENT] : [SOL_IP, IP_TRANSPARENT];
  const descriptor = descriptorOf(server);
  // To ask needs no capability: systemd hands over some that are (Transparent=).
  const is = Buffer.alloc(4);
  if (options.read(descriptor, level, option, is) && is.some(byte => byte !== 0)) return true;
  return options.write(descriptor, level, option, 1);
}

function boundAddress(server: Server): Address {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the listener has no address');
  return { host: bound.address, port: bound.port };
}

function closeServer(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()));
}
