/**
 * One certificate revocation list, read strictly from its DER (RFC 5280 section 5). OpenSSL's own check is not used: with
 * a list given it refuses every peer of a CA that has none, and every peer once a list is out of date.
 */
import type { KeyObject } from 'node:crypto';
import { readTime } from './certificate.ts';
import {
  BIT_STRING,
  BOOLEAN,
  type Element,
  elementAt,
  elements,
  GENERALIZED_TIME,
  INTEGER,
  OCTET_STRING,
  OID,
  SEQUENCE,
  UTC_TIME,
} from './der.ts';
import { distinguishedName } from './distinguished-name.ts';
import { RevokedSerials } from './revoked-serials.ts';
import { readSignatureAlgorithm, type VerifySignature } from './signature.ts';

/** A list that is complete for its issuer; whether the issuer signed it is asked with `isSignedBy`. */
export interface Crl {
  /** RFC 2253. */
  readonly issuer: string;
  /** Unix milliseconds. */
  readonly thisUpdate: number;
  /** Unix milliseconds; null when the list does not say. */
  readonly nextUpdate: number | null;
  readonly revoked: Pick<RevokedSerials, 'count' | 'has'>;
  /** 5 ms for 100,000 entries. */
  isSignedBy(key: KeyObject): boolean;
}

/** `problem` finishes the sentence "the list …". */
export type CrlReading =
  | { readonly ok: true; readonly crl: Crl }
  | { readonly ok: false; readonly problem: string };

const EXTENSIONS = 0xa0;
const DISTRIBUTION_POINT = 0xa0;
const MAX_SERIAL = 127; // octets, of which RFC 5280 4.1.2.2 allows 20; the table needs a length of one octet
const DELTA_INDICATOR = '551d1b';
const ISSUING_POINT = '551d1c';
const CERTIFICATE_ISSUER = '551d1d';
/** Critical ones of an entry that change nothing: the reason, since when, what to do in a hold. */
const ENTRY_EXTENSIONS = new Set(['551d15', '551d17', '551d18']);
/** Of the list: its number, the key that signed it, the issuer's other names, where changes are published. */
const LIST_EXTENSIONS = new Set(['551d14', '551d23', '551d12', '551d2e']);

/** Carries a problem out of the nested reading; never leaves this file. */
class Unreadable extends Error {}

/** Reads one list; never throws. Lists that tell only a part (delta, indirect, some certificates only) are refused. */
export function readCrl(der: Uint8Array): CrlReading {
  try {
    return { ok: true, crl: read(Buffer.from(der.buffer, der.byteOffset, der.byteLength)) };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, problem: error.message };
    throw error;
  }
}

function read(bytes: Buffer): Crl {
  const whole = elementAt(bytes, 0, bytes.length, SEQUENCE);
  const parts = whole?.end === bytes.length ? elements(bytes, whole) : null;
  const [body, outer, signature] = parts ?? [];
  const inBody = body?.tag === SEQUENCE && parts?.length === 3 ? elements(bytes, body) : null;
  if (!inBody || !body || !outer || !signature) throw new Unreadable('is not exactly one list in DER');
  const version = inBody[0]?.tag === INTEGER ? inBody.shift() : undefined;
  if (version && !(version.end - version.start === 1 && bytes[version.start] === 1)) {
    throw new Unreadable('has a version that does not exist');
  }
  const [inner, issuerName, ...rest] = inBody;
  const verify = algorithmOf(bytes, outer, inner);
  const issuer = issuerName?.tag === SEQUENCE ? distinguishedName(bytes, issuerName) : null;
  if (!issuer) throw new Unreadable('has no issuer');
  const thisUpdate = readTime(bytes, rest.shift());
  if (thisUpdate === null) throw new Unreadable('does not say when it was made');
  const nextUpdate = isTime(rest[0]) ? readTime(bytes, rest.shift()) : undefined;
  if (nextUpdate === null) throw new Unreadable('has a date that is none');
  if (nextUpdate !== undefined && nextUpdate < thisUpdate) throw new Unreadable('ends before it begins');
  const entries = rest[0]?.tag === SEQUENCE ? rest.shift() : undefined;
  const holder = rest[0]?.tag === EXTENSIONS && version ? rest.shift() : undefined;
  if (rest.length > 0) throw new Unreadable('holds what is no part of a list');
  const revoked = entriesOf(bytes, entries);
  if (holder) checkListExtensions(bytes, holder);
  const signed = bytes.subarray(body.at, body.end);
  const value = signatureOf(bytes, signature);
  return Object.freeze({
    issuer,
    thisUpdate,
    nextUpdate: nextUpdate ?? null,
    revoked,
    isSignedBy: (key: KeyObject) => verify(key, signed, value),
  });
}

/** RFC 5280 5.1.1.2: what is signed names the same algorithm. */
function algorithmOf(bytes: Buffer, outer: Element, inner: Element | undefined): VerifySignature {
  if (!inner || bytes.compare(bytes, inner.at, inner.end, outer.at, outer.end) !== 0) {
    throw new Unreadable('names two signature algorithms');
  }
  const verify = readSignatureAlgorithm(bytes, outer);
  if (!verify) throw new Unreadable('is signed by an algorithm that is not believed (SHA-1, or unknown)');
  return verify;
}

function signatureOf(bytes: Buffer, { tag, start, end }: Element): Buffer {
  if (tag !== BIT_STRING || bytes[start] !== 0 || end - start < 2) throw new Unreadable('has no signature');
  return bytes.subarray(start + 1, end);
}

function isTime(element: Element | undefined): boolean {
  return element?.tag === UTC_TIME || element?.tag === GENERALIZED_TIME;
}

/** A list of its own: `elements` ends at 512. */
function entriesOf(bytes: Buffer, entries: Element | undefined): RevokedSerials {
  const revoked = new RevokedSerials(bytes);
  if (!entries) return revoked;
  for (let at = entries.start; at < entries.end; ) {
    const entry = elementAt(bytes, at, entries.end, SEQUENCE);
    const serial = entry && elementAt(bytes, entry.start, entry.end, INTEGER);
    const time = serial && elementAt(bytes, serial.end, entry.end);
    if (!serial || !time || readTime(bytes, time) === null || !isShortInteger(bytes, serial)) {
      throw new Unreadable(`has an entry that cannot be read, after ${revoked.count} good ones`);
    }
    if (time.end !== entry.end) checkEntryExtensions(bytes, time.end, entry.end);
    revoked.add(serial.start);
    at = entry.end;
  }
  return revoked;
}

/** In DER's one form, no octet too many, so that one number is one text. */
function isShortInteger(bytes: Buffer, { at, start, end }: Element): boolean {
  if (start - at !== 2 || end === start || end - start > MAX_SERIAL) return false;
  return end - start === 1 || bytes[start] !== 0 || (bytes[start + 1] ?? 0) >= 0x80;
}

function checkEntryExtensions(bytes: Buffer, at: number, end: number): void {
  const list = elementAt(bytes, at, end, SEQUENCE);
  if (list?.end !== end) throw new Unreadable('has an entry with more than extensions');
  for (const { name, critical } of extensionsOf(bytes, list)) {
    if (name === CERTIFICATE_ISSUER)
      throw new Unreadable('is indirect: it tells of certificates of another CA');
    if (critical && !ENTRY_EXTENSIONS.has(name)) throw unknownCritical(name);
  }
}

function checkListExtensions(bytes: Buffer, holder: Element): void {
  const list = elementAt(bytes, holder.start, holder.end, SEQUENCE);
  if (list?.end !== holder.end) throw new Unreadable('has extensions that cannot be read');
  for (const { name, critical, value } of extensionsOf(bytes, list)) {
    if (name === DELTA_INDICATOR) throw new Unreadable('is a delta: it tells only what changed');
    if (name === ISSUING_POINT) checkIssuingPoint(bytes, value);
    else if (critical && !LIST_EXTENSIONS.has(name)) throw unknownCritical(name);
  }
}

/** RFC 5280 5.2.5: only where it is published may be said; every other field makes the list one of a part. */
function checkIssuingPoint(bytes: Buffer, value: Element): void {
  const point = elementAt(bytes, value.start, value.end, SEQUENCE);
  const fields = point?.end === value.end ? elements(bytes, point) : null;
  if (!fields) throw new Unreadable('has a distribution point that cannot be read');
  if (fields.some(({ tag }) => tag !== DISTRIBUTION_POINT)) {
    throw new Unreadable('is indirect, or tells only of some certificates or reasons');
  }
}

interface Extension {
  readonly name: string;
  readonly critical: boolean;
  readonly value: Element;
}

function extensionsOf(bytes: Buffer, list: Element): Extension[] {
  const found: Extension[] = [];
  const all = elements(bytes, list); // none at all, which RFC 5280 does not allow, is what some libraries write
  if (!all) throw new Unreadable('has extensions that cannot be read');
  for (const element of all) {
    const [oid, ...rest] = (element.tag === SEQUENCE ? elements(bytes, element) : null) ?? [];
    const value = rest.pop();
    const critical = rest.pop();
    const readable = oid?.tag === OID && value?.tag === OCTET_STRING && rest.length === 0;
    if (!readable || (critical && critical.tag !== BOOLEAN))
      throw new Unreadable('has an extension that cannot be read');
    const name = bytes.toString('hex', oid.start, oid.end);
    if (found.some(other => other.name === name)) throw new Unreadable('has an extension twice');
    found.push({ name, critical: critical !== undefined && bytes[critical.start] !== 0, value });
  }
  return found;
}

function unknownCritical(name: string): Unreadable {
  return new Unreadable(`has a critical extension that is not known (${name} in hex)`);
}
