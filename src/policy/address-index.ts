// Hot path: mark runs for every request and allocates nothing.
/** Which of many blocks may hold an address: looked up by its leading bits, at most 32 of them, once a prefix length. */
import type { Address, Block } from './address.ts';
import { type Marks, note } from './text-index.ts';

interface Level {
  readonly family: number;
  readonly bits: number;
  readonly seats: Map<number, number[]>;
}

export class AddressIndex {
  readonly #levels: Level[] = [];

  add(block: Block, seat: number): void {
    const { words } = block;
    const bits = Math.min(block.bits, 32);
    const family = words.length;
    let level = this.#levels.find(known => known.family === family && known.bits === bits);
    if (level === undefined) {
      level = { family, bits, seats: new Map() };
      this.#levels.push(level);
    }
    const key = leading(words, bits);
    const seats = level.seats.get(key);
    if (seats === undefined) level.seats.set(key, [seat]);
    else seats.push(seat);
  }

  /** Notes every rule one of whose blocks may hold `address`. */
  mark(address: Address, marks: Marks): void {
    for (let i = 0; i < this.#levels.length; i++) {
      const { family, bits, seats } = this.#levels[i] as Level;
      if (family !== address.length) continue;
      const found = seats.get(leading(address, bits));
      if (found !== undefined) note(found, marks);
    }
  }
}

function leading(words: Address, bits: number): number {
  const word = words[0] as number;
  return bits === 0 ? 0 : word >>> (32 - bits);
}
