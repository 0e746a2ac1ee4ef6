/** Listening sockets of the data plane: bound with reusePort, every accepted socket owned at once. */
import { createServer, type Server, type Socket } from 'node:net';

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
      reject(new Error(`cannot listen on ${options.host}:${options.port}: ${error.code ?? error.message}`));
    server.once('error', failed);
    server.listen(
      { host: options.host, port: options.port, reusePort: options.reusePort, backlog: 4096 },
      () => {
        server.off('error', failed);
        server.on('error', options.onFault);
        resolve({ address: boundAddress(server), close: () => closeServer(server) });
      },
    );
  });
}

function boundAddress(server: Server): Address {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the listener has no address');
  return { host: bound.address, port: bound.port };
}

function closeServer(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()));
}
