/** Mutual TLS between a terminator and an originator that share memory instead of a network: nobody else can connect. */
import { Socket } from 'node:net';
import { createOriginator, createTerminator, type Judge, type TlsMaterial } from './tls.ts';
import type { TlsSettings } from './tls-settings.ts';

export interface MemoryHandshake<P> {
  /** Of both sides. */
  readonly material: TlsMaterial;
  readonly tls: TlsSettings;
  /** What the server thinks of its client. */
  readonly judgeClient: Judge<P>;
  /** What the client thinks of its server. */
  readonly judgeServer: Judge<P>;
  /** For the whole of it, in ms. */
  readonly timeoutMs: number;
}

/** Who each side found the other to be, or the first word that either had against it. */
export type MemoryOutcome<P> =
  | { readonly ok: true; readonly client: P; readonly server: P }
  | { readonly ok: false; readonly side: 'client' | 'server'; readonly reason: string };

/**
 * Shakes hands with itself; nothing is left open.
 *
 * @throws Error of node:tls when OpenSSL does not take the material
 */
export function handshakeInMemory<P>(handshake: MemoryHandshake<P>): Promise<MemoryOutcome<P>> {
  const { material, tls, judgeClient, judgeServer, timeoutMs } = handshake;
  const { promise, resolve } = Promise.withResolvers<MemoryOutcome<P>>();
  let client: { readonly value: P } | null = null;
  let server: { readonly value: P } | null = null;
  const finishWhenBothKnow = (): void => {
    if (client && server) resolve({ ok: true, client: client.value, server: server.value });
  };
  const terminator = createTerminator<P>({
    material,
    tls,
    handshakeTimeoutMs: timeoutMs,
    judge: judgeClient,
    onSecure: (socket, value) => {
      socket.on('error', () => {});
      client = { value };
      finishWhenBothKnow();
    },
    onRefused: reason => resolve({ ok: false, side: 'server', reason }),
  });
  const originator = createOriginator(material, tls);
  const [near, far] = MemorySocket.pair();
  terminator.accept(far);
  originator.connect<P>(
    {
      host: 'memory',
      port: 0,
      servername: null,
      mode: 'ISTIO_MUTUAL',
      socket: near,
      timeoutMs,
      judge: judgeServer,
    },
    (reason, _socket, value) => {
      if (reason !== null || value === null) {
        resolve({ ok: false, side: 'client', reason: reason ?? 'aborted' });
        return;
      }
      server = { value };
      finishWhenBothKnow();
    },
  );
  for (const end of [near, far]) end.emit('connect');
  return promise.finally(() => {
    terminator.close();
    originator.close();
    near.destroy();
    far.destroy();
  });
}

/** One end of a pair: a socket that was never connected to anything but its other end. Node's TLS takes it as it is. */
class MemorySocket extends Socket {
  #other: MemorySocket | null = null;
  /** Called when the other end wants more; null while it takes what comes. */
  #written: (() => void) | null = null;

  constructor() {
    super({ allowHalfOpen: true });
    this.on('error', () => {}); // the handshake says what is wrong
  }

  static pair(): readonly [MemorySocket, MemorySocket] {
    const pair = [new MemorySocket(), new MemorySocket()] as const;
    pair[0].#other = pair[1];
    pair[1].#other = pair[0];
    return pair;
  }

  override _read(): void {
    const other = this.#other;
    if (other === null) return;
    const done = other.#written;
    other.#written = null;
    done?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (this.#other?.push(chunk) === false) this.#written = done;
    else process.nextTick(done);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: () => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary', done);
  }

  override _final(done: () => void): void {
    this.#other?.push(null);
    done();
  }
}
