/** What is in force: resources and settings compiled for deciding, swapped whole. */
import type { MtlsMode, PathNormalization, PortProtocol, Resources, Workload } from '../config/resources.ts';
import { type Authorization, compileAuthorization } from '../policy/compile.ts';
import { type EffectiveMtls, effectiveMtls, mtlsModeFor } from '../policy/peer-authentication.ts';

export interface Snapshot {
  readonly generation: number;
  readonly resources: Resources;
  readonly workload: Workload;
  readonly authorization: Authorization;
  readonly mtls: EffectiveMtls;
  readonly normalization: PathNormalization;
  /** Trust domains whose SPIFFE IDs are accepted: the mesh's and its aliases. */
  readonly trustDomains: readonly string[];
  readonly appendClientCert: boolean;
}

/** Compiles `resources` for one workload. Pure; called on the main thread too, to refuse what does not compile. */
export function compileSnapshot(resources: Resources, workload: Workload, generation: number): Snapshot {
  const { mesh } = resources;
  return {
    generation,
    resources,
    workload,
    authorization: compileAuthorization({
      policies: resources.authorizationPolicies,
      workload,
      mesh: {
        rootNamespace: mesh.rootNamespace,
        trustDomain: mesh.trustDomain,
        trustDomainAliases: mesh.trustDomainAliases,
        providers: mesh.extensionProviders,
        multipleProviders: false,
      },
    }),
    mtls: effectiveMtls({
      policies: resources.peerAuthentications,
      workload,
      rootNamespace: mesh.rootNamespace,
    }),
    normalization: mesh.pathNormalization,
    trustDomains: [mesh.trustDomain, ...mesh.trustDomainAliases],
    appendClientCert: mesh.forwardClientCert === 'APPEND_FORWARD',
  };
}

/** PeerAuthentication's mode on a workload port. */
export function modeOn(snapshot: Snapshot, port: number): MtlsMode {
  return mtlsModeFor(snapshot.mtls, port);
}

/** The declared protocol of a workload port. */
export function protocolOn(
  protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[],
  port: number,
): PortProtocol {
  return protocols.find(declared => declared.port === port)?.protocol ?? 'auto';
}
