/** Header blocks of the tests: from hexadecimal, through one decoder or encoder, and what a dynamic table holds. */
import { FieldList } from '../../src/http/field-list.ts';
import type { HpackDecoder, ListLimits } from '../../src/http/hpack-decoder.ts';
import { type HpackEncoder, INDEX } from '../../src/http/hpack-encoder.ts';

export type Field = readonly [name: string, value: string];

export const LIMITS: ListLimits = { bytes: 61_440, fields: 100 };
export const NO_LIMITS: ListLimits = { bytes: Number.MAX_SAFE_INTEGER, fields: Number.MAX_SAFE_INTEGER };

export function bytes(...hex: readonly string[]): Buffer {
  return Buffer.from(hex.join('').replaceAll(' ', ''), 'hex');
}

/** A string literal that is not coded, as hexadecimal; its length must be below 127. */
export function literal(text: string): string {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')]).toString('hex');
}

/** An integer in the bits of `mask` (RFC 7541 5.1), as hexadecimal. */
export function integer(pattern: number, mask: number, value: number): string {
  if (value < mask) return Buffer.from([pattern | value]).toString('hex');
  const octets = [pattern | mask];
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push(128 + (rest % 128));
  return Buffer.from([...octets, rest]).toString('hex');
}

/** Decodes a block, which stands in the midst of other bytes. */
export function decode(decoder: HpackDecoder, block: Buffer, limits = LIMITS): FieldList | string {
  const list = new FieldList();
  const around = Buffer.concat([bytes('828282'), block, bytes('828282')]);
  return decoder.decode(around, 3, 3 + block.length, list, limits) ?? list;
}

export function fieldsOf(list: FieldList | string): readonly Field[] {
  if (typeof list === 'string') throw new Error(list);
  return list.names.map((name, i) => [name, list.values[i] as string]);
}

/** What the dynamic table holds, newest first. */
export function tableOf(decoder: HpackDecoder): readonly Field[] {
  const entries: Field[] = [];
  for (;;) {
    const list = decode(decoder, bytes(integer(0x80, 0x7f, 62 + entries.length)));
    if (typeof list === 'string') return entries;
    entries.push(...fieldsOf(list));
  }
}

/** One block with these fields, each with its `how` (INDEX unless said). */
export function encode(
  encoder: HpackEncoder,
  fields: readonly (readonly [name: string, value: string, how?: number])[],
): Buffer {
  encoder.begin();
  for (const [name, value, how] of fields) encoder.field(name, value, how ?? INDEX);
  return Buffer.from(encoder.buffer.subarray(0, encoder.length));
}
