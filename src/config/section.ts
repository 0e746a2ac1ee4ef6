import { nearest } from './nearest.ts';
import { type ConfigNode, describe, type Field, isAbsent, type MapNode, type Place } from './node.ts';
import { quote } from './quote.ts';
import type { Report } from './report.ts';

/** A string of a list, with its place and path for faults about it. */
export interface Item {
  readonly value: string;
  readonly place: Place;
  readonly path: string;
}

/** What a written null means: a fault (Istio's resource definitions refuse it) or absence (its mesh config). */
export type Nulls = 'refused' | 'absent';

/**
 * One mapping while it is read: hands out its fields as values of the type asked for, reports those of another type,
 * and at `close` names the fields that nobody asked for. A field that is absent or faulty reads as `null`.
 */
export class Section {
  readonly path: string;
  readonly report: Report;
  readonly place: Place;
  readonly #nulls: Nulls;
  readonly #fields: ReadonlyMap<string, Field>;
  readonly #known = new Set<string>();

  constructor(node: MapNode, path: string, report: Report, nulls: Nulls = 'refused') {
    this.path = path;
    this.report = report;
    this.place = { line: node.line, column: node.column };
    this.#nulls = nulls;
    this.#fields = node.fields;
  }

  /** True when the field is written with a value other than null. */
  has(name: string): boolean {
    return !isAbsent(this.#fields.get(name)?.value);
  }

  /** True when the field is written, with null too. */
  isWritten(name: string): boolean {
    return this.#fields.has(name);
  }

  /** True when the field is written as a list or mapping without entries. */
  isEmpty(name: string): boolean {
    const node = this.#fields.get(name)?.value;
    return (node?.is === 'list' && node.items.length === 0) || (node?.is === 'map' && node.fields.size === 0);
  }

  /** True when the field is written and not empty; faulty entries count. */
  hasEntries(name: string): boolean {
    return this.has(name) && !this.isEmpty(name);
  }

  /** The field's place: its value, or its name when the value is empty, or the mapping when it is absent. */
  at(name: string): Place {
    return this.#fields.get(name)?.value ?? this.place;
  }

  /** Where the field's name stands. */
  keyOf(name: string): Place {
    return this.#fields.get(name)?.key ?? this.place;
  }

  pathOf(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }

  /** The names written in the file. */
  names(): readonly string[] {
    return [...this.#fields.keys()];
  }

  error(name: string, problem: string): void {
    this.report.error(this.at(name), `${this.pathOf(name)}: ${problem}`);
  }

  warning(name: string, problem: string): void {
    this.report.warning(this.at(name), `${this.pathOf(name)}: ${problem}`);
  }

  /** A fault of the mapping as a whole. */
  fault(problem: string): void {
    this.report.error(this.place, `${this.path}: ${problem}`);
  }

  text(name: string): string | null {
    const node = this.#take(name);
    return node && textOf(node, this.pathOf(name), this.report);
  }

  /** A string that must be there and not be empty; `hint` says what to write. */
  required(name: string, hint = ''): string | null {
    const text = this.text(name);
    if (text) return text;
    if (text === '' || !this.isWritten(name)) this.error(name, `must be set${hint && `, to ${hint}`}`);
    return null;
  }

  flag(name: string): boolean | null {
    const node = this.#take(name);
    if (!node) return null;
    if (node.is === 'scalar' && typeof node.value === 'boolean') return node.value;
    this.error(name, `must be true or false, not ${describe(node)}`);
    return null;
  }

  /** A whole number from `min` to `max`. */
  whole(name: string, min: number, max: number): number | null {
    const value = this.number(name, min, max);
    if (value === null || Number.isInteger(value)) return value;
    this.error(name, `must be a whole number from ${min} to ${max}, not ${value}`);
    return null;
  }

  number(name: string, min: number, max: number): number | null {
    const node = this.#take(name);
    if (!node) return null;
    if (node.is !== 'scalar' || typeof node.value !== 'number') {
      this.error(name, `must be a number, not ${describe(node)}${quotedNumber(node)}`);
      return null;
    }
    if (node.value >= min && node.value <= max) return node.value;
    this.error(name, `must be from ${min} to ${max}, not ${node.text}`);
    return null;
  }

  choice<T extends string>(name: string, allowed: readonly T[]): T | null {
    const value = this.text(name);
    if (value === null) return null;
    const found = allowed.find(word => word === value);
    if (found !== undefined) return found;
    const meant = nearest(value, allowed);
    this.error(name, `${quote(value)} is not one of ${allowed.join(', ')}${meant ? `; write ${meant}` : ''}`);
    return null;
  }

  /** A list of strings; `null` when absent, `[]` when written empty. */
  texts(name: string): readonly Item[] | null {
    return (
      this.#items(name)?.flatMap(({ node, path }) => {
        const value = textOf(node, path, this.report);
        return value === null ? [] : [{ value, place: { line: node.line, column: node.column }, path }];
      }) ?? null
    );
  }

  section(name: string): Section | null {
    const node = this.#take(name);
    return node && sectionOf(node, this.pathOf(name), this.report, this.#nulls);
  }

  /** A list of mappings; `null` when absent, `[]` when written empty. Faulty items are reported and left out. */
  sections(name: string): readonly Section[] | null {
    return (
      this.#items(name)?.flatMap(({ node, path }) => sectionOf(node, path, this.report, this.#nulls) ?? []) ??
      null
    );
  }

  /** A mapping of strings, such as labels; `null` when absent. */
  textMap(name: string): ReadonlyMap<string, Item> | null {
    const inner = this.section(name);
    if (!inner) return null;
    const found = new Map<string, Item>();
    for (const key of inner.names()) {
      const value = inner.text(key);
      if (value !== null) found.set(key, { value, place: inner.at(key), path: inner.pathOf(key) });
    }
    return found;
  }

  /** Warns of each of these fields that is written: Istio knows them, Outrider does not honour them yet. */
  notHonoured(...names: readonly string[]): void {
    for (const name of names) {
      this.#known.add(name);
      if (this.has(name))
        this.report.warning(this.keyOf(name), `${this.pathOf(name)}: not honoured; it has no effect`);
    }
  }

  /** Refuses each of these fields that is written: passing them over would weaken what the resource asks for. */
  notSupported(...names: readonly string[]): void {
    for (const name of names) {
      this.#known.add(name);
      if (this.has(name))
        this.report.error(this.keyOf(name), `${this.pathOf(name)}: not supported yet; refused`);
    }
  }

  /** Reports every field that was not asked for: nobody knows it. */
  close(severity: 'error' | 'warning' = 'error'): void {
    for (const [name, field] of this.#fields) {
      if (this.#known.has(name)) continue;
      const meant = nearest(name, this.#known);
      const hint = meant ? `; did you mean ${meant}?` : '';
      this.report[severity](field.key, `${this.pathOf(name)}: unknown field${hint}`);
    }
  }

  #take(name: string): ConfigNode | null {
    this.#known.add(name);
    const field = this.#fields.get(name);
    if (field === undefined) return null;
    if (!isAbsent(field.value)) return field.value;
    if (this.#nulls === 'refused') this.error(name, 'is empty; give it a value or remove the field');
    return null;
  }

  #items(name: string): { node: ConfigNode; path: string }[] | null {
    const node = this.#take(name);
    if (!node) return null;
    if (node.is === 'list')
      return node.items.map((item, i) => ({ node: item, path: `${this.pathOf(name)}[${i}]` }));
    this.error(
      name,
      `must be a list, not ${describe(node)}; write each entry on a line that starts with "- "`,
    );
    return null;
  }
}

/** The node as a section; reports anything but a mapping. */
export function sectionOf(node: ConfigNode, path: string, report: Report, nulls?: Nulls): Section | null {
  if (node.is === 'map') return new Section(node, path, report, nulls);
  report.error(node, `${path}: must be a mapping, not ${describe(node)}`);
  return null;
}

function textOf(node: ConfigNode, path: string, report: Report): string | null {
  if (node.is === 'scalar' && typeof node.value === 'string') return node.value;
  report.error(node, `${path}: must be a string, not ${describe(node)}${unquoted(node)}`);
  return null;
}

function unquoted(node: ConfigNode): string {
  if (node.is !== 'scalar' || node.value === null || node.text === '') return '';
  if (typeof node.value === 'boolean' && node.text !== String(node.value)) {
    return ` (YAML reads ${node.text} so); quote it: "${node.text}"`;
  }
  return `; quote it: "${node.text}"`;
}

function quotedNumber(node: ConfigNode): string {
  return node.is === 'scalar' && typeof node.value === 'string' && /^[0-9]+$/.test(node.value)
    ? '; remove the quotes'
    : '';
}
