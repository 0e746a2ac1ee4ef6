/** The CheckResponse of envoy.service.auth.v3 (external_auth.proto), read field by field. Text comes out as on the wire. */
import type { Reader } from 'protobufjs';
import type { Field } from './ext-authz-question.ts';
import { bytes, varint } from './ext-authz-wire.ts';

/** HeaderValueOption. */
export interface HeaderOption {
  readonly field: Field;
  /** The deprecated BoolValue: null = not written. */
  readonly append: boolean | null;
  /** HeaderAppendAction: 0 append or add, 1 add if absent, 2 overwrite or add, 3 overwrite if there. */
  readonly action: number;
}

/** DeniedHttpResponse: denied_response, or error_response. */
export interface DeniedResponse {
  /** 0 = not written. */
  readonly status: number;
  readonly headers: readonly HeaderOption[];
  readonly body: Buffer;
}

/** OkHttpResponse. */
export interface Consent {
  readonly headers: readonly HeaderOption[];
  readonly remove: readonly string[];
  readonly responseHeaders: readonly HeaderOption[];
  readonly querySet: readonly Field[];
  readonly queryRemove: readonly string[];
}

export interface CheckResponse {
  /** google.rpc.Status.code; 0 = OK, also when there is no status. */
  readonly code: number;
  readonly denied: DeniedResponse | null;
  readonly ok: Consent | null;
  /** The authorizer says that it failed. */
  readonly error: DeniedResponse | null;
}

/** Reads what the tag announces; false = not known. A known field of another wire type is not known. */
type Setter = (tag: number, reader: Reader) => boolean;

/**
 * Reads one CheckResponse; fields that are not known are passed over.
 *
 * @throws RangeError or Error of protobufjs when the bytes are none
 */
export function readCheckResponse(reader: Reader): CheckResponse {
  let code = 0;
  let denied: DeniedResponse | null = null;
  let ok: Consent | null = null;
  let error: DeniedResponse | null = null;
  fields(reader, reader.len, (tag, from) => {
    if (tag === bytes(1)) code = nested(from, readCode);
    // http_response is a oneof: the last one that is written holds.
    else if (tag === bytes(2) || tag === bytes(3) || tag === bytes(5)) {
      denied = tag === bytes(2) ? nested(from, readDenial) : null;
      ok = tag === bytes(3) ? nested(from, readConsent) : null;
      error = tag === bytes(5) ? nested(from, readDenial) : null;
    } else return false;
    return true;
  });
  return { code, denied, ok, error };
}

/** google.rpc.Status, envoy.type.v3.HttpStatus and BoolValue have a number as field 1. */
function readCode(reader: Reader, end: number): number {
  let code = 0;
  fields(reader, end, (tag, from) => {
    if (tag === varint(1)) code = from.int32();
    return tag === varint(1);
  });
  return code;
}

function readDenial(reader: Reader, end: number): DeniedResponse {
  let status = 0;
  let body: Buffer = Buffer.alloc(0);
  const headers: HeaderOption[] = [];
  fields(reader, end, (tag, from) => {
    if (tag === bytes(1)) status = nested(from, readCode);
    else if (tag === bytes(2)) headers.push(nested(from, readHeaderOption));
    else if (tag === bytes(3)) body = readBytes(from);
    else return false;
    return true;
  });
  return { status, headers, body };
}

function readConsent(reader: Reader, end: number): Consent {
  const headers: HeaderOption[] = [];
  const remove: string[] = [];
  const responseHeaders: HeaderOption[] = [];
  const querySet: Field[] = [];
  const queryRemove: string[] = [];
  fields(reader, end, (tag, from) => {
    if (tag === bytes(2)) headers.push(nested(from, readHeaderOption));
    else if (tag === bytes(5)) remove.push(readText(from));
    else if (tag === bytes(6)) responseHeaders.push(nested(from, readHeaderOption));
    else if (tag === bytes(7)) querySet.push(nested(from, readPair));
    else if (tag === bytes(8)) queryRemove.push(readText(from));
    else return false;
    return true;
  });
  return { headers, remove, responseHeaders, querySet, queryRemove };
}

function readHeaderOption(reader: Reader, end: number): HeaderOption {
  let field: Field = ['', ''];
  let append: boolean | null = null;
  let action = 0;
  fields(reader, end, (tag, from) => {
    if (tag === bytes(1)) field = nested(from, readPair);
    else if (tag === bytes(2)) append = nested(from, readCode) !== 0;
    else if (tag === varint(3)) action = from.int32();
    else return false;
    return true;
  });
  return { field, append, action };
}

/** HeaderValue and QueryParameter: key, value; of a HeaderValue raw_value stands in for a value that is not there. */
function readPair(reader: Reader, end: number): Field {
  let key = '';
  let value = '';
  let raw = '';
  fields(reader, end, (tag, from) => {
    if (tag === bytes(1)) key = readText(from);
    else if (tag === bytes(2)) value = readText(from);
    else if (tag === bytes(3)) raw = readText(from);
    else return false;
    return true;
  });
  return [key, value === '' ? raw : value];
}

/** Calls `set` for each field up to `end`, and passes over those that it does not know. */
function fields(reader: Reader, end: number, set: Setter): void {
  while (reader.pos < end) {
    const tag = reader.uint32();
    if (!set(tag, reader)) reader.skipType(tag & 7);
  }
  if (reader.pos !== end) throw new RangeError('a field goes past the end of its message');
}

function nested<T>(reader: Reader, read: (reader: Reader, end: number) => T): T {
  const length = reader.uint32();
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError('a message goes past the end');
  return read(reader, end);
}

function readBytes(reader: Reader): Buffer {
  return Buffer.from(reader.bytes());
}

function readText(reader: Reader): string {
  return readBytes(reader).toString('latin1');
}
