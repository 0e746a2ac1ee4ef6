// Hot path: mark runs for every request and allocates nothing.
/** Which of many blocks may hold an address: looked up by its leading bits, at most 32 of them, once a prefix length. */
import type { Address, Block } from './address.ts';
import { type Marks, note, type Post } from './text-index.ts';

interface Level {
  readonly family: number;
  readonly bits: number;
  readonly posts: Map<number, Post[]>;
}

export class AddressIndex {
  readonly #levels: Level[] = [];

  get isEmpty(): boolean {
    return this.#levels.length === 0;
  }

  add(block: Block, post: Post): void {
    const { words } = block;
    const bits = Math.min(block.bits, 32);
    const family = words.length;
    let level = this.#levels.find(known => known.family === family && known.bits === bits);
    if (level === undefined) {
      level = { family, bits, posts: new Map() };
      this.#levels.push(level);
    }
    const key = leading(words, bits);
    const posts = level.posts.get(key);
    if (posts === undefined) level.posts.set(key, [post]);
    else posts.push(post);
  }

  /** Notes every rule one of whose blocks may hold `address`. */
  mark(address: Address, marks: Marks): void {
    for (let i = 0; i < this.#levels.length; i++) {
      const { family, bits, posts } = this.#levels[i] as Level;
      if (family !== address.length) continue;
      const found = posts.get(leading(address, bits));
      if (found !== undefined) note(found, marks);
    }
  }
}

/** Whether what is found holds the address, rather than may. */
export function isExact({ bits }: Block): boolean {
  return bits <= 32;
}

function leading(words: Address, bits: number): number {
  const word = words[0] as number;
  return bits === 0 ? 0 : word >>> (32 - bits);
}
