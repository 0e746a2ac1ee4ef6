/** The first bytes of a connection, until they decide what it speaks. */
import type { Socket } from 'node:net';
import type { Clock } from '../http/exchange.ts';

/** More than this undecided is not waited for. */
const MAX_PEEK_BYTES = 32 * 1024;

export interface PeekOptions {
  readonly clock: Clock;
  /** 0 = for ever; after it the bytes so far are what there is. */
  readonly timeoutMs: number;
  /** Bytes read before. */
  readonly first?: Buffer | null;
  /** true or false when the bytes decide; null = more are needed. */
  decide(bytes: Buffer): boolean | null;
  /**
   * Called once. After the timeout, or with too many bytes, `verdict` is null and `bytes` what came, empty for a silent
   * client; after a half-close it is false, since nothing can come any more; the connection is gone: both null.
   */
  done(verdict: boolean | null, bytes: Buffer | null): void;
}

/**
 * Reads until `decide` knows; leaves the socket paused with no listener of its own.
 * @returns stops it, without `done`, and gives back what came
 */
export function peek(socket: Socket, options: PeekOptions): () => Buffer | null {
  const { clock } = options;
  let bytes: Buffer | null = options.first ?? null;
  const waiting = {
    deadline: options.timeoutMs > 0 ? clock.now + options.timeoutMs : Number.POSITIVE_INFINITY,
    onDeadline: (): void => finish(null, bytes ?? Buffer.alloc(0)),
  };
  const look = (): boolean => {
    if (bytes === null) return false;
    const verdict = options.decide(bytes);
    if (verdict === null && bytes.length < MAX_PEEK_BYTES) return false;
    finish(verdict, bytes);
    return true;
  };
  const onData = (chunk: Buffer): void => {
    bytes = bytes === null ? chunk : Buffer.concat([bytes, chunk]);
    look();
  };
  const onEnd = (): void => {
    if (bytes === null) {
      finish(null, null);
      socket.destroy();
    } else finish(false, bytes);
  };
  const onClose = (): void => finish(null, null);
  let over = false;
  const stop = (): Buffer | null => {
    over = true;
    clock.delete(waiting);
    socket.off('data', onData).off('end', onEnd).off('close', onClose);
    socket.pause();
    return bytes;
  };
  const finish = (verdict: boolean | null, seen: Buffer | null): void => {
    if (over) return;
    stop();
    options.done(verdict, seen);
  };
  if (look()) return stop;
  clock.add(waiting);
  socket.on('data', onData).on('end', onEnd).on('close', onClose);
  socket.resume(); // an earlier peek left it paused, and a listener alone does not wake it
  return stop;
}
