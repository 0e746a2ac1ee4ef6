/** The template of config/inject: a piece of a pod with places that are filled for each pod. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LineCounter, parseDocument, visit } from 'yaml';
import { nearest } from '../config/nearest.ts';
import { isList, isObject, type Json, type JsonObject } from './json-value.ts';

/** Every place that a template may have. */
export const PLACES = [
  'image',
  'imagePullPolicy',
  'captureImage',
  'identity',
  'spireSocket',
  'serviceAccount',
  'configMap',
  'configFolder',
  'native',
  'hold',
  'capture',
  'initCapture',
  'user',
  'nonRoot',
  'privilege',
  'logLevel',
  'workers',
  'drainSeconds',
  'cpu',
  'memory',
  'cpuLimit',
  'memoryLimit',
  'readinessInitialDelay',
  'readinessPeriod',
  'readinessFailures',
  'environment',
  'canonicalName',
  'canonicalRevision',
] as const;
export type PlaceName = (typeof PLACES)[number];
/** The value of each place; null = it has none. */
export type PlaceValues = Readonly<Record<PlaceName, Json>>;

const WHEN = '$when';
const PLACE = /\$\{([^}]*)\}/g;
const CONDITION = /^([A-Za-z]+)(?:=(.+))?$/;
/** The sources are one folder deeper than the bundle. */
const OWN = ['../config/inject/sidecar.yaml', '../../config/inject/sidecar.yaml'];

/** A template that was read, or the first thing that is wrong with it, `file:line:col error message`. */
export type ReadTemplate =
  | { readonly ok: true; readonly template: JsonObject }
  | { readonly ok: false; readonly message: string };

/** The template that comes with Outrider. @throws Error when the installation has none */
export function ownTemplate(): ReadTemplate {
  const path = OWN.map(one => fileURLToPath(new URL(one, import.meta.url))).find(one => existsSync(one));
  if (path === undefined) throw new Error('config/inject/sidecar.yaml is missing from this installation');
  return readTemplate(readFileSync(path, 'utf8'), path);
}

/** Reads a template and checks its places. */
export function readTemplate(text: string, file: string): ReadTemplate {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: 'silent' });
  const fault = (offset: number, message: string): ReadTemplate => {
    const { line, col } = lines.linePos(offset);
    return { ok: false, message: `${file}:${Math.max(line, 1)}:${Math.max(col, 1)} error ${message}` };
  };
  const [error] = document.errors;
  if (error !== undefined) return fault(error.pos[0], error.message);
  let wrong: ReadTemplate | null = null;
  visit(document, {
    Scalar(_key, node) {
      const problem = typeof node.value === 'string' ? placeProblem(node.value) : null;
      if (problem === null) return undefined;
      wrong = fault(node.range?.[0] ?? 0, problem);
      return visit.BREAK;
    },
    Alias(_key, node) {
      wrong = fault(node.range?.[0] ?? 0, 'a template has no aliases');
      return visit.BREAK;
    },
    Pair(_key, pair) {
      const problem = String(pair.key) === WHEN ? conditionProblem(pair.value) : null;
      if (problem === null) return undefined;
      const { range } = pair.key as { range?: [number, number, number] };
      wrong = fault(range?.[0] ?? 0, problem);
      return visit.BREAK;
    },
  });
  if (wrong !== null) return wrong;
  const template: Json = document.toJS();
  if (!isObject(template) || !isObject(template.spec)) return fault(0, 'a template is a mapping with spec');
  return { ok: true, template };
}

function placeProblem(text: string): string | null {
  for (const [whole, name = ''] of text.matchAll(PLACE)) {
    if (!isPlace(name)) return `${whole} is not a place${meant(name)}`;
  }
  return null;
}

function conditionProblem(value: unknown): string | null {
  const texts = conditionsOf(JSON.parse(JSON.stringify(value)) as Json);
  const wrong = texts.find(text => !isPlace(CONDITION.exec(text)?.[1] ?? ''));
  if (texts.length > 0 && wrong === undefined) return null;
  return `${WHEN} needs name or name=value with a place's name${meant(wrong ?? '')}`;
}

function meant(name: string): string {
  const found = nearest(name, PLACES);
  return found === null ? '' : `; did you mean ${found}?`;
}

function isPlace(name: string): name is PlaceName {
  return (PLACES as readonly string[]).includes(name);
}

function conditionsOf(value: Json | undefined): readonly string[] {
  return (isList(value) ? value : [value]).map(one => String(one));
}

/** The template with every place filled, and without what has no value. */
export function fill(template: JsonObject, values: PlaceValues): JsonObject {
  const filled = new Filler(values).fill(template);
  return isObject(filled) ? filled : {};
}

class Filler {
  readonly #values: PlaceValues;

  constructor(values: PlaceValues) {
    this.#values = values;
  }

  /** Undefined = it is left out. */
  fill(value: Json): Json | undefined {
    if (typeof value === 'string') return this.#text(value);
    if (isList(value)) return this.#list(value);
    return isObject(value) ? this.#object(value) : value;
  }

  #text(text: string): Json | undefined {
    const [, only] = /^\$\{([A-Za-z]+)\}$/.exec(text) ?? [];
    if (only !== undefined) return this.#value(only) ?? undefined;
    if ([...text.matchAll(PLACE)].some(([, name = '']) => this.#value(name) === null)) return undefined;
    return text.replaceAll(PLACE, (_, name: string) => String(this.#value(name)));
  }

  #list(list: readonly Json[]): Json | undefined {
    const items = list.map(item => this.fill(item)).filter(item => item !== undefined);
    return items.length === 0 && list.length > 0 ? undefined : items;
  }

  #object(object: JsonObject): Json | undefined {
    const { [WHEN]: when, ...fields } = object;
    if (when !== undefined && !conditionsOf(when).every(one => this.#holds(one))) return undefined;
    const entries = Object.entries(fields).flatMap(([name, value]) => {
      const filled = this.fill(value);
      return filled === undefined ? [] : [[name, filled] as const];
    });
    return entries.length === 0 && Object.keys(fields).length > 0 ? undefined : Object.fromEntries(entries);
  }

  #holds(condition: string): boolean {
    const [, name = '', wanted] = CONDITION.exec(condition) ?? [];
    const value = this.#value(name);
    return wanted === undefined ? value !== null : String(value) === wanted;
  }

  #value(name: string): Json {
    return isPlace(name) ? this.#values[name] : null;
  }
}
