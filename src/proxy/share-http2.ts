/** HTTP/2 connections to endpoints, each with the settings of its destination. */
import type { Clock } from '../http/exchange.ts';
import { H2Client } from '../http/h2-client.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { Sharing } from './h2-upstream.ts';
import { PeerDuct } from './peer-duct.ts';

export interface ShareOptions extends Omit<Sharing, 'begin'> {
  readonly direction: 'inbound' | 'outbound';
  readonly clock: Clock;
  readonly recorder: Recorder;
  /** Streams of one connection at a time; null = as many as the server allows. */
  readonly maxStreams: number | null;
  /** PING; null = none. */
  readonly keepAlive: { readonly intervalMs: number; readonly timeoutMs: number } | null;
}

export function shareHttp2(options: ShareOptions): Sharing {
  const { direction, clock, recorder, maxStreams, keepAlive, ...wishes } = options;
  const report = (reason: string): void => recorder.http2Ended(direction, reason);
  return {
    ...wishes,
    begin: (duct, owner, memo) =>
      new H2Client(duct, owner, {
        clock,
        scheme: duct instanceof PeerDuct ? 'https' : 'http',
        memo,
        maxStreams: maxStreams ?? Number.POSITIVE_INFINITY,
        // Whoever asks decides how long an answer may pause: a gRPC stream may be silent for hours.
        idleTimeoutMs: 0,
        keepAlive,
        report,
      }),
  };
}
