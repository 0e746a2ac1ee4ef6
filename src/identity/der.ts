/**
 * A walk over DER (X.690): elements by tag and offsets, nothing copied. Never throws: what is not whole is `null`.
 */

// Universal tags (X.690 8), SEQUENCE and SET as they are encoded: constructed.
export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const NULL = 0x05;
export const OID = 0x06;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;
export const SET = 0x31;

/** One element: its tag, where it begins and where its content lies. */
export interface Element {
  readonly tag: number;
  readonly at: number;
  readonly start: number;
  readonly end: number;
}

const MAX_ELEMENTS = 512; // of one list: a certificate of 64 KB cannot make a peer's handshake dear

/** The element at `at`, whole within `limit` and of the given tag; null otherwise. Definite lengths only. */
export function elementAt(bytes: Buffer, at: number, limit: number, tag?: number): Element | null {
  if (at + 2 > limit) return null;
  const found = bytes[at] ?? 0;
  let length = bytes[at + 1] ?? 0;
  let start = at + 2;
  if (length >= 0x80) {
    const size = length & 0x7f;
    if (size === 0 || size > 3 || start + size > limit) return null; // 3 octets: 16 MB, more than any handshake
    length = bytes.readUIntBE(start, size);
    start += size;
  }
  if (start + length > limit || (found & 0x1f) === 0x1f) return null;
  return tag === undefined || tag === found ? { tag: found, at, start, end: start + length } : null;
}

/** The elements that fill `parent`; null when they do not fill it exactly. */
export function elements(bytes: Buffer, parent: Element): Element[] | null {
  const list: Element[] = [];
  for (let at = parent.start; at < parent.end; ) {
    const element = elementAt(bytes, at, parent.end);
    if (!element || list.length === MAX_ELEMENTS) return null;
    list.push(element);
    at = element.end;
  }
  return list;
}
