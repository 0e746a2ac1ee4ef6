/** PeerAuthentication: which mTLS mode holds on which workload port (Istio's ComposePeerAuthentication). */
import type { MtlsMode, PeerAuthentication } from '../config/resources.ts';
import { type Selected, selects } from './select.ts';

export interface EffectiveMtls {
  readonly mode: MtlsMode;
  /** Workload (container) ports with a mode of their own. */
  readonly ports: ReadonlyMap<number, MtlsMode>;
  /** The policy that set `mode`; null when none did and PERMISSIVE is the default. */
  readonly source: PeerAuthentication | null;
}

export interface MtlsQuestion {
  readonly policies: readonly PeerAuthentication[];
  readonly workload: Selected;
  readonly rootNamespace: string;
}

/**
 * Mesh, then namespace, then workload: each level that names a mode overrides the one before. At each level the oldest
 * policy counts whole and the others not at all. A policy of the root namespace with a selector is never used.
 */
export function effectiveMtls({ policies, workload, rootNamespace }: MtlsQuestion): EffectiveMtls {
  const { namespace, labels } = workload;
  const mesh = oldest(policies.filter(p => p.metadata.namespace === rootNamespace && p.selector === null));
  const local = namespace === rootNamespace ? [] : policies.filter(p => p.metadata.namespace === namespace);
  const ofNamespace = oldest(local.filter(p => p.selector === null));
  const ofWorkload = oldest(local.filter(p => p.selector !== null && selects(p.selector, labels)));
  let mode: MtlsMode = 'PERMISSIVE';
  let source: PeerAuthentication | null = null;
  for (const policy of [mesh, ofNamespace, ofWorkload]) {
    if (policy === null || policy.mode === null) continue;
    mode = policy.mode;
    source = policy;
  }
  const ports = new Map<number, MtlsMode>();
  for (const port of ofWorkload?.ports ?? []) ports.set(port.port, port.mode ?? mode);
  return { mode, ports, source };
}

/** The mode on one workload port. */
export function mtlsModeFor(effective: EffectiveMtls, port: number): MtlsMode {
  return effective.ports.get(port) ?? effective.mode;
}

/** Whether no policy sets the mode on that port. */
export function isUnwritten(effective: EffectiveMtls, port: number): boolean {
  return effective.source === null && !effective.ports.has(port);
}

/** By creationTimestamp (absent = 0 = oldest), then name, then namespace. */
function oldest(policies: readonly PeerAuthentication[]): PeerAuthentication | null {
  let first: PeerAuthentication | null = null;
  for (const policy of policies) if (first === null || isOlder(policy, first)) first = policy;
  return first;
}

function isOlder(a: PeerAuthentication, b: PeerAuthentication): boolean {
  const x = a.metadata;
  const y = b.metadata;
  if (x.createdAt !== y.createdAt) return x.createdAt < y.createdAt;
  return x.name !== y.name ? x.name < y.name : x.namespace < y.namespace;
}
