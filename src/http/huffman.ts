// Hot path: no promise, closure or string per chunk.
/** The Huffman code of HPACK (RFC 7541 5.2 and appendix B): read eight bits a step, written symbol by symbol. */
import { FIELD_CHAR } from './fields.ts';

/**
 * Length of each symbol's code in bits, a base-36 digit for each byte; after them EOS. The code is canonical: ordered by
 * length, then by symbol, each code is the one before it plus one, so that the lengths say all.
 */
const LENGTHS =
  'dnsssssssoussussssssssusssssssss' +
  '6aacd68baa8b8666555666666678f6ca' +
  'd67777777777777777777777878djde6' +
  'f56565666577666567655677777fbeds' +
  'kmkkmmmnmnnnnnonoomnonnnnlmnmnno' +
  'mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn' +
  'qqkjmnmpqqqrrqopjlqrrqrollqqsrrr' +
  'koklmllnmmppooqnqrqqrrrrrsrrrrrq' +
  'u';
const EOS = 256;

/** Bits and code of each byte. */
const BITS = new Uint8Array(256);
const CODE = new Uint32Array(256);

/** Both in one number, for codes of up to SHORT_BITS; 0 for the others. */
const SHORT = new Uint32Array(256);
const SHORT_BITS = 15;
const BITS_MASK = 0x1f;
const CODE_SHIFT = 5;

// What a byte does in a state, packed: up to two symbols, how many, the next state, and two facts.
const SECOND_SHIFT = 8;
const COUNT_SHIFT = 16;
const COUNT_MASK = 3;
const STATE_SHIFT = 18;
const STATE_MASK = 0xff;
/** EOS (RFC 7541 5.2). */
const FAULT = 1 << 26;
/** A symbol that may not stand in a field value. */
const NO_FIELD_CHAR = 1 << 27;

/** A state is an inner node of the code's tree; 256 bytes can follow it. */
const STEPS = new Uint32Array(256 * 256);
/** 1 where a string may end: after whole symbols and at most 7 bits of padding, all ones (the begin of EOS). */
const MAY_END = new Uint8Array(256);

/** The tree: children of inner node n at 2n and 2n + 1; a symbol s stands as -1 - s. */
const TREE = new Int16Array(512);

function build(): void {
  const symbols = Array.from({ length: 257 }, (_, symbol) => symbol);
  const bitsOf = (symbol: number): number => Number.parseInt(LENGTHS.charAt(symbol), 36);
  symbols.sort((a, b) => bitsOf(a) - bitsOf(b) || a - b);
  let code = 0;
  let bits = bitsOf(symbols[0] as number);
  let nodes = 1;
  for (const symbol of symbols) {
    code <<= bitsOf(symbol) - bits;
    bits = bitsOf(symbol);
    nodes = plant(symbol, code, bits, nodes);
    if (symbol !== EOS) {
      BITS[symbol] = bits;
      CODE[symbol] = code;
      SHORT[symbol] = bits <= SHORT_BITS ? (code << CODE_SHIFT) | bits : 0;
    }
    code++;
  }
  for (let state = 0; state < nodes; state++) {
    for (let byte = 0; byte < 256; byte++) STEPS[(state << 8) | byte] = stepOf(state, byte);
  }
  for (let node = 0, depth = 0; depth < 8; depth++) {
    MAY_END[node] = 1;
    node = TREE[2 * node + 1] as number;
  }
}

/** Puts one code into the tree; @returns the number of inner nodes then. */
function plant(symbol: number, code: number, bits: number, nodes: number): number {
  let node = 0;
  for (let bit = bits - 1; bit > 0; bit--) {
    const child = 2 * node + ((code >>> bit) & 1);
    if (TREE[child] === 0) TREE[child] = nodes++;
    node = TREE[child] as number;
  }
  TREE[2 * node + (code & 1)] = -1 - symbol;
  return nodes;
}

function stepOf(state: number, byte: number): number {
  let node = state;
  let step = 0;
  let count = 0;
  for (let bit = 7; bit >= 0; bit--) {
    const next = TREE[2 * node + ((byte >>> bit) & 1)] as number;
    node = Math.max(next, 0);
    if (next >= 0) continue;
    const symbol = -1 - next;
    if (symbol === EOS) return FAULT;
    // The shortest code has 5 bits, so that 8 bits end two at most.
    step |= (symbol << (count * SECOND_SHIFT)) | (FIELD_CHAR[symbol] === 1 ? 0 : NO_FIELD_CHAR);
    count++;
  }
  return step | (count << COUNT_SHIFT) | (node << STATE_SHIFT);
}

build();

/** Plain text, shared by all connections: a string is read in one go. Grows to the longest one, which a block bounds. */
let plain = Buffer.allocUnsafeSlow(4096);

let onlyFieldChars = true;

/** The string in `bytes[from, to)` as latin1; null when it contains EOS or ends in anything but up to 7 bits of ones. */
export function huffmanText(bytes: Buffer, from: number, to: number): string | null {
  // 5 bits a symbol; one more for the second symbol that is written before it is known to be none.
  const most = (((to - from) * 8) / 5 + 2) | 0;
  if (most > plain.length) plain = Buffer.allocUnsafeSlow(2 * most);
  const out = plain;
  let length = 0;
  let state = 0;
  let facts = 0;
  for (let at = from; at < to; at++) {
    const step = STEPS[(state << 8) | (bytes[at] as number)] as number;
    facts |= step;
    out[length] = step;
    out[length + 1] = step >>> SECOND_SHIFT;
    length += (step >>> COUNT_SHIFT) & COUNT_MASK;
    state = (step >>> STATE_SHIFT) & STATE_MASK;
  }
  if ((facts & FAULT) !== 0 || MAY_END[state] !== 1) return null;
  onlyFieldChars = (facts & NO_FIELD_CHAR) === 0;
  return out.toString('latin1', 0, length);
}

/** Whether all characters of the string that was read last may stand in a field value: it need not be looked over again. */
export function hasOnlyFieldChars(): boolean {
  return onlyFieldChars;
}

/** Bytes that `text` (latin1) takes when it is encoded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += BITS[text.charCodeAt(i) & 0xff] as number;
  return (bits + 7) >>> 3;
}

/** Writes `text` (latin1) encoded at `out[at]`; @returns the offset after it. */
export function writeHuffman(text: string, out: Buffer, at: number): number {
  let held = 0;
  let bits = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i) & 0xff;
    let code = SHORT[c] as number;
    if (code === 0) {
      // The first bits of a long code; the last 15 go the way of a short one.
      const more = (BITS[c] as number) - SHORT_BITS;
      held = (held << more) | ((CODE[c] as number) >>> SHORT_BITS);
      for (bits += more; bits >= 8; ) {
        bits -= 8;
        out[at++] = held >>> bits;
      }
      code = (((CODE[c] as number) & 0x7fff) << CODE_SHIFT) | SHORT_BITS;
    }
    held = (held << (code & BITS_MASK)) | (code >>> CODE_SHIFT);
    bits += code & BITS_MASK;
    if (bits < 16) continue;
    bits -= 16;
    out[at] = held >>> (bits + 8);
    out[at + 1] = held >>> bits;
    at += 2;
  }
  if (bits >= 8) {
    bits -= 8;
    out[at++] = held >>> bits;
  }
  if (bits > 0) out[at++] = (held << (8 - bits)) | (0xff >>> bits);
  return at;
}
