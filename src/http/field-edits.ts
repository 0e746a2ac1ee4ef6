// Hot path: no promise, closure or string per chunk.
import type { RequestEdits } from './h1-write.ts';

/** Edits that know what they add by name and value: HTTP/2 takes it as it is, HTTP/1.1 as the lines that it makes. */
export class FieldEdits implements RequestEdits {
  readonly target: string;
  readonly list: readonly string[];
  readonly drop: number;
  readonly remove: readonly string[] | null;

  /** @param list names in lower case, and values, in turn */
  constructor(target: string, list: readonly string[], drop: number, remove: readonly string[] | null) {
    this.target = target;
    this.list = list;
    this.drop = drop;
    this.remove = remove;
  }

  get added(): string {
    const { list } = this;
    let lines = '';
    for (let i = 0; i < list.length; i += 2) lines += `${list[i]}: ${list[i + 1]}\r\n`;
    return lines;
  }
}
