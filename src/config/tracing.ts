import { addressFamily } from './addresses.ts';
import { nameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { Tracing } from './resources.ts';
import type { Section } from './section.ts';
import { readPortNumber } from './service-port.ts';

const DEFAULT_SAMPLING_PERCENT = 1; // Istio's PILOT_TRACE_SAMPLING
const DEFAULT_PATH = '/v1/traces'; // OTLP/HTTP's default for traces

/**
 * Where spans go, from the mesh config: the `opentelemetry` extension provider that `defaultProviders.tracing` names, or
 * the only one; its `http` makes it OTLP over HTTP. Null without one, and with `enableTracing: false`.
 */
export function readTracing(root: Section, proxy: Section | null): Tracing | null {
  const enabled = root.flag('enableTracing') ?? true;
  const samplingPercent = readSampling(proxy);
  const endpoints = readProviders(root);
  const url = chooseProvider(root, endpoints);
  return enabled && url !== null ? { url, samplingPercent } : null;
}

/** `defaultConfig.tracing`: sampling; the tracers that it can name do not speak OTLP. */
function readSampling(proxy: Section | null): number {
  const section = proxy?.section('tracing');
  const percent = section?.number('sampling', 0, 100) ?? DEFAULT_SAMPLING_PERCENT;
  section?.notHonoured('zipkin', 'lightstep', 'datadog', 'stackdriver', 'openCensusAgent');
  section?.notHonoured('customTags', 'maxPathTagLength', 'tlsSettings', 'enableIstioTags');
  section?.close('warning');
  return percent;
}

function chooseProvider(root: Section, endpoints: ReadonlyMap<string, string | null>): string | null {
  const section = root.section('defaultProviders');
  const [first] = section?.texts('tracing') ?? [];
  section?.notHonoured('metrics', 'accessLogging');
  section?.close('warning');
  if (!first) return endpoints.size === 1 ? ([...endpoints.values()][0] ?? null) : null;
  const url = endpoints.get(first.value);
  if (url === undefined) {
    root.report.warning(
      first.place,
      `${first.path}: ${quote(first.value)} is not an opentelemetry provider of extensionProviders; tracing is off`,
    );
  }
  return url ?? null;
}

/** The opentelemetry providers by name; null for one that cannot be used. */
function readProviders(root: Section): ReadonlyMap<string, string | null> {
  const found = new Map<string, string | null>();
  for (const provider of root.sections('extensionProviders') ?? []) {
    const name = provider.text('name') ?? '';
    const section = provider.section('opentelemetry');
    if (section) found.set(name, readEndpoint(section));
    provider.notHonoured(...provider.names().filter(field => field !== 'name' && field !== 'opentelemetry'));
  }
  return found;
}

/** A provider that is not in order is a warning, as in Istio, and does not trace. */
function readEndpoint(section: Section): string | null {
  const service = section.text('service') ?? '';
  const port = readPortNumber(section, 'port');
  const http = section.section('http');
  const path = http?.text('path') || DEFAULT_PATH;
  http?.notHonoured('timeout', 'headers');
  http?.close('warning');
  section.notHonoured(
    'grpc',
    'maxTagLength',
    'resourceDetectors',
    'serviceAttributeEnrichment',
    'dynatraceSampler',
  );
  section.close('warning');
  const host = service.slice(service.indexOf('/') + 1); // [namespace/]host
  if (addressFamily(host) === null && nameProblem(host) !== null) {
    section.error('service', `${quote(service)} is not a host name`);
  }
  if (!path.startsWith('/')) http?.error('path', `${quote(path)} must start with "/"`);
  if (!http)
    section.warning('http', 'is not set: OTLP over gRPC is not supported yet; add http: {path: /v1/traces}');
  if (!http || port === null || section.report.failed) return null;
  return `http://${addressFamily(host) === 6 ? `[${host}]` : host}:${port}${path}`;
}
