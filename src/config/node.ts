/**
 * A YAML document as a tree of plain nodes that know where they stand: what every reader of a kind works on.
 */

/** Where a node starts; counted from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface ScalarNode extends Place {
  readonly is: 'scalar';
  readonly value: string | number | boolean | null;
  /** As the file has it, without quotes. */
  readonly text: string;
}

export interface ListNode extends Place {
  readonly is: 'list';
  readonly items: readonly ConfigNode[];
}

/** One field of a mapping; `key` is where its name stands. */
export interface Field {
  readonly key: Place;
  readonly value: ConfigNode;
}

export interface MapNode extends Place {
  readonly is: 'map';
  readonly fields: ReadonlyMap<string, Field>;
}

export type ConfigNode = ScalarNode | ListNode | MapNode;

/** True for an absent node and for YAML's null: Istio's decoder makes no difference between them. */
export function isAbsent(node: ConfigNode | undefined): boolean {
  return node === undefined || (node.is === 'scalar' && node.value === null);
}

/** What a node is, in the words of an error message. */
export function describe(node: ConfigNode): string {
  if (node.is === 'map') return 'a mapping';
  if (node.is === 'list') return 'a list';
  if (node.value === null) return 'empty';
  if (typeof node.value === 'string') return 'a string';
  return `the ${typeof node.value} ${node.value}`;
}
