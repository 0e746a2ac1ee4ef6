import { readCaCertificates, readCaCrl } from './ca-certificates.ts';
import { readExtensionProviders } from './extension-providers.ts';
import { DEFAULT_MESH_TLS, readMeshTls } from './mesh-tls.ts';
import { trustDomainProblem } from './names.ts';
import type { MapNode } from './node.ts';
import type { Report } from './report.ts';
import type { MeshConfig, Origin, PathNormalization } from './resources.ts';
import { Section } from './section.ts';
import { readTracing } from './tracing.ts';
import { readDuration } from './traffic-policy.ts';

const NORMALIZATIONS = ['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const;
const CERT_FORWARDING = [
  'UNDEFINED',
  'SANITIZE',
  'FORWARD_ONLY',
  'APPEND_FORWARD',
  'SANITIZE_SET',
  'ALWAYS_FORWARD_ONLY',
] as const;
const LOG_FILES = new Set(['', '/dev/stdout']);
const MAX_CONCURRENCY = 1_024;

/** What holds when no file says anything: Istio's own defaults. */
export const DEFAULT_MESH: MeshConfig = Object.freeze({
  origin: null,
  trustDomain: 'cluster.local',
  trustDomainAliases: Object.freeze([]),
  rootNamespace: 'istio-system',
  pathNormalization: 'BASE',
  accessLogFile: null,
  accessLogEncoding: 'TEXT',
  enableAutoMtls: true,
  outboundTrafficPolicy: 'ALLOW_ANY',
  inboundPassthrough: false,
  protocolDetectionTimeoutMs: 5_000,
  h2UpgradePolicy: null,
  caCertificates: Object.freeze([]),
  caCrl: null,
  ...DEFAULT_MESH_TLS,
  concurrency: null,
  drainMs: null,
  forwardClientCert: 'SANITIZE_SET',
  tracing: null,
  extensionProviders: Object.freeze([]),
});

/** Reads Istio's mesh config; null when the report has an error. Fields that Istio does not know are warnings. */
export function readMeshConfig(node: MapNode, origin: Origin, report: Report): MeshConfig | null {
  const root = new Section(node, '', report, 'absent');
  for (const field of ['apiVersion', 'kind']) root.text(field);
  root.section('metadata');
  if (root.section('spec'))
    root.error('spec', 'the fields of a mesh config stand at the top level, not under spec');
  const proxy = root.section('defaultConfig');
  const providers = readExtensionProviders(root);
  const mesh: MeshConfig = {
    ...DEFAULT_MESH,
    origin,
    ...readTrust(root),
    rootNamespace: root.text('rootNamespace') || DEFAULT_MESH.rootNamespace,
    pathNormalization: readNormalization(root),
    ...readAccessLog(root),
    enableAutoMtls: root.flag('enableAutoMtls') ?? DEFAULT_MESH.enableAutoMtls,
    outboundTrafficPolicy: readOutbound(root),
    inboundPassthrough: readInbound(root),
    protocolDetectionTimeoutMs:
      readDuration(root, 'protocolDetectionTimeout', 0) ?? DEFAULT_MESH.protocolDetectionTimeoutMs,
    h2UpgradePolicy: root.choice('h2UpgradePolicy', ['DO_NOT_UPGRADE', 'UPGRADE']),
    caCertificates: readCaCertificates(root),
    caCrl: readCaCrl(root),
    ...readMeshTls(root),
    ...readProxy(proxy),
    tracing: readTracing(root, proxy, providers.tracing),
    extensionProviders: providers.authorizers,
  };
  closeProxy(proxy);
  root.notHonoured(...NOT_HONOURED);
  root.close('warning');
  return report.failed ? null : mesh;
}

function readTrust(root: Section): Pick<MeshConfig, 'trustDomain' | 'trustDomainAliases'> {
  const trustDomain = root.text('trustDomain') ?? DEFAULT_MESH.trustDomain;
  const problem = trustDomainProblem(trustDomain);
  if (problem !== null) root.error('trustDomain', problem);
  const aliases = root.texts('trustDomainAliases') ?? [];
  for (const { value, place, path } of aliases) {
    const wrong = trustDomainProblem(value);
    if (wrong !== null) root.report.error(place, `${path}: ${wrong}`);
  }
  return { trustDomain, trustDomainAliases: aliases.map(({ value }) => value) };
}

function readNormalization(root: Section): PathNormalization {
  const section = root.section('pathNormalization');
  const mode = section?.choice('normalization', NORMALIZATIONS) ?? 'DEFAULT';
  section?.close('warning');
  return mode === 'DEFAULT' ? DEFAULT_MESH.pathNormalization : mode;
}

function readAccessLog(root: Section): Pick<MeshConfig, 'accessLogFile' | 'accessLogEncoding'> {
  const accessLogFile = root.text('accessLogFile');
  if (accessLogFile !== null && !LOG_FILES.has(accessLogFile)) {
    root.warning('accessLogFile', 'access logs go to standard output only; the path is not honoured');
  }
  const accessLogEncoding =
    root.choice('accessLogEncoding', ['TEXT', 'JSON']) ?? DEFAULT_MESH.accessLogEncoding;
  return { accessLogFile, accessLogEncoding };
}

function readOutbound(root: Section): MeshConfig['outboundTrafficPolicy'] {
  const section = root.section('outboundTrafficPolicy');
  const mode = section?.choice('mode', ['REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS']) ?? null;
  section?.notHonoured('tls');
  section?.close('warning');
  if (mode === 'ALLOW_ANY_DYNAMIC_DNS') section?.warning('mode', 'is not honoured; it is read as ALLOW_ANY');
  return mode === 'REGISTRY_ONLY' ? mode : DEFAULT_MESH.outboundTrafficPolicy;
}

/** Istio's own default is PASSTHROUGH: apps that listen on localhost only are not reached there. */
function readInbound(root: Section): boolean {
  const section = root.section('inboundTrafficPolicy');
  const mode = section?.choice('mode', ['PASSTHROUGH', 'LOCALHOST']) ?? null;
  section?.close('warning');
  return mode === 'PASSTHROUGH';
}

/** `defaultConfig` (ProxyConfig). The time to drain on SIGTERM is terminationDrainDuration, else drainDuration. */
function readProxy(proxy: Section | null): Pick<MeshConfig, 'concurrency' | 'drainMs' | 'forwardClientCert'> {
  const { concurrency, drainMs, forwardClientCert } = DEFAULT_MESH;
  if (!proxy) return { concurrency, drainMs, forwardClientCert };
  const termination = readDuration(proxy, 'terminationDrainDuration', 0);
  const drain = readDuration(proxy, 'drainDuration');
  return {
    concurrency: proxy.whole('concurrency', 0, MAX_CONCURRENCY),
    drainMs: termination ?? drain,
    forwardClientCert: readForwarding(proxy),
  };
}

function readForwarding(proxy: Section): MeshConfig['forwardClientCert'] {
  const section = proxy.section('gatewayTopology');
  const details = section?.choice('forwardClientCertDetails', CERT_FORWARDING) ?? 'UNDEFINED';
  section?.notHonoured('numTrustedProxies', 'proxyProtocol');
  section?.close('warning');
  if (details === 'APPEND_FORWARD') return details;
  if (details !== 'SANITIZE_SET' && details !== 'UNDEFINED') {
    section?.warning('forwardClientCertDetails', `${details} is not honoured; SANITIZE_SET holds`);
  }
  return DEFAULT_MESH.forwardClientCert;
}

function closeProxy(proxy: Section | null): void {
  proxy?.notHonoured(...PROXY_NOT_HONOURED);
  proxy?.close('warning');
}

const NOT_HONOURED = [
  'accessLogFormat',
  'ca',
  'certificates',
  'configSources',
  'connectTimeout',
  'defaultDestinationRuleExportTo',
  'defaultHttpRetryPolicy',
  'defaultServiceExportTo',
  'defaultTrafficPolicy',
  'defaultVirtualServiceExportTo',
  'disableEnvoyListenerLog',
  'discoverySelectors',
  'dnsRefreshRate',
  'enableEnvoyAccessLogService',
  'enablePrometheusMerge',
  'hboneIdleTimeout',
  'inboundClusterStatName',
  'ingressClass',
  'ingressControllerMode',
  'ingressSelector',
  'ingressService',
  'localityLbSetting',
  'outboundClusterStatName',
  'proxyHttpPort',
  'proxyInboundListenPort',
  'proxyListenPort',
  'serviceEntryVisibility',
  'serviceScopeConfigs',
  'serviceSettings',
  'tcpKeepalive',
  'tlsDefaults',
  'verifyCertificateAtClient',
  'zoneAwareLbSetting',
] as const;

const PROXY_NOT_HONOURED = [
  'availabilityZone',
  'binaryPath',
  'caCertificatesPem',
  'configPath',
  'connectionSettings',
  'controlPlaneAuthPolicy',
  'customConfigFile',
  'discoveryAddress',
  'discoveryRefreshDelay',
  'envoyAccessLogService',
  'envoyMetricsService',
  'envoyMetricsServiceAddress',
  'extraStatTags',
  'fileFlushInterval',
  'fileFlushMinSizeKb',
  'holdApplicationUntilProxyStarts',
  'image',
  'interceptionMode',
  'meshId',
  'privateKeyProvider',
  'proxyAdminPort',
  'proxyBootstrapTemplatePath',
  'proxyHeaders',
  'proxyMetadata',
  'proxyStatsMatcher',
  'readinessProbe',
  'runtimeValues',
  'sds',
  'serviceCluster',
  'statNameLength',
  'statsCompression',
  'statsdUdpAddress',
  'statusPort',
  'tracingServiceName',
  'zipkinAddress',
] as const;
