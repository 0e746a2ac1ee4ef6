// Hot path: no promise, closure or string per chunk.
/** What kind of field a name of HTTP/2 is, and which names and values are none (RFC 9113 8.2.1, 8.3). */
import { FIELD_CHAR, fieldCode, PLAIN, TCHAR } from './fields.ts';

// Kinds up to 16 are the codes of fields.ts. From here on: pseudo-header fields.
export const METHOD = 32;
export const SCHEME = 33;
export const AUTHORITY = 34;
export const PATH = 35;
/** :protocol of RFC 8441. */
export const PROTOCOL = 36;
export const STATUS = 37;
/** Begins with a colon and is none of the six above. */
export const UNKNOWN_PSEUDO = 38;

// As PLAIN to everyone who does not care.
export const COOKIE = 40;
export const GRPC_STATUS = 41;
export const AUTHORIZATION = 42;

/** No name at all: empty, with upper case, or with a byte that is no tchar. */
export const MALFORMED = 63;

/** A bit beside the kind: came as a never-indexed literal (RFC 7541 6.2.3) and leaves as one. */
export const NEVER_INDEXED = 256;
/** The kind without that bit. */
export const KIND_BITS = NEVER_INDEXED - 1;

/** 1 where the byte may stand in a field name of HTTP/2: a tchar, but no upper case. */
const NAME_CHAR = TCHAR.slice();
NAME_CHAR.fill(0, 0x41, 0x5b);

/** The kind of a name as it was received in HTTP/2. */
export function kindOf(name: string): number {
  const { length } = name;
  if (length === 0) return MALFORMED;
  if (name.charCodeAt(0) === 0x3a) return pseudoKind(name);
  for (let i = 0; i < length; i++) if (NAME_CHAR[name.charCodeAt(i)] !== 1) return MALFORMED;
  const code = fieldCode(name, 0, length);
  if (code !== PLAIN) return code;
  if (length === 6) return name === 'cookie' ? COOKIE : PLAIN;
  if (length === 11) return name === 'grpc-status' ? GRPC_STATUS : PLAIN;
  if (length === 13) return name === 'authorization' ? AUTHORIZATION : PLAIN;
  return PLAIN;
}

function pseudoKind(name: string): number {
  switch (name) {
    case ':method':
      return METHOD;
    case ':scheme':
      return SCHEME;
    case ':authority':
      return AUTHORITY;
    case ':path':
      return PATH;
    case ':protocol':
      return PROTOCOL;
    case ':status':
      return STATUS;
    default:
      return UNKNOWN_PSEUDO;
  }
}

/** What is wrong with a name whose kind is MALFORMED, for a person. */
export function nameFault(name: string): string {
  if (name === '') return 'empty header name';
  for (let i = 0; i < name.length; i++) {
    if (TCHAR[name.charCodeAt(i)] !== 1) return 'invalid character in a header name';
  }
  return 'upper case in a header name';
}

/** Whether a value may stand in HTTP/2: no NUL, CR, LF or other control, no white space at its ends (RFC 9113 8.2.1). */
export function isFieldValue(value: string): boolean {
  if (!isTrimmed(value)) return false;
  for (let i = 0; i < value.length; i++) if (FIELD_CHAR[value.charCodeAt(i)] !== 1) return false;
  return true;
}

/** Whether neither end is white space: all that is left to ask of a value whose characters are known to be good. */
export function isTrimmed(value: string): boolean {
  const { length } = value;
  return length === 0 || (value.charCodeAt(0) > 0x20 && value.charCodeAt(length - 1) > 0x20);
}

/** What is wrong with a value that is no field value, for a person. */
export function valueFault(value: string): string {
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (FIELD_CHAR[c] === 1) continue;
    if (c === 0) return 'NUL byte';
    if (c === 0x0d) return 'bare CR';
    return c === 0x0a ? 'bare LF' : 'control character in a header value';
  }
  return 'white space around a header value';
}
