/** Header lists of HTTP/2 for tests: built by hand, and as an encoder would have been given them. */
import { FieldList } from '../../src/http/field-list.ts';
import {
  isFieldValue,
  kindOf,
  MALFORMED,
  NEVER_INDEXED,
  nameFault,
  valueFault,
} from '../../src/http/h2-field-kind.ts';
import type { FieldEncoder } from '../../src/http/h2-write.ts';
import { NEVER } from '../../src/http/hpack-encoder.ts';

export type Pair = readonly [name: string, value: string];

/** The list as a decoder gives it. */
export function listOf(pairs: readonly Pair[]): FieldList {
  const list = new FieldList();
  for (const [name, value] of pairs) add(list, name, value, 0);
  return list;
}

function add(list: FieldList, name: string, value: string, mark: number): void {
  const kind = kindOf(name);
  list.names.push(name);
  list.values.push(value);
  list.kinds.push(kind | mark);
  list.bytes += name.length + value.length + 32;
  if (kind === MALFORMED) list.malformed ??= nameFault(name);
  else if (!isFieldValue(value)) list.malformed ??= valueFault(value);
}

export function pairsOf(list: FieldList): Pair[] {
  return list.names.map((name, i) => [name, list.values[i]!] as const);
}

/** Keeps what it is given. */
export class RecordingEncoder implements FieldEncoder {
  list = new FieldList();
  /** How each field was to be sent. */
  hows: number[] = [];

  begin(): void {
    this.list = new FieldList();
    this.hows = [];
  }

  field(name: string, value: string, how: number): void {
    add(this.list, name, value, how === NEVER ? NEVER_INDEXED : 0);
    this.hows.push(how);
  }

  get pairs(): Pair[] {
    return pairsOf(this.list);
  }
}
