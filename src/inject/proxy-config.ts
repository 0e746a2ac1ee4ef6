/** The pod's own ProxyConfig: the annotation `proxy.istio.io/config`, as far as flags of the sidecar say the same. */
import { parse } from 'yaml';
import { parseDuration } from '../config/duration.ts';
import { type Interception, PROXY_CONFIG, pathOf } from './annotations.ts';
import { isObject, type Json, type JsonObject, objectOf } from './json-value.ts';
import type { Notes } from './notes.ts';

const MAX_WORKERS = 256; // as --workers
const MAX_DRAIN_SECONDS = 86_400; // as --drain-seconds

/** null = it says nothing. */
export interface PodProxyConfig {
  readonly workers: number | null;
  readonly drainSeconds: number | null;
  readonly hold: boolean | null;
  readonly interception: Interception | null;
  /** Of `proxyMetadata`: Outrider's own variables. */
  readonly environment: Readonly<Record<string, string>>;
}

const NOTHING: PodProxyConfig = {
  workers: null,
  drainSeconds: null,
  hold: null,
  interception: null,
  environment: {},
};
const HONOURED = [
  'concurrency',
  'drainDuration',
  'terminationDrainDuration',
  'holdApplicationUntilProxyStarts',
  'interceptionMode',
  'proxyMetadata',
];

/** Reads the annotation; what is wrong or not honoured goes to the notes. */
export function readProxyConfig(metadata: JsonObject, notes: Notes): PodProxyConfig {
  const text = objectOf(metadata.annotations)[PROXY_CONFIG];
  if (typeof text !== 'string' || text.trim() === '') return NOTHING;
  const config = parsed(text);
  if (config === null) {
    notes.error(pathOf(PROXY_CONFIG), `${PROXY_CONFIG} must be a mapping in YAML, such as {concurrency: 2}`);
    return NOTHING;
  }
  for (const field of Object.keys(config).filter(name => !HONOURED.includes(name))) {
    notes.warn(pathOf(PROXY_CONFIG), `${PROXY_CONFIG}: ${field} is not honoured on a pod`);
  }
  return {
    workers: readWorkers(config.concurrency, notes),
    drainSeconds:
      readSeconds('terminationDrainDuration', config, notes) ?? readSeconds('drainDuration', config, notes),
    hold: readFlag('holdApplicationUntilProxyStarts', config, notes),
    interception: readMode(config.interceptionMode, notes),
    environment: readEnvironment(config.proxyMetadata, notes),
  };
}

function parsed(text: string): JsonObject | null {
  try {
    const value: Json = parse(text, { version: '1.1', logLevel: 'error', maxAliasCount: 0 });
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function wrong(notes: Notes, field: string, form: string): null {
  notes.error(pathOf(PROXY_CONFIG), `${PROXY_CONFIG}: ${field} must be ${form}`);
  return null;
}

function readWorkers(value: Json | undefined, notes: Notes): number | null {
  if (value === undefined || value === null) return null;
  if (value === 0) {
    notes.warn(pathOf(PROXY_CONFIG), `${PROXY_CONFIG}: concurrency 0 is read as: by the CPU limit`);
    return null;
  }
  if (Number.isInteger(value) && Number(value) > 0 && Number(value) <= MAX_WORKERS) return Number(value);
  return wrong(notes, 'concurrency', `a whole number from 0 to ${MAX_WORKERS}`);
}

function readSeconds(field: string, config: JsonObject, notes: Notes): number | null {
  const value = config[field];
  if (value === undefined || value === null) return null;
  const ms = typeof value === 'string' ? parseDuration(value) : null;
  if (ms !== null && ms >= 0 && ms <= MAX_DRAIN_SECONDS * 1_000) return Math.ceil(ms / 1_000);
  return wrong(notes, field, 'a duration such as 30s, at most a day');
}

function readFlag(field: string, config: JsonObject, notes: Notes): boolean | null {
  const value = config[field];
  if (value === undefined || value === null) return null;
  return typeof value === 'boolean' ? value : wrong(notes, field, 'true or false');
}

function readMode(value: Json | undefined, notes: Notes): Interception | null {
  if (value === undefined || value === null) return null;
  const modes: readonly Interception[] = ['REDIRECT', 'TPROXY', 'NONE'];
  return modes.find(mode => mode === value) ?? wrong(notes, 'interceptionMode', `one of ${modes.join(', ')}`);
}

function readEnvironment(value: Json | undefined, notes: Notes): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, text] of Object.entries(objectOf(value))) {
    if (/^OUTRIDER_[A-Z_]+$/.test(name) && typeof text === 'string') found[name] = text;
    else notes.warn(pathOf(PROXY_CONFIG), `${PROXY_CONFIG}: proxyMetadata.${name} is not honoured`);
  }
  return found;
}
