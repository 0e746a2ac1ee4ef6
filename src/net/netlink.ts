/** Messages of netlink (linux/netlink.h): a header, a body, attributes in it; and the kernel's answers to them. */
import { endianness } from 'node:os';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import type { NetlinkSocket } from './netlink-socket.ts';

const HEADER_BYTES = 16;
const ERROR_BYTES = 36; // with a number and the header of what it is about
const ATTRIBUTE_BYTES = 4;
const ALIGNMENT = 4;
const NLMSG_ERROR = 2;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLMSGERR_ATTR_OFFS = 2;

export const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** linux/errno.h: what answers mean that is no surprise. */
export const EPERM = 1;
export const ENOENT = 2;
export const ESRCH = 3;
export const EEXIST = 17;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;

/** Headers and lengths are in the machine's order; what is inside an attribute is as its subsystem wants it. */
const LITTLE = endianness() === 'LE';

export interface NetlinkMessage {
  readonly type: number;
  /** Besides NLM_F_REQUEST. */
  readonly flags: number;
  readonly body: Buffer;
}

/** What the kernel says no to. */
export interface Refusal {
  /** The message's place, from 0. */
  readonly index: number;
  readonly errno: number;
  /** Where in the message the fault is, from its header on; null when the kernel does not say. */
  readonly offset: number | null;
  /** The kernel's own words, often none. */
  readonly words: string;
}

export function u8(value: number): Buffer {
  return Buffer.of(value);
}

/** In the machine's own order. */
export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  if (LITTLE) bytes.writeUInt16LE(value);
  else bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  if (LITTLE) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return bytes;
}

/** In the network's order. */
export function be16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** As C has it, with its end. */
export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

export function attribute(type: number, value: Buffer): Buffer {
  return padded(Buffer.concat([u16(ATTRIBUTE_BYTES + value.length), u16(type), value]));
}

export function nested(type: number, attributes: readonly Buffer[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
}

function padded(bytes: Buffer): Buffer {
  const rest = bytes.length % ALIGNMENT;
  return rest === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(ALIGNMENT - rest)]);
}

/** One after the other, numbered from `sequence` on. */
function bytesOf(messages: readonly NetlinkMessage[], sequence: number): Buffer {
  return Buffer.concat(
    messages.map(({ type, flags, body }, index) => {
      const head = [u32(HEADER_BYTES + body.length), u16(type), u16(flags | NLM_F_REQUEST)];
      return padded(Buffer.concat([...head, u32(sequence + index), u32(0), body]));
    }),
  );
}

const FIRST = 1;

/**
 * Sends them in one piece and reads answers, to the first refusal or to the acknowledgement of the last message that
 * asks for one (NLM_F_ACK).
 * @returns null when nothing was refused @throws Error of one line
 */
export function exchange(socket: NetlinkSocket, messages: readonly NetlinkMessage[]): Refusal | null {
  const last = messages.findLastIndex(({ flags }) => (flags & NLM_F_ACK) !== 0);
  socket.send(bytesOf(messages, FIRST));
  for (;;) {
    const answers = socket.receive();
    if (answers === null) throw new Error('the kernel did not answer');
    for (const answer of answersIn(answers)) {
      if (answer.errno !== 0) return answer;
      if (answer.index === last) return null;
    }
  }
}

function answersIn(bytes: Buffer): Refusal[] {
  const found: Refusal[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = read32(bytes, at);
    const isError = read16(bytes, at + 4) === NLMSG_ERROR;
    const shortest = isError ? ERROR_BYTES : HEADER_BYTES;
    if (length < shortest || at + length > bytes.length) throw new Error('the kernel answered in part');
    if (isError) found.push(answerOf(bytes.subarray(at, at + length)));
    at += Math.ceil(length / ALIGNMENT) * ALIGNMENT;
  }
  return found;
}

/** struct nlmsgerr: the number, the header of what it is about, all of that unless capped, then words. */
function answerOf(message: Buffer): Refusal {
  const flags = read16(message, 6);
  const inner = HEADER_BYTES + 4;
  const errno = read32(message, HEADER_BYTES);
  const capped = errno === 0 || (flags & NLM_F_CAPPED) !== 0;
  const said = inner + (capped ? HEADER_BYTES : Math.ceil(read32(message, inner) / ALIGNMENT) * ALIGNMENT);
  const words =
    (flags & NLM_F_ACK_TLVS) === 0 ? new Map<number, Buffer>() : attributesIn(message.subarray(said));
  const offset = words.get(NLMSGERR_ATTR_OFFS);
  return {
    index: read32(message, inner + 8) - FIRST,
    errno: errno === 0 ? 0 : 2 ** 32 - errno,
    offset: offset?.length === 4 ? read32(offset, 0) : null,
    words: (words.get(NLMSGERR_ATTR_MSG) ?? Buffer.alloc(0)).toString().replace(/\0.*/s, ''),
  };
}

function attributesIn(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + ATTRIBUTE_BYTES <= bytes.length; ) {
    const length = read16(bytes, at);
    if (length < ATTRIBUTE_BYTES) break;
    found.set(read16(bytes, at + 2) & NLA_TYPE_MASK, bytes.subarray(at + ATTRIBUTE_BYTES, at + length));
    at += Math.ceil(length / ALIGNMENT) * ALIGNMENT;
  }
  return found;
}

function read16(bytes: Buffer, at: number): number {
  return LITTLE ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}

function read32(bytes: Buffer, at: number): number {
  return LITTLE ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at);
}

/** `EPERM (operation not permitted)`, the kernel's words if it had any, and what to do. */
export function refusalText({ errno, words }: Refusal): string {
  const name = getSystemErrorName(-errno);
  const said = words === '' ? getSystemErrorMessage(-errno) : words;
  return `${name} (${said})${errno === EPERM ? '; needs the capabilities NET_ADMIN and NET_RAW' : ''}`;
}
