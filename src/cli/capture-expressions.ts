/** A rule of the capture as the expressions of nf_tables that nft makes of its text. */

import { be16, type NetlinkMessage, u8, u32 } from '../net/netlink.ts';
import {
  COMPARE,
  CT_KEY,
  compare,
  type Expression,
  HEADER,
  loadCt,
  loadMeta,
  loadPayload,
  lookup,
  META_KEY,
  mask,
  redirect,
  storeCt,
  storeMeta,
  tproxy,
  verdict,
} from '../net/nf-expressions.ts';
import { addPorts } from '../net/nf-tables.ts';
import { type Act, type Match, type Rule, TABLE } from './capture-chains.ts';
import type { Ports } from './capture-rules.ts';

const IPPROTO_TCP = 6;
const NFPROTO = { 4: 2, 6: 10 } as const;
const IFNAMSIZ = 16; // with the end of the name
const TCP_DPORT = { offset: 2, length: 2 };
/** Where they are in the header of each family. */
const ADDRESS = { 4: { saddr: 12, daddr: 16 }, 6: { saddr: 8, daddr: 24 } } as const;
const RELATED_OR_ESTABLISHED = 0b110; // NF_CT_STATE_BIT
const NO_BITS = 0;

export interface Compiled {
  /** What the expressions look up, made before the rule. */
  readonly sets: readonly NetlinkMessage[];
  readonly expressions: readonly Expression[];
}

/** @param nextSet gives each set a number of its own */
export function compile({ matches, acts }: Rule, nextSet: () => number): Compiled {
  const sets: NetlinkMessage[] = [];
  const expressions = matches.flatMap(match => {
    if (match.on !== 'dport' || match.ports.length === 1) return expressionsOf(match);
    const id = nextSet();
    sets.push(...addPorts(TABLE, id, match.ports));
    return [...loadDport(), lookup(id)];
  });
  return { sets, expressions: [...expressions, ...acts.flatMap(actExpressions)] };
}

function expressionsOf(match: Match): Expression[] {
  switch (match.on) {
    case 'tcp':
      return [loadMeta(META_KEY.l4proto), compare(equal(match.not), u8(IPPROTO_TCP))];
    case 'ipv6':
      return isFamily(6);
    case 'iifname':
    case 'oifname':
      return [loadMeta(META_KEY[match.on]), compare(COMPARE.eq, interfaceName(match.name))];
    case 'skuid':
    case 'skgid':
      return [loadMeta(META_KEY[match.on]), compare(COMPARE.eq, u32(match.id))];
    case 'meta mark':
      return [loadMeta(META_KEY.mark), compare(COMPARE.eq, u32(match.mark))];
    case 'ct mark':
      return [loadCt(CT_KEY.mark), compare(COMPARE.eq, u32(match.mark))];
    case 'established':
      return [loadCt(CT_KEY.state), mask(u32(RELATED_OR_ESTABLISHED)), compare(COMPARE.neq, u32(NO_BITS))];
    case 'saddr':
    case 'daddr':
      return inRange(match);
    case 'dport':
      return [...loadDport(), ...match.ports.flatMap(ports => comparePort(ports, match.not))];
  }
}

function actExpressions(act: Act): Expression[] {
  switch (act.does) {
    case 'return':
    case 'accept':
      return [verdict(act.does)];
    case 'redirect':
      return redirect(act.port);
    case 'tproxy':
      return tproxy(act.port);
    case 'set ct mark':
      return [loadMeta(META_KEY.mark), storeCt(CT_KEY.mark)];
    case 'set meta mark':
      return [loadCt(CT_KEY.mark), storeMeta(META_KEY.mark)];
  }
}

function equal(not: boolean): number {
  return not ? COMPARE.neq : COMPARE.eq;
}

function isFamily(version: 4 | 6): Expression[] {
  return [loadMeta(META_KEY.nfproto), compare(COMPARE.eq, u8(NFPROTO[version]))];
}

/** What of the 16 bytes is not compared stands for any rest. */
function interfaceName(name: string): Buffer {
  if (name.endsWith('*')) return Buffer.from(name.slice(0, -1));
  const bytes = Buffer.alloc(IFNAMSIZ);
  bytes.write(name);
  return bytes;
}

/** A port is at the same place of every protocol. */
function loadDport(): Expression[] {
  return [
    loadMeta(META_KEY.l4proto),
    compare(COMPARE.eq, u8(IPPROTO_TCP)),
    loadPayload(HEADER.transport, TCP_DPORT.offset, TCP_DPORT.length),
  ];
}

function comparePort([from, to]: Ports[number], not: boolean): Expression[] {
  if (from === to) return [compare(equal(not), be16(from))];
  if (not) throw new Error('a range of ports is never negated');
  return [compare(COMPARE.gte, be16(from)), compare(COMPARE.lte, be16(to))];
}

/** Whole bytes of a prefix are compared alone; else its bits are masked. */
function inRange({ on, version, range, not }: Match & { readonly on: 'saddr' | 'daddr' }): Expression[] {
  const [address = '', length] = range.split('/');
  const bytes = addressBytes(address);
  const bits = length === undefined ? bytes.length * 8 : Number(length);
  const masked = Buffer.from(bytes.map((byte, at) => byte & byteMask(bits - at * 8)));
  const offset = ADDRESS[version][on];
  const whole = bits > 0 && bits % 8 === 0;
  const compared = whole ? masked.subarray(0, bits / 8) : masked;
  return [
    ...isFamily(version),
    loadPayload(HEADER.network, offset, compared.length),
    ...(whole ? [] : [mask(Buffer.from(bytes.map((_, at) => byteMask(bits - at * 8))))]),
    compare(equal(not), compared),
  ];
}

/** The first `bits` of a byte. */
function byteMask(bits: number): number {
  return (0xff00 >> Math.min(Math.max(bits, 0), 8)) & 0xff;
}

/** @param address valid, without a zone @returns 4 or 16 bytes */
export function addressBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [before, after = Buffer.alloc(0)] = address.split('::').map(groupBytes) as [Buffer, Buffer?];
  return Buffer.concat([before, Buffer.alloc(16 - before.length - after.length), after]);
}

/** `1:2:10.0.0.1` */
function groupBytes(groups: string): Buffer {
  const parts = groups === '' ? [] : groups.split(':');
  return Buffer.concat(
    parts.map(part => (part.includes('.') ? addressBytes(part) : be16(Number.parseInt(part, 16)))),
  );
}
