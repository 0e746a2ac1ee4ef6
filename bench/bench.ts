/** What every case is given: the app behind, the identities, where to put instances, how long to work. */
import type { BenchIdentities } from './certificates.ts';
import type { H2load } from './h2load.ts';
import { type Instance, launch } from './peers/launch.ts';
import type { Peer, Role } from './peers/peer.ts';
import type { OriginPorts } from './programs/origin.ts';

export interface Bench {
  readonly folder: string;
  readonly identities: BenchIdentities;
  readonly origin: OriginPorts;
  /** Path of wrk, null when it is not installed. */
  readonly wrk: string | null;
  /** Null when it is not installed. */
  readonly h2load: H2load | null;
  /** The proxy that presents the client's certificate for h2load: HAProxy, else Envoy. */
  readonly front: Peer | null;
  /** What was asked of each peer before HTTP/2 is measured, and whether it did it. */
  readonly proofs: Map<string, Promise<void>>;
  readonly effort: Effort;
}

/** How much work a run is; set by flags. */
export interface Effort {
  readonly rounds: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly idleConnections: number;
  readonly startRuns: number;
  readonly flatRequests: number;
}

/** Launches an instance a role, gives them to `work`, and stops them whatever happens. */
export async function withInstances<T>(
  bench: Bench,
  peer: Peer,
  roles: readonly Role[],
  work: (instances: readonly Instance[]) => Promise<T>,
): Promise<T> {
  const instances: Instance[] = [];
  try {
    for (const role of roles) instances.push(await launch(peer, role, bench));
    return await work(instances);
  } finally {
    await Promise.all(instances.map(instance => instance.stop()));
  }
}
