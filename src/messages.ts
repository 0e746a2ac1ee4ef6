/** What crosses between the main thread and its workers: plain data, never functions. */
import type { Resources, Workload } from './config/resources.ts';
import type { RunSettings } from './config/settings.ts';
import type { KeySets } from './identity/jwks-source.ts';
import type { IdentityGeneration } from './identity/svid.ts';
import type { ConnectionRow } from './proxy/connections.ts';
import type { EgressPort } from './proxy/egress.ts';
import type { Counts } from './telemetry/counts.ts';
import type { LogLevel } from './telemetry/log.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Listening sockets that this process was started with. Each thread listens on descriptors of its own for them. */
export interface HandedOver {
  readonly inbound: readonly number[];
  readonly outbound: readonly number[];
}

/** Everything a worker starts with. */
export interface WorkerStart {
  readonly id: number;
  readonly settings: RunSettings;
  readonly accessLog: 'off' | 'text' | 'json';
  readonly workload: Workload;
  readonly resources: Resources;
  readonly generation: number;
  readonly identity: IdentityGeneration;
  readonly inbound: Address;
  /** null = HBONE is not served. */
  readonly hbone: Address | null;
  readonly outbound: Address;
  /** In place of the addresses above, where there are some. */
  readonly handedOver: HandedOver;
  readonly egress: readonly EgressPort[];
  /** Ports of the main thread's listeners: nobody is led to them. */
  readonly ownPorts: readonly number[];
  /** What was fetched of the keys that RequestAuthentications name. */
  readonly keySets: KeySets;
  /** What session tickets are sealed with; never shown anywhere. */
  readonly ticketSecret: Uint8Array;
  /** Of the clients whose sessions may be resumed on any thread (identity/believed-chains.ts). */
  readonly believed: SharedArrayBuffer;
}

export type ToWorker =
  | ({ readonly type: 'start' } & WorkerStart)
  | {
      readonly type: 'config';
      readonly resources: Resources;
      readonly workload: Workload;
      readonly generation: number;
      readonly accessLog: 'off' | 'text' | 'json';
      readonly egress: readonly EgressPort[];
      readonly keySets: KeySets;
    }
  | { readonly type: 'keys'; readonly keySets: KeySets }
  | { readonly type: 'identity'; readonly identity: IdentityGeneration }
  | { readonly type: 'drain'; readonly ms: number; readonly outbound: boolean }
  | { readonly type: 'ask'; readonly question: number; readonly what: 'counts' | 'connections' }
  | { readonly type: 'log-level'; readonly level: LogLevel };

export type FromWorker =
  | {
      readonly type: 'bound';
      readonly inbound: Address;
      readonly hbone: Address | null;
      readonly outbound: Address;
    }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'counts'; readonly question: number; readonly counts: Counts }
  | { readonly type: 'connections'; readonly question: number; readonly rows: readonly ConnectionRow[] }
  | { readonly type: 'drained'; readonly outbound: boolean };
