import { addressFamily } from './addresses.ts';
import { nameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { Tracing } from './resources.ts';
import type { Section } from './section.ts';
import { MAX_PORT } from './service-port.ts';

const DEFAULT_SAMPLING_PERCENT = 1; // Istio's PILOT_TRACE_SAMPLING
const MAX_UINT32 = 4_294_967_295;
const DEFAULT_PATH = '/v1/traces'; // OTLP/HTTP's default for traces

/** The opentelemetry providers by name; null for one that cannot be used. */
type Endpoints = ReadonlyMap<string, string | null>;

/**
 * Where spans go, from the mesh config: the `opentelemetry` extension provider that `defaultProviders.tracing` names, or
 * the only one; its `http` makes it OTLP over HTTP. Null without one, and with `enableTracing: false`.
 */
export function readTracing(root: Section, proxy: Section | null, endpoints: Endpoints): Tracing | null {
  const enabled = root.flag('enableTracing') ?? true;
  const samplingPercent = readSampling(proxy);
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

function chooseProvider(root: Section, endpoints: Endpoints): string | null {
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

/** The URL of an opentelemetry provider; one that is not in order is a warning, as in Istio, and does not trace. */
export function readOpenTelemetry(section: Section): string | null {
  const service = section.text('service') ?? '';
  const port = section.has('port') ? section.whole('port', 0, MAX_UINT32) : 0;
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
  const problems = [
    addressFamily(host) === null &&
      nameProblem(host) !== null &&
      warn(section, 'service', `${quote(service)} is not a host name`),
    port !== null &&
      (port < 1 || port > MAX_PORT) &&
      warn(section, 'port', `must be set, to a port from 1 to ${MAX_PORT}`),
    !path.startsWith('/') && http && warn(http, 'path', `${quote(path)} must start with "/"`),
    !http &&
      warn(section, 'http', 'is not set: OTLP over gRPC is not supported yet; add http: {path: /v1/traces}'),
  ];
  if (problems.some(Boolean) || section.report.failed) return null;
  return `http://${addressFamily(host) === 6 ? `[${host}]` : host}:${port}${path}`;
}

function warn(section: Section, field: string, problem: string): true {
  section.warning(field, problem);
  return true;
}
