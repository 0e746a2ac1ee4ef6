// Hot path: mark runs for every request and allocates nothing.
/** Which of many literals a text equals, begins with or ends with, found in one walk along the text. */
import { isFilled } from './text.ts';

/** What a text may look like. */
export interface Literal {
  /** `segment`: what stands somewhere between two slashes; `filled`: not empty; `present`: whatever it is. */
  readonly how: 'exact' | 'prefix' | 'suffix' | 'segment' | 'filled' | 'present';
  /** Empty for `filled` and `present` only. */
  readonly text: string;
}

/** What the request that is looked up means for each rule, at the rule's seat. */
export interface Marks {
  readonly seats: Uint32Array;
  /** The mark of a rule whose guard it meets. */
  hit: number;
  /** The mark of a rule with a negated clause that it fails. */
  veto: number;
}

/** A rule's seat, or its complement where a literal that is met refutes the rule. */
export type Post = number;

/** A node of a radix tree. */
interface Node {
  /** What stands between the parent and here, in the tree's direction. */
  label: string;
  /** The rules whose literal ends here. */
  readonly posts: Post[];
  /** By the first code unit of their labels; null = none. */
  children: Map<number, Node> | null;
}

export class TextIndex {
  readonly #exact = new Map<string, Post[]>();
  readonly #prefixes: Node = { label: '', posts: [], children: null };
  /** Of texts read backwards. */
  readonly #suffixes: Node = { label: '', posts: [], children: null };
  /** By hash: a path is not cut up to be looked up. */
  readonly #segments = new Map<number, Post[]>();
  readonly #filled: Post[] = [];
  readonly #present: Post[] = [];

  add({ how, text }: Literal, post: Post): void {
    switch (how) {
      case 'exact':
        enter(this.#exact, text, post);
        break;
      case 'prefix':
        insert(this.#prefixes, text, post);
        break;
      case 'suffix':
        insert(this.#suffixes, reversed(text), post);
        break;
      case 'segment':
        enter(this.#segments, hashOf(text), post);
        break;
      case 'filled':
        this.#filled.push(post);
        break;
      case 'present':
        this.#present.push(post);
    }
  }

  /** Notes every rule one of whose literals `text` meets. */
  mark(text: string, marks: Marks): void {
    const posts = this.#exact.size === 0 ? undefined : this.#exact.get(text);
    if (posts !== undefined) note(posts, marks);
    if (this.#prefixes.children !== null) walk(this.#prefixes, text, false, marks);
    if (this.#suffixes.children !== null) walk(this.#suffixes, text, true, marks);
    if (this.#segments.size > 0) this.#markSegments(text, marks);
    if (this.#filled.length > 0 && isFilled(text)) note(this.#filled, marks);
    if (this.#present.length > 0) note(this.#present, marks);
  }

  #markSegments(text: string, marks: Marks): void {
    let hash = 0;
    for (let at = 0; at <= text.length; at++) {
      const c = at < text.length ? text.charCodeAt(at) : SLASH;
      if (c !== SLASH) {
        hash = hashed(hash, c);
        continue;
      }
      const posts = this.#segments.get(hash);
      if (posts !== undefined) note(posts, marks);
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

function enter<K>(map: Map<K, Post[]>, key: K, post: Post): void {
  const posts = map.get(key);
  if (posts === undefined) map.set(key, [post]);
  else posts.push(post);
}

/** Marks rules; what refutes a rule outweighs what speaks for it. */
export function note(posts: readonly Post[], { seats, hit, veto }: Marks): void {
  for (let i = 0; i < posts.length; i++) {
    const post = posts[i] as Post;
    if (post < 0) seats[~post] = veto;
    else if (seats[post] !== veto) seats[post] = hit;
  }
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
    note(node.posts, marks);
  }
}

function insert(root: Node, text: string, post: Post): void {
  let node = root;
  let rest = text;
  while (rest !== '') {
    node.children ??= new Map();
    const child = node.children.get(rest.charCodeAt(0));
    if (child === undefined) {
      node.children.set(rest.charCodeAt(0), { label: rest, posts: [post], children: null });
      return;
    }
    const common = commonLength(child.label, rest);
    if (common < child.label.length) {
      const fork: Node = { label: rest.slice(0, common), posts: [], children: new Map() };
      node.children.set(rest.charCodeAt(0), fork);
      child.label = child.label.slice(common);
      fork.children?.set(child.label.charCodeAt(0), child);
      node = fork;
    } else node = child;
    rest = rest.slice(common);
  }
  node.posts.push(post);
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
