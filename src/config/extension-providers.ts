/** MeshConfig.extensionProviders: external authorizers and tracing; other kinds are passed over with a warning. */
import { ProviderReader } from './ext-authz-provider.ts';
import { quote } from './quote.ts';
import type { ExtensionProvider } from './resources.ts';
import type { Section } from './section.ts';
import { readOpenTelemetry } from './tracing.ts';

/** What the list says. */
export interface Providers {
  /** The authorizers that can be asked. */
  readonly authorizers: readonly ExtensionProvider[];
  /** OTLP endpoints by the provider's name; null for one that cannot be used. */
  readonly tracing: ReadonlyMap<string, string | null>;
}

const READ = ['envoyExtAuthzHttp', 'envoyExtAuthzGrpc', 'opentelemetry'] as const;
type ReadKind = (typeof READ)[number];

const NOT_HONOURED = [
  'zipkin',
  'lightstep',
  'datadog',
  'stackdriver',
  'opencensus',
  'skywalking',
  'prometheus',
  'envoyFileAccessLog',
  'envoyHttpAls',
  'envoyTcpAls',
  'envoyOtelAls',
  'sds',
];
const MAX_NAME = 63;

/**
 * Reads the list. As in Istio, a provider that is not in order is no error but cannot be used: what names it is denied;
 * and of several with one name, whatever names them is.
 */
export function readExtensionProviders(root: Section): Providers {
  const authorizers = new Map<string, ExtensionProvider | null>();
  const tracing = new Map<string, string | null>();
  for (const entry of root.sections('extensionProviders') ?? []) {
    const name = entry.text('name') ?? '';
    const kind = readKind(entry);
    const section = kind === null ? null : entry.section(kind);
    if (section && kind === 'opentelemetry') tracing.set(name, readOpenTelemetry(section));
    else if (section && kind !== null) {
      const reader = new ProviderReader(section);
      const problem = nameProblem(name) ?? (authorizers.has(name) ? `${quote(name)} is defined twice` : null);
      if (problem !== null) reader.refuse(entry, 'name', problem);
      authorizers.set(name, kind === 'envoyExtAuthzHttp' ? reader.readHttp(name) : reader.readGrpc(name));
    }
  }
  return { authorizers: [...authorizers.values()].filter(found => found !== null), tracing };
}

/** The kind of a provider when Outrider reads it; the proto has place for one alone. */
function readKind(entry: Section): ReadKind | null {
  const kinds = [...READ, ...NOT_HONOURED].filter(kind => entry.has(kind));
  const found = READ.filter(kind => entry.section(kind) !== null);
  if (kinds.length > 1) {
    const several = `has several kinds: ${kinds.join(', ')}; none is used, and what names it is denied; keep one`;
    entry.report.warning(entry.place, `${entry.path}: ${several}`);
  }
  if (!entry.names().some(field => field !== 'name'))
    entry.report.warning(
      entry.place,
      `${entry.path}: has no kind, such as envoyExtAuthzHttp; it has no effect`,
    );
  entry.notHonoured(...NOT_HONOURED);
  entry.close('warning');
  return kinds.length > 1 ? null : (found[0] ?? null);
}

/** Istio's validateProviderName; null when nothing is wrong. */
function nameProblem(name: string): string | null {
  if (name === '') return 'must be set';
  if (name.length > MAX_NAME) return `has more than ${MAX_NAME} characters`;
  return /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(name)
    ? null
    : `${quote(name)} may hold lower-case letters, digits and inner "-" only`;
}
