/** Many address blocks as sorted ranges: whether one of 10,000 holds an address is found in 14 steps. */
import type { Address, Block } from './address.ts';

interface Range {
  readonly first: Address;
  readonly last: Address;
}

/** Blocks of both families. No IPv6 block holds an IPv4 address, so `::/0` does not. */
export interface AddressSet {
  readonly blocks: readonly Block[];
  readonly v4: readonly Range[];
  readonly v6: readonly Range[];
}

/** Sorts and merges. */
export function addressSet(blocks: readonly Block[]): AddressSet {
  return {
    blocks,
    v4: merged(blocks.filter(({ words }) => words.length === 1)),
    v6: merged(blocks.filter(({ words }) => words.length === 4)),
  };
}

/** Whether one of the blocks holds `address`. */
export function setHolds({ v4, v6 }: AddressSet, address: Address): boolean {
  const ranges = address.length === 1 ? v4 : v6;
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare((ranges[middle] as Range).last, address) < 0) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && compare((ranges[low] as Range).first, address) <= 0;
}

function merged(blocks: readonly Block[]): Range[] {
  const ranges: Range[] = [];
  for (const range of blocks.map(rangeOf).sort((a, b) => compare(a.first, b.first))) {
    const before = ranges.at(-1);
    if (before === undefined || compare(before.last, range.first) < 0) ranges.push(range);
    else if (compare(before.last, range.last) < 0) {
      ranges[ranges.length - 1] = { first: before.first, last: range.last };
    }
  }
  return ranges;
}

function rangeOf({ words, bits }: Block): Range {
  const masks = words.map((_, i) => {
    const left = bits - i * 32;
    return left >= 32 ? 0xffff_ffff : left <= 0 ? 0 : ~(0xffff_ffff >>> left) >>> 0;
  });
  return {
    first: words.map((word, i) => (word & (masks[i] as number)) >>> 0),
    last: words.map((word, i) => (word | ~(masks[i] as number)) >>> 0),
  };
}

function compare(a: Address, b: Address): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}
