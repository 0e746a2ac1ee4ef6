// Hot path: mark runs for every request and allocates nothing.
/** Which of many literals a text equals, begins with or ends with, found in one walk along the text. */

/** What a text must look like for a rule to be worth asking. */
export interface Literal {
  /** `segment`: what stands somewhere between two slashes. */
  readonly how: 'exact' | 'prefix' | 'suffix' | 'segment';
  /** Not empty. */
  readonly text: string;
}

/** Where the rules that are worth asking are noted: the round's number at the rule's seat. */
export interface Marks {
  readonly seats: Uint32Array;
  round: number;
}

/** A node of a radix tree. */
interface Node {
  /** What stands between the parent and here, in the tree's direction. */
  label: string;
  /** The rules whose literal ends here. */
  readonly seats: number[];
  /** By the first code unit of their labels; null = none. */
  children: Map<number, Node> | null;
}

export class TextIndex {
  readonly #exact = new Map<string, number[]>();
  readonly #prefixes: Node = { label: '', seats: [], children: null };
  /** Of texts read backwards. */
  readonly #suffixes: Node = { label: '', seats: [], children: null };
  /** By hash: a path is not cut up to be looked up. */
  readonly #segments = new Map<number, number[]>();

  add({ how, text }: Literal, seat: number): void {
    if (how === 'prefix') insert(this.#prefixes, text, seat);
    else if (how === 'suffix') insert(this.#suffixes, reversed(text), seat);
    else if (how === 'segment') enter(this.#segments, hashOf(text), seat);
    else enter(this.#exact, text, seat);
  }

  /** Notes every rule one of whose literals `text` meets. */
  mark(text: string, marks: Marks): void {
    const seats = this.#exact.size === 0 ? undefined : this.#exact.get(text);
    if (seats !== undefined) note(seats, marks);
    if (this.#prefixes.children !== null) walk(this.#prefixes, text, false, marks);
    if (this.#suffixes.children !== null) walk(this.#suffixes, text, true, marks);
    if (this.#segments.size > 0) this.#markSegments(text, marks);
  }

  #markSegments(text: string, marks: Marks): void {
    let hash = 0;
    for (let at = 0; at <= text.length; at++) {
      const c = at < text.length ? text.charCodeAt(at) : SLASH;
      if (c !== SLASH) {
        hash = hashed(hash, c);
        continue;
      }
      const seats = this.#segments.get(hash);
      if (seats !== undefined) note(seats, marks);
      hash = 0;
    }
  }
}

const SLASH = 0x2f;

function hashOf(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = hashed(hash, text.charCodeAt(i));
  return hash;
}

/** Texts with one hash are taken for each other, which only means that a rule is asked in vain. */
function hashed(hash: number, c: number): number {
  return (Math.imul(hash, 31) + c) | 0;
}

function enter<K>(map: Map<K, number[]>, key: K, seat: number): void {
  const seats = map.get(key);
  if (seats === undefined) map.set(key, [seat]);
  else seats.push(seat);
}

/** Notes rules as worth asking. */
export function note(seats: readonly number[], marks: Marks): void {
  for (let i = 0; i < seats.length; i++) marks.seats[seats[i] as number] = marks.round;
}

function walk(root: Node, text: string, backwards: boolean, marks: Marks): void {
  const last = text.length - 1;
  let node = root;
  let at = 0;
  while (at <= last && node.children !== null) {
    const child = node.children.get(text.charCodeAt(backwards ? last - at : at));
    if (child === undefined) return;
    const { label } = child;
    if (at + label.length > text.length) return;
    for (let i = 1; i < label.length; i++) {
      if (text.charCodeAt(backwards ? last - at - i : at + i) !== label.charCodeAt(i)) return;
    }
    at += label.length;
    node = child;
    note(node.seats, marks);
  }
}

function insert(root: Node, text: string, seat: number): void {
  let node = root;
  let rest = text;
  while (rest !== '') {
    node.children ??= new Map();
    const child = node.children.get(rest.charCodeAt(0));
    if (child === undefined) {
      node.children.set(rest.charCodeAt(0), { label: rest, seats: [seat], children: null });
      return;
    }
    const common = commonLength(child.label, rest);
    if (common < child.label.length) {
      const fork: Node = { label: rest.slice(0, common), seats: [], children: new Map() };
      node.children.set(rest.charCodeAt(0), fork);
      child.label = child.label.slice(common);
      fork.children?.set(child.label.charCodeAt(0), child);
      node = fork;
    } else node = child;
    rest = rest.slice(common);
  }
  node.seats.push(seat);
}

function commonLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let i = 0;
  while (i < most && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
}

/** Code unit by code unit: only compared with what is read backwards the same way. */
function reversed(text: string): string {
  let out = '';
  for (let i = text.length - 1; i >= 0; i--) out += text.charAt(i);
  return out;
}
