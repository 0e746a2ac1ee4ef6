/** A silent client on a port whose protocol nobody declared: whoever speaks first, it or the app, tells what it is. */
import type { Socket } from 'node:net';
import type { Clock } from '../http/exchange.ts';
import type { PlainConnection } from '../net/connect.ts';
import { peek } from './peek.ts';

export interface FirstWordOptions {
  readonly clock: Clock;
  /** How long both may stay silent, in ms. */
  readonly timeoutMs: number;
  /** As for `peek`: about the client's bytes. */
  decide(bytes: Buffer): boolean | null;
  readonly atEnd: boolean;
  /** Called once: the app spoke (`verdict` false and `fromApp`), or what `peek` says of the client. */
  done(verdict: boolean | null, fromClient: Buffer | null, fromApp: Buffer | null): void;
}

/**
 * Waits for the first word. An app that speaks first speaks no HTTP; a client that does is not taken for TCP because it
 * was slow: its requests would pass without policy on them, and with headers that only Outrider may write.
 */
export function firstWord(client: Socket, app: PlainConnection, options: FirstWordOptions): void {
  const settle = (verdict: boolean | null, fromClient: Buffer | null, fromApp: Buffer | null): void => {
    app.inlet.receive = null;
    app.socket.off('end', onAppEnd).pause();
    options.done(verdict, fromClient, fromApp);
  };
  const onAppEnd = (): void => settle(false, stop(), null);
  // An HTTP server that has waited long enough says so (408): no other protocol begins like that.
  app.inlet.receive = chunk =>
    settle(chunk.toString('latin1', 0, 5) === 'HTTP/' ? null : false, stop(), Buffer.from(chunk));
  app.socket.once('end', onAppEnd).resume();
  const stop = peek(client, { ...options, done: (verdict, bytes) => settle(verdict, bytes, null) });
}
