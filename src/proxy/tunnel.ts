/** Bytes both ways, with a record: TCP connections, CONNECT and Upgrade. */
import type { Clock } from '../http/exchange.ts';
import { type Side, type Splice, type SpliceOptions, splice } from '../net/splice.ts';
import type { AccessRecord } from '../telemetry/record.ts';

export interface TunnelOptions {
  readonly clock: Clock;
  readonly idleTimeoutMs: number;
  readonly record: AccessRecord;
  /** Bytes that each side sent already, before the splice. */
  readonly first: { readonly fromClient: Buffer | null; readonly fromUpstream: Buffer | null };
  /** As in SpliceOptions: about the client's bytes after the first. */
  readonly screen?: SpliceOptions['screen'];
  done(record: AccessRecord): void;
}

/** Joins client and upstream until both ended; `done` gets the record with its bytes filled in. */
export function openTunnel(client: Side, upstream: Side, options: TunnelOptions): Splice {
  const { record, first } = options;
  if (first.fromClient !== null) upstream.socket.write(first.fromClient);
  if (first.fromUpstream !== null) client.socket.write(first.fromUpstream);
  const joined = splice(client, upstream, {
    clock: options.clock,
    idleTimeoutMs: options.idleTimeoutMs,
    screen: options.screen ?? null,
    done: end => {
      record.bytesReceived = end.fromA;
      record.bytesSent = end.fromB;
      if (end.why === 'reset') record.terminationDetails = 'connection_reset';
      if (end.why === 'screened') record.terminationDetails = 'http_on_a_tcp_connection';
      if (end.why === 'idle') record.terminationDetails = 'idle_timeout';
      options.done(record);
    },
  });
  joined.fromA += first.fromClient?.length ?? 0;
  joined.fromB += first.fromUpstream?.length ?? 0;
  return joined;
}
