/** IP addresses and CIDR blocks as numbers (Istio's ipBlocks, Envoy's CidrRange). Parsed once, compared as integers. */

/** 1 word for IPv4, 4 for IPv6, 32 bits each. */
export type Address = readonly number[];

/** An address and how many of its leading bits count. */
export interface Block {
  readonly words: Address;
  readonly bits: number;
}

const OCTET = /^(?:0|[1-9]\d{0,2})$/;
const ZERO = 0x30;
const DOT = 0x2e;
const HEXTET = /^[0-9a-f]{1,4}$/i;

/**
 * Reads a socket's address: `10.0.0.1`, `2001:db8::1`, `::ffff:10.0.0.1` (the IPv4 address, on a socket of both families)
 * or `fe80::1%eth0` (the zone is dropped).
 * @returns null when it is none of them
 */
export function parseAddress(text: string): Address | null {
  const words = parseWithZone(text, true);
  return words !== null && isMapped(words) ? [words[3] as number] : words;
}

/**
 * Reads an address that somebody wrote, as Envoy does: an IPv4-mapped one is an IPv6 address, and a zone has a name only
 * where the address is link-local.
 * @returns null when it is none
 */
export function parseWrittenAddress(text: string): Address | null {
  return parseWithZone(text, false);
}

function parseWithZone(text: string, anyZone: boolean): Address | null {
  if (!text.includes(':')) return wordsOf(parseIPv4(text));
  const percent = text.indexOf('%');
  if (percent === -1) return parseIPv6(text);
  const words = parseIPv6(text.slice(0, percent));
  if (words === null || anyZone || isLinkLocal(words)) return words;
  return /^\d{1,9}$/.test(text.slice(percent + 1)) ? words : null;
}

/**
 * Reads an address or a CIDR block; host bits may be set. A mapped block is an IPv6 block, which no address is in: Istio
 * and Envoy read it so, too.
 * @returns null when the text is neither
 */
export function parseBlock(text: string): Block | null {
  const slash = text.indexOf('/');
  const name = slash === -1 ? text : text.slice(0, slash);
  if (name.includes('%')) return null;
  const words = name.includes(':') ? parseIPv6(name) : wordsOf(parseIPv4(name));
  if (words === null) return null;
  const longest = words.length * 32;
  const length = slash === -1 ? String(longest) : text.slice(slash + 1);
  if (!OCTET.test(length) || Number(length) > longest) return null;
  return { words, bits: Number(length) };
}

function wordsOf(word: number | null): Address | null {
  return word === null ? null : [word];
}

/** fe80::/10 and ff02::/16 (RFC 4007 6). */
function isLinkLocal(words: Address): boolean {
  const start = (words[0] as number) >>> 16;
  return (start & 0xffc0) === 0xfe80 || (start & 0xff0f) === 0xff02;
}

function isMapped(words: Address): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
}

/** Every request with X-Forwarded-For may come here: nothing is allocated. */
function parseIPv4(text: string): number | null {
  let word = 0;
  let octets = 0;
  let at = 0;
  while (octets < 4) {
    const start = at;
    let octet = 0;
    let digit = text.charCodeAt(at) - ZERO;
    while (digit >= 0 && digit <= 9 && at - start < 3) {
      octet = octet * 10 + digit;
      digit = text.charCodeAt(++at) - ZERO;
    }
    const leadingZero = at - start > 1 && text.charCodeAt(start) === ZERO;
    if (at === start || octet > 255 || leadingZero) return null;
    word = word * 256 + octet;
    octets++;
    if (octets < 4 && text.charCodeAt(at++) !== DOT) return null;
  }
  return at === text.length ? word : null;
}

function parseIPv6(text: string): Address | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const head = hextets(halves[0] as string);
  const tail = halves.length === 2 ? hextets(halves[1] as string) : [];
  if (head === null || tail === null) return null;
  const gap = 8 - head.length - tail.length;
  // `::` stands for at least one group (RFC 4291 2.2).
  if (halves.length === 1 ? gap !== 0 : gap < 1) return null;
  const groups = [...head, ...new Array<number>(gap).fill(0), ...tail];
  const words: number[] = [];
  for (let i = 0; i < 8; i += 2) words.push((groups[i] as number) * 0x1_0000 + (groups[i + 1] as number));
  return words;
}

/** The 16-bit groups of one side of `::`; the last may be a dotted IPv4 address. */
function hextets(text: string): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (part.includes('.') && i === parts.length - 1) {
      const word = parseIPv4(part);
      if (word === null) return null;
      groups.push(word >>> 16, word & 0xffff);
    } else if (HEXTET.test(part)) groups.push(Number.parseInt(part, 16));
    else return null;
  }
  return groups;
}
