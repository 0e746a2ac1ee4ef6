/**
 * A distinguished name in RFC 2253 text, as OpenSSL's XN_FLAG_RFC2253 prints it and therefore Envoy in
 * `x-forwarded-client-cert`: last attribute first, OpenSSL's short names, bytes beyond ASCII as `\XX`.
 */
import { type Element, elements, OID, SEQUENCE, SET } from './der.ts';

/** OpenSSL's short names by object identifier in hex; any other is printed in dots with its value in hex. */
const SHORT_NAMES: Readonly<Record<string, string>> = {
  '550403': 'CN',
  '550404': 'SN',
  '550405': 'serialNumber',
  '550406': 'C',
  '550407': 'L',
  '550408': 'ST',
  '550409': 'street',
  '55040a': 'O',
  '55040b': 'OU',
  '55040c': 'title',
  '55040d': 'description',
  '55040f': 'businessCategory',
  '550411': 'postalCode',
  '550429': 'name',
  '55042a': 'GN',
  '55042b': 'initials',
  '55042c': 'generationQualifier',
  '55042d': 'x500UniqueIdentifier',
  '55042e': 'dnQualifier',
  '550441': 'pseudonym',
  '550461': 'organizationIdentifier',
  '2a864886f70d010901': 'emailAddress',
  '0992268993f22c640101': 'UID',
  '0992268993f22c640119': 'DC',
};

/** Renders the Name at `name` ('' when empty); null when it is not one. */
export function distinguishedName(bytes: Buffer, name: Element): string | null {
  if (name.start === name.end) return '';
  const sets = elements(bytes, name);
  const rendered = sets?.reverse().map(set => (set.tag === SET ? relativeName(bytes, set) : null));
  return !rendered || rendered.includes(null) ? null : rendered.join(',');
}

function relativeName(bytes: Buffer, set: Element): string | null {
  const attributes = elements(bytes, set);
  if (!attributes || attributes.length === 0) return null;
  const rendered: string[] = [];
  for (const attribute of attributes) {
    const pair = attribute.tag === SEQUENCE ? elements(bytes, attribute) : null;
    const [type, value] = pair ?? [];
    if (pair?.length !== 2 || type?.tag !== OID || !value) return null;
    rendered.unshift(attributeText(bytes, type, value));
  }
  return rendered.join('+');
}

function attributeText(bytes: Buffer, type: Element, value: Element): string {
  const short = SHORT_NAMES[bytes.toString('hex', type.start, type.end)];
  const text = short === undefined ? null : valueText(bytes, value);
  const name = short ?? dotted(bytes, type);
  return text === null
    ? `${name}=#${bytes.toString('hex', value.at, value.end).toUpperCase()}`
    : `${name}=${escapeText(text)}`;
}

/** The attribute's characters; null for a type that is no string. */
function valueText(bytes: Buffer, value: Element): string | null {
  switch (value.tag) {
    case 0x0c: // UTF8String
      return bytes.toString('utf8', value.start, value.end);
    case 0x12: // NumericString
    case 0x13: // PrintableString
    case 0x14: // T61String, which OpenSSL reads as Latin-1
    case 0x16: // IA5String
    case 0x1a: // VisibleString
      return bytes.toString('latin1', value.start, value.end);
    case 0x1e: // BMPString
      return bigEndianText(bytes, value, 2);
    case 0x1c: // UniversalString
      return bigEndianText(bytes, value, 4);
    default:
      return null;
  }
}

function bigEndianText(bytes: Buffer, value: Element, width: 2 | 4): string | null {
  if ((value.end - value.start) % width !== 0) return null;
  let text = '';
  for (let at = value.start; at < value.end; at += width) {
    const code = bytes.readUIntBE(at, width);
    if (code > 0x10ffff) return null;
    text += String.fromCodePoint(code);
  }
  return text;
}

/** RFC 2253 2.4: specials with a backslash, a leading `#` or blank, a trailing blank; controls and UTF-8 as `\XX`. */
function escapeText(text: string): string {
  if (/^[A-Za-z0-9._/:@-][A-Za-z0-9 ._/:@-]*$/.test(text) && !text.endsWith(' ')) return text;
  const bytes = Buffer.from(text, 'utf8');
  let out = '';
  for (const [at, byte] of bytes.entries()) {
    const char = String.fromCharCode(byte);
    const edge = (at === 0 && (char === '#' || char === ' ')) || (at === bytes.length - 1 && char === ' ');
    if (byte < 0x20 || byte > 0x7e) out += `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    else out += edge || ',+"\\<>;'.includes(char) ? `\\${char}` : char;
  }
  return out;
}

function dotted(bytes: Buffer, type: Element): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of bytes.subarray(type.start, type.end)) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    const first = Math.min(2, Math.floor(arc / 40));
    if (arcs.length === 0) arcs.push(first, arc - 40 * first);
    else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}
