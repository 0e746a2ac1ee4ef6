/** The first bytes of a connection, until they decide what it speaks. */
import type { Socket } from 'node:net';
import type { Clock } from '../http/exchange.ts';

/** More than this undecided is not waited for. */
const MAX_PEEK_BYTES = 32 * 1024;

export interface PeekOptions<V> {
  readonly clock: Clock;
  /** 0 = for ever; after it the bytes so far are what there is. */
  readonly timeoutMs: number;
  /** Bytes read before. */
  readonly first?: Buffer | null;
  /** What the bytes so far are; null = more are needed. */
  decide(bytes: Buffer): V | null;
  /** The verdict when nothing can come any more: after a half-close. */
  readonly atEnd: V;
  /**
   * Called once. After the timeout, or with too many bytes, `verdict` is null and `bytes` what came, empty for a silent
   * client; the connection is gone: both null.
   */
  done(verdict: V | null, bytes: Buffer | null): void;
}

/**
 * Reads until `decide` knows; leaves the socket paused with no listener of its own.
 * @returns stops it, without `done`, and gives back what came
 */
export function peek<V>(socket: Socket, options: PeekOptions<V>): () => Buffer | null {
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
    } else finish(options.atEnd, bytes);
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
  const finish = (verdict: V | null, seen: Buffer | null): void => {
    if (over) return;
    stop();
    options.done(verdict, seen);
  };
  if (look()) return stop;
  if (socket.readableEnded) {
    onEnd();
    return stop;
  }
  clock.add(waiting);
  socket.on('data', onData).on('end', onEnd).on('close', onClose);
  socket.resume(); // an earlier peek left it paused, and a listener alone does not wake it
  return stop;
}
