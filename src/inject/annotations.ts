/** Istio's annotations on a pod: which are honoured, what they may say, and which are not. */
import { isAddressOrRange } from '../config/addresses.ts';
import { nearest } from '../config/nearest.ts';
import { type JsonObject, objectOf } from './json-value.ts';
import type { Notes } from './notes.ts';

export const INJECT = 'sidecar.istio.io/inject';
export const STATUS = 'sidecar.istio.io/status';
export const PROXY_CONFIG = 'proxy.istio.io/config';
export const INTERCEPTION_MODE = 'sidecar.istio.io/interceptionMode';
const PROXY_IMAGE = 'sidecar.istio.io/proxyImage';
const NATIVE = 'sidecar.istio.io/nativeSidecar';
const REWRITE = 'sidecar.istio.io/rewriteAppHTTPProbers';
const LOG_LEVEL = 'sidecar.istio.io/logLevel';
const RESOURCES = {
  cpu: 'sidecar.istio.io/proxyCPU',
  memory: 'sidecar.istio.io/proxyMemory',
  cpuLimit: 'sidecar.istio.io/proxyCPULimit',
  memoryLimit: 'sidecar.istio.io/proxyMemoryLimit',
} as const;
const READINESS = {
  readinessInitialDelay: 'readiness.status.sidecar.istio.io/initialDelaySeconds',
  readinessPeriod: 'readiness.status.sidecar.istio.io/periodSeconds',
  readinessFailures: 'readiness.status.sidecar.istio.io/failureThreshold',
} as const;

const PORT = String.raw`\d{1,5}(?:[-:]\d{1,5})?`;
const PORTS = new RegExp(`^(?:\\*|(?:${PORT}(?:,${PORT})*)?)$`);
const INTERFACES = /^(?:[^\s,/]{1,15}(?:,[^\s,/]{1,15})*)?$/;
const QUANTITY = /^\d+(?:\.\d+)?(?:m|k|[MGTPE]|[KMGTPE]i|e\d+)?$/; // Kubernetes' quantities, never negative here

/** Read by `outrider capture` from the pod's annotations; looked at here, so that a typing error does not stop the pod at its start. */
const TRAFFIC: Readonly<Record<string, { readonly form: string; readonly fits: (text: string) => boolean }>> =
  {
    ...Object.fromEntries(
      ['includeInboundPorts', 'excludeInboundPorts', 'includeOutboundPorts', 'excludeOutboundPorts'].map(
        name => [
          `traffic.sidecar.istio.io/${name}`,
          {
            form: 'ports such as 8080,9090, or *',
            fits: (text: string) => PORTS.test(text) && portsFit(text),
          },
        ],
      ),
    ),
    ...Object.fromEntries(
      ['includeOutboundIPRanges', 'excludeOutboundIPRanges'].map(name => [
        `traffic.sidecar.istio.io/${name}`,
        { form: 'address ranges such as 10.0.0.0/8, or *', fits: areRanges },
      ]),
    ),
    'traffic.sidecar.istio.io/excludeInterfaces': {
      form: 'names of interfaces such as eth1',
      fits: text => INTERFACES.test(text),
    },
  };

const NOT_HONOURED: Readonly<Record<string, string>> = {
  'traffic.sidecar.istio.io/kubevirtInterfaces': 'traffic of virtual machines is not captured',
  'istio.io/reroute-virtual-interfaces': 'traffic of virtual machines is not captured',
  'sidecar.istio.io/componentLogLevel': 'Outrider has one level for all parts',
  'sidecar.istio.io/agentLogLevel': 'Outrider has one level: sidecar.istio.io/logLevel',
  'sidecar.istio.io/bootstrapOverride': "it is Envoy's",
  'sidecar.istio.io/statsInclusionPrefixes': "it is Envoy's",
  'sidecar.istio.io/statsInclusionSuffixes': "it is Envoy's",
  'sidecar.istio.io/statsInclusionRegexps': "it is Envoy's",
  'sidecar.istio.io/statsHistogramBuckets': "it is Envoy's",
  'sidecar.istio.io/extraStatTags': "it is Envoy's",
  'sidecar.istio.io/statsCompression': "it is Envoy's",
  'sidecar.istio.io/userVolume': 'give a template of your own: --template',
  'sidecar.istio.io/userVolumeMount': 'give a template of your own: --template',
  'sidecar.istio.io/discoveryAddress': 'there is no control plane',
  'sidecar.istio.io/controlPlaneAuthPolicy': 'there is no control plane',
  'sidecar.istio.io/enableCoreDump': 'the image writes no files',
  'sidecar.istio.io/proxyImageType': 'there is one image; sidecar.istio.io/proxyImage names another',
  'sidecar.istio.io/capNetBindService': "Outrider's ports are above 1023",
  'status.sidecar.istio.io/port': "Outrider's is 15020",
  'readiness.status.sidecar.istio.io/applicationPorts': "the app's own readiness probe tells",
  'inject.istio.io/templates': 'there is one template: --template',
  'inject.istio.io/templateParameters': 'there is one template: --template',
};

/** The annotations whose names are Istio's to tell. */
const OURS = /^(?:[a-z.]*\.)?sidecar\.istio\.io\/|^inject\.istio\.io\//;
const HONOURED = [
  INJECT,
  STATUS,
  INTERCEPTION_MODE,
  PROXY_IMAGE,
  NATIVE,
  REWRITE,
  LOG_LEVEL,
  ...Object.values(RESOURCES),
  ...Object.values(READINESS),
];

export type Interception = 'REDIRECT' | 'TPROXY' | 'NONE';

/** What the annotations of one pod say; null or absent = nothing. */
export interface PodAnnotations {
  readonly interception: Interception | null;
  readonly image: string | null;
  readonly native: boolean | null;
  readonly rewriteProbes: boolean;
  readonly logLevel: string | null;
  /** Istio's rule: one of them, and none of the defaults holds. */
  readonly resources: Readonly<Partial<Record<keyof typeof RESOURCES, string>>> | null;
  readonly readiness: Readonly<Partial<Record<keyof typeof READINESS, number>>>;
}

/** Reads the annotations of a pod; what is wrong or not honoured goes to the notes. */
export function readAnnotations(metadata: JsonObject, notes: Notes): PodAnnotations {
  const reader = new Reader(objectOf(metadata.annotations), notes);
  reader.refuseWrongTraffic();
  reader.warnOfUnknown();
  const resources = reader.each(RESOURCES, name =>
    reader.fitting(name, QUANTITY, 'a quantity such as 100m or 128Mi'),
  );
  return {
    interception: reader.choice(INTERCEPTION_MODE, ['REDIRECT', 'TPROXY', 'NONE']),
    image: reader.fitting(PROXY_IMAGE, /^[^\s]+$/, 'the name of an image'),
    native: reader.flag(NATIVE),
    rewriteProbes: reader.flag(REWRITE) ?? true,
    logLevel: logLevelOf(reader.choice(LOG_LEVEL, Object.keys(LOG_LEVELS))),
    resources: Object.keys(resources).length > 0 ? resources : null,
    readiness: reader.each(READINESS, name => reader.whole(name)),
  };
}

/** Envoy's levels in Outrider's. */
const LOG_LEVELS: Readonly<Record<string, string>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  critical: 'error',
  off: 'error',
};

function logLevelOf(word: string | null): string | null {
  return word === null ? null : (LOG_LEVELS[word] ?? null);
}

class Reader {
  readonly #annotations: JsonObject;
  readonly #notes: Notes;

  constructor(annotations: JsonObject, notes: Notes) {
    this.#annotations = annotations;
    this.#notes = notes;
    for (const [name, value] of Object.entries(annotations)) {
      if (OURS.test(name) && typeof value !== 'string') this.#wrong(name, 'a text; put it in quotes');
    }
  }

  text(name: string): string | null {
    const value = Object.hasOwn(this.#annotations, name) ? this.#annotations[name] : undefined;
    return typeof value === 'string' ? value : null;
  }

  fitting(name: string, pattern: RegExp, form: string): string | null {
    const text = this.text(name);
    if (text === null || pattern.test(text)) return text;
    return this.#wrong(name, form);
  }

  choice<T extends string>(name: string, words: readonly T[]): T | null {
    const text = this.text(name);
    const found = words.find(word => word === text) ?? null;
    return text === null || found !== null ? found : this.#wrong(name, `one of ${words.join(', ')}`);
  }

  flag(name: string): boolean | null {
    const word = this.choice(name, ['true', 'false']);
    return word === null ? null : word === 'true';
  }

  whole(name: string): number | null {
    const text = this.fitting(name, /^\d{1,6}$/, 'a whole number');
    return text === null ? null : Number(text);
  }

  each<K extends string, T>(
    names: Readonly<Record<K, string>>,
    read: (name: string) => T | null,
  ): Readonly<Partial<Record<K, T>>> {
    const found: Partial<Record<K, T>> = {};
    for (const key of Object.keys(names) as K[]) {
      const value = read(names[key]);
      if (value !== null) found[key] = value;
    }
    return found;
  }

  refuseWrongTraffic(): void {
    for (const [name, { form, fits }] of Object.entries(TRAFFIC)) {
      const text = this.text(name);
      if (text !== null && !fits(text)) this.#wrong(name, form);
    }
  }

  warnOfUnknown(): void {
    for (const name of Object.keys(this.#annotations)) {
      const why = Object.hasOwn(NOT_HONOURED, name) ? NOT_HONOURED[name] : undefined;
      if (why !== undefined) this.#notes.warn(pathOf(name), `${name} is not honoured: ${why}`);
      else if (OURS.test(name) && !HONOURED.includes(name) && !(name in TRAFFIC)) {
        const meant = nearest(name, [...HONOURED, ...Object.keys(TRAFFIC)]);
        this.#notes.warn(
          pathOf(name),
          `${name} is not known${meant === null ? '' : `; did you mean ${meant}?`}`,
        );
      }
    }
  }

  #wrong(name: string, form: string): null {
    this.#notes.error(
      pathOf(name),
      `${name} must be ${form}, not ${JSON.stringify(this.#annotations[name])}`,
    );
    return null;
  }
}

export function pathOf(annotation: string): readonly string[] {
  return ['metadata', 'annotations', annotation];
}

function portsFit(text: string): boolean {
  return (text.match(/\d+/g) ?? []).every(port => Number(port) <= 65_535);
}

function areRanges(text: string): boolean {
  if (text === '' || text === '*') return true;
  return text.split(',').every(part => isAddressOrRange(part.trim()));
}
