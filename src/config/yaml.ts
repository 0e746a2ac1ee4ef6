import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseAllDocuments,
} from 'yaml';
import type { ConfigNode, Field, MapNode, Place, ScalarNode } from './node.ts';
import { plainValue } from './scalar.ts';

const MAX_NODES = 200_000; // aliases counted as often as they stand: ten lines of them can stand for millions of nodes
const MAX_DEPTH = 64; // Istio's deepest resource has 9 levels

/** What YAML has no place for; a byte order mark is none where the text starts. */
const CONTROL = /[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/** One document of a file: its tree, `null` for an empty one, or the first thing that is wrong with it. */
export type ParsedDocument =
  | { readonly ok: true; readonly node: ConfigNode | null }
  | { readonly ok: false; readonly place: Place; readonly message: string };

/**
 * Reads the YAML (or JSON) documents of one file, with the words of YAML 1.1 (scalar.ts), anchors, aliases and merge
 * keys; a repeated key is a fault, as for Istio. Never throws.
 */
export function parseYaml(text: string): readonly ParsedDocument[] {
  const control = CONTROL.exec(text);
  if (control) return [broken(placeIn(text, control.index), 'holds a control character; remove it')];
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, {
      schema: 'failsafe',
      uniqueKeys: false, // ours, below: Istio compares keys as strings
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'error',
    });
    return Array.from(documents, document => read(document, lines));
  } catch (error) {
    return [broken({ line: 1, column: 1 }, `cannot be read as YAML: ${reasonOf(error)}`)];
  }
}

class YamlFault extends Error {
  readonly place: Place;
  constructor(place: Place, message: string) {
    super(message);
    this.place = place;
  }
}

function broken(place: Place, message: string): ParsedDocument {
  return { ok: false, place, message };
}

function reasonOf(error: unknown): string {
  return error instanceof RangeError
    ? 'it is nested too deeply'
    : error instanceof Error
      ? error.message
      : 'unknown';
}

function read(document: Document, lines: LineCounter): ParsedDocument {
  const [error] = document.errors;
  if (error) return broken(placeAt(lines, error.pos[0]), `is not valid YAML: ${error.message}`);
  try {
    const node = new TreeReader(lines).read(document.contents, 0, { line: 1, column: 1 });
    return { ok: true, node: node.is === 'scalar' && node.value === null ? null : node };
  } catch (fault) {
    if (fault instanceof YamlFault) return broken(fault.place, fault.message);
    throw fault;
  }
}

function placeIn(text: string, offset: number): Place {
  const before = text.slice(0, offset).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

function placeAt(lines: LineCounter, offset: number): Place {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** An empty value has no type; it is plain too. */
function isPlain(type: string | null | undefined): boolean {
  return type === 'PLAIN' || !type;
}

/** Turns the library's nodes into ours; counts nodes and resolves aliases in document order. */
class TreeReader {
  readonly #lines: LineCounter;
  readonly #anchors = new Map<string, { node: ConfigNode; size: number }>();
  #size = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  read(source: unknown, depth: number, near: Place): ConfigNode {
    const place = this.#placeOf(source) ?? near;
    if (depth > MAX_DEPTH) throw new YamlFault(place, `is nested more than ${MAX_DEPTH} levels deep`);
    if (isAlias(source)) return this.#alias(source.source, place);
    const before = this.#size;
    this.#count(1, place);
    const node = this.#build(source, depth, place, near);
    const anchor = isMap(source) || isSeq(source) || isScalar(source) ? source.anchor : undefined;
    if (anchor !== undefined) this.#anchors.set(anchor, { node, size: this.#size - before });
    return node;
  }

  #build(source: unknown, depth: number, place: Place, near: Place): ConfigNode {
    if (isMap(source)) return this.#map(source.items, depth, place);
    if (isSeq(source)) {
      return { is: 'list', items: source.items.map(item => this.read(item, depth + 1, place)), ...place };
    }
    if (!isScalar(source)) return { is: 'scalar', value: null, text: '', ...near };
    const text = typeof source.value === 'string' ? source.value : '';
    const value = this.#valueOf(text, isPlain(source.type), source.tag, place);
    return { is: 'scalar', value, text, ...(text === '' && value === null ? near : place) };
  }

  #valueOf(text: string, plain: boolean, tag: string | undefined, place: Place): ScalarNode['value'] {
    if (tag === undefined || tag === '?') return plain ? plainValue(text) : text;
    if (tag === 'tag:yaml.org,2002:str' || tag === '!') return text;
    if (/^tag:yaml\.org,2002:(?:int|float|bool|null)$/.test(tag)) return plainValue(text);
    throw new YamlFault(place, `the tag ${tag} is not supported; write a plain value`);
  }

  #map(pairs: readonly Pair<unknown, unknown>[], depth: number, place: Place): MapNode {
    const fields = new Map<string, Field>();
    const merged = new Map<string, Field>();
    for (const { key, value } of pairs) {
      const name = this.read(key, depth + 1, place);
      if (name.is !== 'scalar' || name.value === null) {
        throw new YamlFault(name, 'a field name must be a word, not a mapping, a list or nothing');
      }
      const node = this.read(value, depth + 1, { line: name.line, column: name.column });
      if (name.value === '<<' && isScalar(key) && isPlain(key.type)) this.#merge(node, merged);
      else if (fields.has(String(name.value))) {
        throw new YamlFault(name, `the field ${name.text} is written twice; keep one`);
      } else fields.set(String(name.value), { key: { line: name.line, column: name.column }, value: node });
    }
    for (const [name, field] of merged) if (!fields.has(name)) fields.set(name, field);
    return { is: 'map', fields, ...place };
  }

  #merge(node: ConfigNode, into: Map<string, Field>): void {
    for (const source of node.is === 'list' ? node.items : [node]) {
      if (source.is !== 'map')
        throw new YamlFault(source, 'a merge key << takes a mapping or a list of them');
      for (const [name, field] of source.fields) if (!into.has(name)) into.set(name, field);
    }
  }

  #alias(name: string, place: Place): ConfigNode {
    const anchored = this.#anchors.get(name);
    if (!anchored) throw new YamlFault(place, `the alias *${name} has no anchor &${name} before it`);
    this.#count(anchored.size, place);
    return anchored.node;
  }

  #count(size: number, place: Place): void {
    this.#size += size;
    if (this.#size > MAX_NODES) throw new YamlFault(place, `the document has more than ${MAX_NODES} nodes`);
  }

  #placeOf(source: unknown): Place | null {
    if (!isMap(source) && !isSeq(source) && !isScalar(source) && !isAlias(source)) return null;
    return source.range ? placeAt(this.#lines, source.range[0]) : null;
  }
}
