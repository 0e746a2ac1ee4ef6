/** Whom this workload believes: its identity's bundle, under the mesh config in force. */
import type { IdentityGeneration } from '../identity/svid.ts';
import { Trust } from '../identity/trust.ts';
import type { Snapshot } from './snapshot.ts';

export function trustOf(identity: IdentityGeneration, snapshot: Snapshot): Trust {
  return new Trust({ identity, trustDomains: snapshot.trustDomains });
}
