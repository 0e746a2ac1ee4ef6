/**
 * One header list of HTTP/2 as it was decoded, in order, duplicates kept. Three arrays of one length, so that a field
 * makes no object: what fills it pushes to each.
 */
export class FieldList {
  /** As they came, latin1. A name that is none has the kind MALFORMED. */
  names: string[] = [];
  /** As they came, latin1. */
  values: string[] = [];
  /** Kinds of h2-field-kind.ts, with the bit NEVER_INDEXED where the field came so. */
  kinds: number[] = [];
  /** Size of what is stored: names and values in bytes, and 32 for each field (RFC 9113 6.5.2). */
  bytes = 0;
  /** Over the limits: what came after was decoded for the table's sake and is not stored. */
  tooLarge = false;
  /** How many fields came after that. */
  beyond = 0;
  /** A content-type that came after that: it tells in which form its sender understands a refusal. */
  lateContentType = '';
  /** The first fault of a name or a value, for a person; null = none. */
  malformed: string | null = null;

  /** Number of fields. */
  get length(): number {
    return this.names.length;
  }
}
