/**
 * RFC 7541 as small as a test needs it, written apart from src/http so that it can judge it: literals out, without
 * Huffman and without indexing; everything in.
 */

export type Field = readonly [name: string, value: string];

/** An integer with a prefix of `bits` bits (RFC 7541 5.1); `first` are the bits above the prefix. */
export function integer(value: number, bits: number, first = 0): Buffer {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.of(first | value);
  const bytes = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

/** A string of latin1 characters, not coded (RFC 7541 5.2). */
export function string(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integer(bytes.length, 7), bytes]);
}

const literalOf =
  (first: number) =>
  ([name, value]: Field): Buffer =>
    Buffer.concat([Buffer.of(first), string(name), string(value)]);

/** A literal that leaves the table alone (RFC 7541 6.2.2), enters it (6.2.1), or may never enter any (6.2.3). */
export const literal = literalOf(0x00);
export const indexing = literalOf(0x40);
export const neverIndexed = literalOf(0x10);

/** A field of the table (RFC 7541 6.1). */
export function indexed(index: number): Buffer {
  return integer(index, 7, 0x80);
}

/** A change of the table's size (RFC 7541 6.3). */
export function tableSize(bytes: number): Buffer {
  return integer(bytes, 5, 0x20);
}

/** A header list, every field a literal. */
export function block(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.map(literal));
}

/** RFC 7541 appendix A: `name` or `name=value`, from index 1. */
const STATIC_TABLE: readonly Field[] = [
  ':authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200 :status=204',
  ':status=206 :status=304 :status=400 :status=404 :status=500 accept-charset accept-encoding=gzip,~deflate',
  'accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control',
  'content-disposition content-encoding content-language content-length content-location content-range content-type',
  'cookie date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since',
  'last-modified link location max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after',
  'server set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate',
]
  .join(' ')
  .split(' ')
  .map(entry => {
    const [name = '', value = ''] = entry.split('=');
    return [name, value.replace('~', ' ')] as const;
  });

/** Bits of each byte's code, then of EOS (RFC 7541 appendix B). The code is canonical: the lengths say it all. */
const CODE_LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS = 256;

/** Codes as strings of 0 and 1 → their byte. */
const SYMBOLS = new Map<string, number>();
const CODES: string[] = [];
{
  const order = CODE_LENGTHS.map((length, symbol) => ({ length, symbol })).sort(
    (a, b) => a.length - b.length || a.symbol - b.symbol,
  );
  let code = 0;
  let before = order[0]?.length ?? 0;
  for (const { length, symbol } of order) {
    code *= 2 ** (length - before);
    before = length;
    CODES[symbol] = code.toString(2).padStart(length, '0');
    SYMBOLS.set(CODES[symbol], symbol);
    code++;
  }
}

/** A string coded with Huffman; `padding` are the last bits, ones as the RFC wants them. */
export function huffman(text: string, padding = '1111111'): Buffer {
  const bits = [...Buffer.from(text, 'latin1')].map(byte => CODES[byte]).join('');
  return packed(bits + padding.slice(0, (8 - (bits.length % 8)) % 8));
}

/** A coded string of these bits as they are, in whole bytes. */
export function packed(bits: string): Buffer {
  const bytes = bits.match(/.{8}/g)?.map(byte => Number.parseInt(byte, 2)) ?? [];
  return Buffer.concat([integer(bytes.length, 7, 0x80), Buffer.from(bytes)]);
}

/** The bits of EOS, which no string may hold. */
export const EOS_BITS = CODES[EOS] as string;

function unpack(bytes: Buffer): string {
  let text = '';
  let code = '';
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code += (byte >> bit) & 1;
      const symbol = SYMBOLS.get(code);
      if (symbol === undefined) continue;
      if (symbol === EOS) throw new Error('EOS in a string');
      text += String.fromCharCode(symbol);
      code = '';
    }
  }
  if (code.length > 7 || code.includes('0')) throw new Error(`padding ${code}`);
  return text;
}

/** One field as it was sent: how says which representation. */
export interface ReadField {
  readonly name: string;
  readonly value: string;
  readonly how: 'indexed' | 'indexing' | 'literal' | 'never';
}

/** Decodes one connection's blocks. @throws Error on whatever RFC 7541 forbids the encoder */
export class HpackReader {
  #table: Field[] = [];
  #size = 0;
  #most = 4_096;
  /** What the encoder has been told and has acknowledged. */
  #allowed = 4_096;
  #mustShrink = false;

  /** Our SETTINGS_HEADER_TABLE_SIZE, once acknowledged. */
  allow(bytes: number): void {
    if (bytes < this.#most) this.#mustShrink = true; // RFC 7541 4.2: the next block begins with an update
    this.#allowed = bytes;
  }

  read(bytes: Buffer): ReadField[] {
    const cursor = new Cursor(bytes);
    const fields: ReadField[] = [];
    while (!cursor.done) {
      if ((cursor.peek & 0xe0) === 0x20) {
        if (fields.length > 0) throw new Error('a table size update behind a field');
        this.#resize(cursor.integer(5));
      } else {
        if (this.#mustShrink) throw new Error('no table size update at the begin of the block');
        fields.push(this.#field(cursor));
      }
    }
    return fields;
  }

  #field(cursor: Cursor): ReadField {
    const first = cursor.peek;
    if (first & 0x80) {
      const [name, value] = this.#at(cursor.integer(7));
      return { name, value, how: 'indexed' };
    }
    const enters = (first & 0xc0) === 0x40;
    const index = cursor.integer(enters ? 6 : 4);
    const name = index === 0 ? cursor.string() : this.#at(index)[0];
    const value = cursor.string();
    if (enters) this.#enter([name, value]);
    return { name, value, how: enters ? 'indexing' : first & 0x10 ? 'never' : 'literal' };
  }

  #at(index: number): Field {
    const field = STATIC_TABLE[index - 1] ?? this.#table[index - 1 - STATIC_TABLE.length];
    if (field === undefined) throw new Error(`index ${index}`);
    return field;
  }

  #enter(field: Field): void {
    this.#table.unshift(field);
    this.#size += sizeOf(field);
    this.#evict();
  }

  #resize(bytes: number): void {
    if (bytes > this.#allowed)
      throw new Error(`a table of ${bytes} bytes where ${this.#allowed} are allowed`);
    this.#most = bytes;
    this.#mustShrink = false;
    this.#evict();
  }

  #evict(): void {
    while (this.#size > this.#most) this.#size -= sizeOf(this.#table.pop() ?? ['', '']);
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + 32;
}

class Cursor {
  #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  get peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new Error('the block ends too early');
    return byte;
  }

  integer(bits: number): number {
    const most = 2 ** bits - 1;
    let value = this.peek & most;
    this.#at++;
    if (value < most) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.peek;
      this.#at++;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  string(): string {
    const coded = (this.peek & 0x80) !== 0;
    const length = this.integer(7);
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    if (bytes.length < length) throw new Error('a string ends too early');
    this.#at += length;
    return coded ? unpack(bytes) : bytes.toString('latin1');
  }
}
