import type { OpenDocument } from './document.ts';
import { nearest } from './nearest.ts';
import { quote } from './quote.ts';

const SECURITY = 'security.istio.io';
const NETWORKING = 'networking.istio.io';

/** Kinds that Outrider reads, with their API group. */
const READ = new Map([
  ['PeerAuthentication', SECURITY],
  ['AuthorizationPolicy', SECURITY],
  ['RequestAuthentication', SECURITY],
  ['DestinationRule', NETWORKING],
  ['ServiceEntry', NETWORKING],
  ['Sidecar', NETWORKING],
]);

/** Istio's kinds that are passed over, and what that means to whoever wrote one. */
const PASSED_OVER = new Map([
  ['VirtualService', NETWORKING],
  ['WorkloadEntry', NETWORKING],
  ['WorkloadGroup', NETWORKING],
  ['Gateway', NETWORKING],
  ['EnvoyFilter', NETWORKING],
  ['ProxyConfig', NETWORKING],
  ['Telemetry', 'telemetry.istio.io'],
  ['WasmPlugin', 'extensions.istio.io'],
]);

const VERSIONS = new Map([
  [SECURITY, ['v1', 'v1beta1']],
  [NETWORKING, ['v1', 'v1beta1', 'v1alpha3']],
]);

/** True when the document is of a kind that Outrider reads; reports it when not, or when its apiVersion is wrong. */
export function isReadable(document: OpenDocument): boolean {
  const { kind, apiVersion, root, report } = document;
  if (kind === '') {
    if (!report.failed) root.error('kind', `is missing; write one of ${[...READ.keys()].join(', ')}`);
    return false;
  }
  const group = READ.get(kind);
  if (group === undefined) return passOver(document);
  if (VERSIONS.get(group)?.some(version => apiVersion === `${group}/${version}`)) return true;
  if (group === NETWORKING && !apiVersion.startsWith(`${NETWORKING}/`) && apiVersion.includes('/')) {
    return passOver(document);
  }
  const versions = VERSIONS.get(group)?.map(version => `${group}/${version}`);
  root.error(
    'apiVersion',
    `${apiVersion === '' ? 'is missing' : quote(apiVersion)}; a ${kind} has ${versions?.join(' or ')}`,
  );
  return false;
}

function passOver({ kind, root }: OpenDocument): false {
  if (PASSED_OVER.has(kind))
    root.warning('kind', `${kind} is not supported yet; it is passed over and has no effect`);
  else root.warning('kind', `${kind} is not a kind that Outrider reads; it is passed over${hint(kind)}`);
  return false;
}

function hint(kind: string): string {
  const meant = nearest(kind, [...READ.keys(), 'MeshConfig']);
  return meant === null ? '' : `; did you mean ${meant}?`;
}
