/** Tags of protobuf's encoding, as external authorization's messages have them. */

const VARINT = 0;
const LENGTH_DELIMITED = 2;

/** The tag of a number or a bool. */
export function varint(field: number): number {
  return (field << 3) | VARINT;
}

/** The tag of a string, of bytes, or of a message. */
export function bytes(field: number): number {
  return (field << 3) | LENGTH_DELIMITED;
}
