// Hot path: no promise, closure or string per chunk.
/**
 * Plain TCP connections to the app. Reads go into one buffer a thread (`onread`): 25–45 % less CPU than a new buffer a
 * chunk. The reader must be done with the bytes when it returns.
 */
import { connect, Socket, type SocketConstructorOpts } from 'node:net';
import { rememberOwn } from './own-connections.ts';

/** Bulk reads take what the kernel has, up to this. */
const BULK_BYTES = 128 * 1024;
/** What is read where nobody takes it has to be kept: the first read is no larger than this, 16 KiB and a head. */
const FIRST_BYTES = 20 * 1024;
const bulkBuffer = Buffer.allocUnsafeSlow(BULK_BYTES);
const firstBuffer = bulkBuffer.subarray(0, FIRST_BYTES);

/** A connection's bytes without events. */
export class Inlet {
  receive: ((chunk: Buffer, borrowed: boolean) => void) | null = null;

  /** Options for net.connect or tls.connect that lead a connection's bytes here. */
  onread(): { buffer: () => Buffer; callback: (bytes: number) => boolean } {
    let last = 0;
    return {
      // Asked before the first read and after each.
      buffer: () => (last < FIRST_BYTES ? firstBuffer : bulkBuffer),
      callback: bytes => {
        last = bytes;
        this.receive?.(bulkBuffer.subarray(0, bytes), true);
        return true;
      },
    };
  }
}

export interface PlainConnection {
  readonly socket: Socket;
  readonly inlet: Inlet;
}

export interface PlainTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** The address that it comes from; absent = whichever the system takes. */
  readonly source?: string | null;
  /** Of a socket that is bound already, for it to connect and to own. */
  readonly descriptor?: number | null;
}

/**
 * Connects to `host:port`. `done` is called once: with null and the connection, or with one word why not (ECONNREFUSED,
 * ETIMEDOUT, connect_timeout, …).
 */
export function connectPlain(
  options: PlainTarget,
  done: (why: string | null, connection: PlainConnection) => void,
): PlainConnection {
  const inlet = new Inlet();
  const socket = open(options, inlet);
  const connection = { socket, inlet };
  let settled = false;
  const timer = setTimeout(() => settle('connect_timeout'), options.timeoutMs);
  const settle = (why: string | null): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    socket.off('connect', onConnect).off('close', onClose);
    if (why !== null) socket.destroy();
    else rememberOwn(socket);
    done(why, connection);
  };
  const onConnect = (): void => settle(null);
  const onClose = (): void => settle('connection closed');
  socket.on('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  socket.once('connect', onConnect).once('close', onClose);
  return connection;
}

/** Tells of a connection that there is not: as connectPlain does when it cannot connect. */
export function refusePlain(
  why: string,
  done: (why: string | null, connection: PlainConnection) => void,
): void {
  const socket = new Socket();
  socket.destroy();
  process.nextTick(done, why, { socket, inlet: new Inlet() });
}

function open({ host, port, source, descriptor }: PlainTarget, inlet: Inlet): Socket {
  const options = { noDelay: true, allowHalfOpen: true, onread: inlet.onread() };
  if (descriptor == null)
    return connect({ ...options, host, port, ...(source != null && { localAddress: source }) });
  // Not documented: without it Node reads at once what is not connected yet (ENOTCONN).
  const bound: SocketConstructorOpts & { manualStart: true } = {
    ...options,
    fd: descriptor,
    manualStart: true,
  };
  return new Socket(bound).connect({ host, port });
}
