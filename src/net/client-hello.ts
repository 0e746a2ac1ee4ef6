/**
 * What a ClientHello says in the clear, read before anybody decides to terminate it: the server name and the protocols
 * that it offers. Read as BoringSSL reads it for Envoy's TLS inspector: what that takes for no TLS is none here.
 */

export interface ClientHello {
  /** In lower case, as Envoy hands it to policy; null when there is none. */
  readonly sni: string | null;
  /** ALPN, in the client's order; empty when there is none, or a list that cannot be read. */
  readonly alpn: readonly string[];
}

/** What a connection's first bytes are. */
export type Opening = ClientHello | 'not-tls' | 'too-large';

/** Envoy's max_client_hello_size: with more bytes and no end in sight, the connection is closed. */
const MAX_BYTES = 16 * 1024;
/** BoringSSL's: of any record (2^14, and what encryption may add), and of the message. */
const MAX_RECORD_BYTES = 2 ** 14 + 320;
const MAX_MESSAGE_BYTES = 2 ** 14;
/** BoringSSL's: more of them in a row are an attack. */
const MAX_EMPTY_RECORDS = 32;
const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;

/**
 * Reads one connection's ClientHello as its bytes arrive, in however many segments and records. It remembers the last
 * record that it saw, so that a byte at a time costs no more than all at once.
 */
export class ClientHelloReader {
  /** Where the next record begins. */
  #at = 0;
  /** Bytes of the message in the records before. */
  #held = 0;
  /** Length of the message with its header; 0 until that is known. */
  #wanted = 0;
  #emptyInARow = 0;

  /**
   * @param bytes everything that came so far, from the connection's first byte on
   * @returns null when more bytes are needed
   */
  look(bytes: Buffer): Opening | null {
    const limit = Math.min(bytes.length, MAX_BYTES);
    for (;;) {
      const at = this.#at;
      if (at < limit && bytes[at] !== HANDSHAKE) return 'not-tls';
      if (at + 1 < limit && bytes[at + 1] !== 3) return 'not-tls';
      if (at + RECORD_HEADER > limit) break;
      const size = bytes.readUInt16BE(at + 3);
      if (size > MAX_RECORD_BYTES) return 'not-tls';
      this.#emptyInARow = size === 0 ? this.#emptyInARow + 1 : 0;
      if (this.#emptyInARow > MAX_EMPTY_RECORDS) return 'not-tls';
      if (at + RECORD_HEADER + size > limit) break;
      this.#at = at + RECORD_HEADER + size;
      this.#held += size;
      const opening = this.#message(bytes);
      if (opening !== null) return opening;
    }
    return bytes.length >= MAX_BYTES ? 'too-large' : null;
  }

  /** The hello, when the records so far hold all of it. */
  #message(bytes: Buffer): Opening | null {
    if (this.#held < MESSAGE_HEADER) return null;
    if (this.#wanted === 0) {
      const header = contentOf(bytes, MESSAGE_HEADER);
      const length = header.readUIntBE(1, 3);
      if (header[0] !== CLIENT_HELLO || length > MAX_MESSAGE_BYTES) return 'not-tls';
      this.#wanted = MESSAGE_HEADER + length;
    }
    if (this.#held < this.#wanted) return null;
    return parse(contentOf(bytes, this.#wanted).subarray(MESSAGE_HEADER)) ?? 'not-tls';
  }
}

/** The first `count` bytes inside the records that `bytes` begins with; no copy when one record has them. */
function contentOf(bytes: Buffer, count: number): Buffer {
  const first = bytes.readUInt16BE(3);
  if (first >= count) return bytes.subarray(RECORD_HEADER, RECORD_HEADER + count);
  const content = Buffer.allocUnsafe(count);
  for (let at = 0, filled = 0; filled < count; ) {
    const size = bytes.readUInt16BE(at + 3);
    at += RECORD_HEADER;
    filled += bytes.copy(content, filled, at, Math.min(at + size, at + count - filled));
    at += size;
  }
  return content;
}

/** RFC 8446 4.1.2. @returns null when it is malformed */
function parse(hello: Buffer): ClientHello | null {
  const fields = new Fields(hello);
  fields.skip(2 + 32); // version, random
  const session = fields.block(1);
  const suites = fields.block(2);
  const compression = fields.block(1);
  if (session === null || session.length > 32) return null;
  if (suites === null || suites.length < 2 || suites.length % 2 !== 0) return null;
  if (compression === null || compression.length === 0) return null;
  if (fields.left === 0) return { sni: null, alpn: [] };
  const extensions = fields.block(2);
  return extensions === null || fields.left !== 0 ? null : parseExtensions(extensions);
}

function parseExtensions(extensions: Buffer): ClientHello | null {
  const fields = new Fields(extensions);
  const seen = new Set<number>();
  let sni: string | null = null;
  let alpn: readonly string[] = [];
  while (fields.left > 0) {
    const type = fields.number(2);
    const body = fields.block(2);
    if (type === null || body === null || seen.has(type)) return null; // RFC 8446 4.2: each at most once
    seen.add(type);
    if (type === SERVER_NAME) {
      sni = serverName(body);
      if (sni === null) return null;
    } else if (type === ALPN) alpn = protocols(body);
  }
  return { sni, alpn };
}

/** RFC 6066 3: a list, of which everybody knows one entry only, a host name. */
function serverName(body: Buffer): string | null {
  const fields = new Fields(body);
  const list = fields.block(2);
  if (list === null || fields.left !== 0) return null;
  const names = new Fields(list);
  const type = names.number(1);
  const name = names.block(2);
  if (type !== 0 || name === null || names.left !== 0) return null;
  if (name.length === 0 || name.length > 255 || name.includes(0)) return null;
  return name.toString('latin1').replace(/[A-Z]+/g, letters => letters.toLowerCase());
}

/** RFC 7301 3.1. A broken list is none: whoever terminates says what is wrong with it. */
function protocols(body: Buffer): readonly string[] {
  const fields = new Fields(body);
  const list = fields.block(2);
  if (list === null || fields.left !== 0) return [];
  const names = new Fields(list);
  const found: string[] = [];
  while (names.left > 0) {
    const name = names.block(1);
    if (name === null || name.length === 0) return [];
    found.push(name.toString('latin1'));
  }
  return found;
}

/** Numbers and length-prefixed blocks, one after the other; null, and nothing left, once one is cut off. */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  skip(count: number): void {
    this.#at = Math.min(this.#at + count, this.#bytes.length);
  }

  number(size: 1 | 2): number | null {
    if (this.left < size) {
      this.skip(size);
      return null;
    }
    const value = this.#bytes.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }

  /** What a length of `size` bytes announces. */
  block(size: 1 | 2): Buffer | null {
    const length = this.number(size);
    if (length === null || this.left < length) {
      this.skip(this.left);
      return null;
    }
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}
