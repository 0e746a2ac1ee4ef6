/** The number that a Content-Length field says (RFC 9110 8.6), or -1 when servers could read it differently. */
export function contentLengthOf(value: string): number {
  // 15 digits stay below 2^53: no server can read another number.
  if (value.length === 0 || value.length > 15) return -1;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}
