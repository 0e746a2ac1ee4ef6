/**
 * Expressions, which a rule of nf_tables is made of (linux/netfilter/nf_tables.h): each loads, compares, or does something.
 * They compute in one register, as nft writes them.
 */
import { attribute, be16, be32, nested, text } from './netlink.ts';

/** One of a rule. */
export type Expression = Buffer;

/** Of the packet itself (enum nft_meta_keys). */
export const META_KEY = {
  mark: 3,
  iifname: 6,
  oifname: 7,
  skuid: 10,
  skgid: 11,
  nfproto: 15,
  l4proto: 16,
} as const;
/** Of its connection (enum nft_ct_keys). */
export const CT_KEY = { state: 0, mark: 3 } as const;
export const HEADER = { network: 1, transport: 2 } as const;
export const COMPARE = { eq: 0, neq: 1, lte: 3, gte: 5 } as const;
const VERDICT = { return: -5, accept: 1 } as const;

const VERDICT_REGISTER = 0;
const REGISTER = 1; // 16 bytes: an address, or the name of an interface
const NFPROTO_UNSPEC = 0;
const NF_NAT_RANGE_PROTO_SPECIFIED = 2;

export const LIST_ELEM = 1;
/** Of a set of one rule: the kernel numbers them. */
export const SET_NAME = '__set%d';

/** Attributes of each expression. */
const EXPRESSION = { name: 1, data: 2 } as const;
const DATA = { value: 1, verdict: 2 } as const;
const VERDICT_CODE = 1;
const META = { to: 1, key: 2, from: 3 } as const;
const CT = { to: 1, key: 2, from: 4 } as const;
const PAYLOAD = { to: 1, base: 2, offset: 3, bytes: 4 } as const;
const CMP = { from: 1, operator: 2, data: 3 } as const;
const BITWISE = { from: 1, to: 2, bytes: 3, mask: 4, xor: 5 } as const;
const LOOKUP = { set: 1, from: 2, id: 4 } as const;
const IMMEDIATE = { to: 1, data: 2 } as const;
const REDIR = { from: 1, flags: 3 } as const;
const TPROXY = { family: 1, port: 3 } as const;

export function expression(name: string, attributes: readonly Buffer[]): Expression {
  return nested(LIST_ELEM, [attribute(EXPRESSION.name, text(name)), nested(EXPRESSION.data, attributes)]);
}

function number(type: number, value: number): Buffer {
  return attribute(type, be32(value));
}

/** Data in an attribute of its own. */
export function value(type: number, bytes: Buffer): Buffer {
  return nested(type, [attribute(DATA.value, bytes)]);
}

export function loadMeta(key: number): Expression {
  return expression('meta', [number(META.key, key), number(META.to, REGISTER)]);
}

export function storeMeta(key: number): Expression {
  return expression('meta', [number(META.key, key), number(META.from, REGISTER)]);
}

export function loadCt(key: number): Expression {
  return expression('ct', [number(CT.key, key), number(CT.to, REGISTER)]);
}

export function storeCt(key: number): Expression {
  return expression('ct', [number(CT.key, key), number(CT.from, REGISTER)]);
}

export function loadPayload(header: number, offset: number, length: number): Expression {
  return expression('payload', [
    number(PAYLOAD.to, REGISTER),
    number(PAYLOAD.base, header),
    number(PAYLOAD.offset, offset),
    number(PAYLOAD.bytes, length),
  ]);
}

export function compare(operator: number, bytes: Buffer): Expression {
  return expression('cmp', [
    number(CMP.from, REGISTER),
    number(CMP.operator, operator),
    value(CMP.data, bytes),
  ]);
}

export function mask(bits: Buffer): Expression {
  return expression('bitwise', [
    number(BITWISE.from, REGISTER),
    number(BITWISE.to, REGISTER),
    number(BITWISE.bytes, bits.length),
    value(BITWISE.mask, bits),
    value(BITWISE.xor, Buffer.alloc(bits.length)),
  ]);
}

export function lookup(id: number): Expression {
  return expression('lookup', [
    number(LOOKUP.from, REGISTER),
    attribute(LOOKUP.set, text(SET_NAME)),
    number(LOOKUP.id, id),
  ]);
}

export function verdict(name: keyof typeof VERDICT): Expression {
  const code = nested(DATA.verdict, [number(VERDICT_CODE, VERDICT[name] >>> 0)]);
  return expression('immediate', [number(IMMEDIATE.to, VERDICT_REGISTER), nested(IMMEDIATE.data, [code])]);
}

export function redirect(port: number): Expression[] {
  return [
    loadPort(port),
    expression('redir', [number(REDIR.from, REGISTER), number(REDIR.flags, NF_NAT_RANGE_PROTO_SPECIFIED)]),
  ];
}

/** Of either family. */
export function tproxy(port: number): Expression[] {
  return [
    loadPort(port),
    expression('tproxy', [number(TPROXY.family, NFPROTO_UNSPEC), number(TPROXY.port, REGISTER)]),
  ];
}

function loadPort(port: number): Expression {
  return expression('immediate', [number(IMMEDIATE.to, REGISTER), value(IMMEDIATE.data, be16(port))]);
}
