/** What is in force: resources and settings compiled for deciding, swapped whole. */
import type {
  JwtRule,
  MtlsMode,
  PathNormalization,
  PortProtocol,
  Resources,
  Workload,
} from '../config/resources.ts';
import type { FieldNames } from '../http/exchange.ts';
import { plainName } from '../http/header-edits.ts';
import type { KeySets } from '../identity/jwks-source.ts';
import { type Authenticator, createAuthenticator } from '../identity/jwt.ts';
import { type Authorization, compileAuthorization } from '../policy/compile.ts';
import {
  type EffectiveMtls,
  effectiveMtls,
  isUnwritten,
  mtlsModeFor,
} from '../policy/peer-authentication.ts';
import { selectAuthentication } from '../policy/select.ts';
import { nameMatcher } from './ext-authz-fields.ts';
import { checkTrust } from './trust.ts';

export interface Snapshot {
  readonly generation: number;
  readonly resources: Resources;
  readonly workload: Workload;
  readonly authorization: Authorization;
  /** Null when no RequestAuthentication concerns the workload. */
  readonly authenticator: Authenticator | null;
  readonly mtls: EffectiveMtls;
  readonly normalization: PathNormalization;
  readonly appendClientCert: boolean;
  /** Request fields that tokens and authorizers write: no trailer may pass for one; null = none. */
  readonly writtenFields: FieldNames | null;
}

/**
 * Compiles `resources` for one workload. Pure; called on the main thread too, to refuse what does not compile.
 *
 * @throws Error that says what does not
 */
export function compileSnapshot(
  resources: Resources,
  workload: Workload,
  generation: number,
  keySets: KeySets,
): Snapshot {
  const { mesh } = resources;
  checkTrust(mesh);
  const authorization = compileAuthorization({
    policies: resources.authorizationPolicies,
    workload,
    mesh: {
      rootNamespace: mesh.rootNamespace,
      trustDomain: mesh.trustDomain,
      trustDomainAliases: mesh.trustDomainAliases,
      providers: mesh.extensionProviders,
      multipleProviders: false,
    },
  });
  return {
    generation,
    resources,
    workload,
    authorization,
    authenticator: authenticatorOf(resources, workload, keySets),
    mtls: effectiveMtls({
      policies: resources.peerAuthentications,
      workload,
      rootNamespace: mesh.rootNamespace,
    }),
    normalization: mesh.pathNormalization,
    appendClientCert: mesh.forwardClientCert === 'APPEND_FORWARD',
    writtenFields: writtenFields(resources, workload, authorization),
  };
}

/** The same configuration with key sets that were fetched since. */
export function withKeySets(snapshot: Snapshot, keySets: KeySets): Snapshot {
  return { ...snapshot, authenticator: authenticatorOf(snapshot.resources, snapshot.workload, keySets) };
}

function authenticatorOf(resources: Resources, workload: Workload, keySets: KeySets): Authenticator | null {
  const rules = jwtRulesOf(resources, workload);
  return rules.length === 0 ? null : createAuthenticator({ rules, keySets });
}

/** The JWT rules that concern the workload. */
export function jwtRulesOf(resources: Resources, workload: Workload): readonly JwtRule[] {
  const { requestAuthentications, mesh } = resources;
  return selectAuthentication(requestAuthentications, workload, mesh.rootNamespace);
}

function writtenFields(
  resources: Resources,
  workload: Workload,
  authorization: Authorization,
): FieldNames | null {
  const asked = authorization.http.custom.map(({ provider }) => provider);
  const names: string[] = [];
  for (const { outputPayloadToHeader, outputClaimToHeaders } of jwtRulesOf(resources, workload)) {
    if (outputPayloadToHeader !== null) names.push(outputPayloadToHeader);
    names.push(...outputClaimToHeaders.map(({ header }) => header));
  }
  for (const provider of resources.mesh.extensionProviders) {
    if (provider.kind === 'http') names.push(...provider.headersToUpstreamOnAllow);
    // A gRPC authorizer writes whatever it wants.
    else if (asked.includes(provider.name)) names.push('*');
  }
  return names.length === 0 ? null : { has: nameMatcher(names.map(plainName)) };
}

/** PeerAuthentication's mode on a workload port. */
export function modeOn(snapshot: Snapshot, port: number): MtlsMode {
  return mtlsModeFor(snapshot.mtls, port);
}

/** Whether that mode is the default, which no PeerAuthentication set. */
export function modeIsDefault(snapshot: Snapshot, port: number): boolean {
  return isUnwritten(snapshot.mtls, port);
}

/** The declared protocol of a workload port. */
export function protocolOn(
  protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[],
  port: number,
): PortProtocol {
  return protocols.find(declared => declared.port === port)?.protocol ?? 'auto';
}
