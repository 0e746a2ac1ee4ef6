/**
 * What nf_tables takes over NETLINK_NETFILTER (linux/netfilter/nf_tables.h): tables, chains, sets of ports, and rules,
 * which are lists of expressions (nf-expressions.ts).
 */
import {
  attribute,
  be16,
  be32,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  nested,
  text,
  u8,
  u32,
} from './netlink.ts';
import { type Expression, LIST_ELEM, SET_NAME, value } from './nf-expressions.ts';

const NFNL_SUBSYS_NFTABLES = 10;
const [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END] = [0x10, 0x11];
const [NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM] = [0, 2, 3, 6, 9, 12];
const NFPROTO_UNSPEC = 0;
const NFPROTO_INET = 1;
const NF_ACCEPT = 1;

const HOOK = { prerouting: 0, output: 3 } as const;

/** Attributes of each message, of what is in it, and of what is in that. */
const TABLE = { name: 1, flags: 2 } as const;
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const;
const CHAIN_HOOK = { number: 1, priority: 2 } as const;
const RULE = { table: 1, chain: 2, expressions: 4 } as const;
const SET = { table: 1, name: 2, flags: 3, keyType: 4, keyBytes: 5, size: 9, id: 10, notes: 13 } as const;
const SET_SIZE = 1;
const ELEMENTS = { table: 1, set: 2, list: 3, id: 4 } as const;
const ELEMENT = { key: 1, flags: 3, notes: 6 } as const;

function message(type: number, flags: number, attributes: readonly Buffer[]): NetlinkMessage {
  const body = Buffer.concat([u8(NFPROTO_INET), u8(0), be16(0), ...attributes]);
  return { type: (NFNL_SUBSYS_NFTABLES << 8) | type, flags, body };
}

/** Between these all is done or nothing. */
export function batch(messages: readonly NetlinkMessage[]): NetlinkMessage[] {
  const body = Buffer.concat([u8(NFPROTO_UNSPEC), u8(0), be16(NFNL_SUBSYS_NFTABLES)]);
  const last = messages.length - 1;
  return [
    { type: NFNL_MSG_BATCH_BEGIN, flags: 0, body },
    // Old kernels do not acknowledge the end.
    ...messages.map((one, index) => (index === last ? { ...one, flags: one.flags | NLM_F_ACK } : one)),
    { type: NFNL_MSG_BATCH_END, flags: 0, body },
  ];
}

export function addTable(table: string): NetlinkMessage {
  return message(NEWTABLE, NLM_F_CREATE, [
    attribute(TABLE.name, text(table)),
    attribute(TABLE.flags, be32(0)),
  ]);
}

export function deleteTable(table: string): NetlinkMessage {
  return message(DELTABLE, 0, [attribute(TABLE.name, text(table))]);
}

export interface BaseChain {
  readonly name: string;
  readonly type: string;
  readonly hook: keyof typeof HOOK;
  readonly priority: number;
}

/** With the policy accept. */
export function addChain(table: string, { name, type, hook, priority }: BaseChain): NetlinkMessage {
  return message(NEWCHAIN, NLM_F_CREATE, [
    attribute(CHAIN.table, text(table)),
    attribute(CHAIN.name, text(name)),
    nested(CHAIN.hook, [
      attribute(CHAIN_HOOK.number, be32(HOOK[hook])),
      attribute(CHAIN_HOOK.priority, be32(priority >>> 0)),
    ]),
    attribute(CHAIN.policy, be32(NF_ACCEPT)),
    attribute(CHAIN.type, text(type)),
  ]);
}

export function addRule(table: string, chain: string, expressions: readonly Expression[]): NetlinkMessage {
  return message(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, [
    attribute(RULE.table, text(table)),
    attribute(RULE.chain, text(chain)),
    nested(RULE.expressions, expressions),
  ]);
}

/** The name of the expression at this place of a rule's message, which a refusal names; null when there is none. */
export function expressionAt(body: Buffer, offset: number): string | null {
  // From the message's header on; then the heads of the list's element and of the name.
  const from = offset - 16 + 8;
  const end = body.indexOf(0, from);
  const name = from < 0 || end < 0 ? '' : body.toString('latin1', from, end);
  return /^[a-z]+$/.test(name) ? name : null;
}

const [ANONYMOUS, CONSTANT, INTERVAL] = [1, 2, 4];
const INET_SERVICE = 13; // nft's name of a port, for `nft list`
const PORT_BYTES = 2;
const LAST_PORT = 65_535;
const INTERVAL_END = 1;
const ELEMENTS_A_MESSAGE = 1_000; // an attribute has at most 64 KiB
/** What nft writes down for itself to print a set by: ports are in the network's order, neighbours are one, no end. */
const [UDATA_KEY_BYTEORDER, UDATA_MERGE, UDATA_ELEMENT_FLAGS] = [0, 2, 1];
const BYTEORDER_BIG_ENDIAN = 2;

/** A set of ports that the next rule looks up. @param ranges in any order @param id of its own in the batch */
export function addPorts(
  table: string,
  id: number,
  ranges: readonly (readonly [from: number, to: number])[],
): NetlinkMessage[] {
  const isPlain = ranges.every(([from, to]) => from === to);
  const elements = isPlain ? singles(ranges) : intervals(ranges);
  const messages = [
    message(NEWSET, NLM_F_CREATE, [
      attribute(SET.table, text(table)),
      attribute(SET.name, text(SET_NAME)),
      attribute(SET.flags, be32(ANONYMOUS | CONSTANT | (isPlain ? 0 : INTERVAL))),
      attribute(SET.keyType, be32(INET_SERVICE)),
      attribute(SET.keyBytes, be32(PORT_BYTES)),
      nested(SET.size, [attribute(SET_SIZE, be32(elements.length))]),
      attribute(SET.id, be32(id)),
      attribute(
        SET.notes,
        Buffer.concat([noted(UDATA_KEY_BYTEORDER, BYTEORDER_BIG_ENDIAN), noted(UDATA_MERGE, 1)]),
      ),
    ]),
  ];
  for (let at = 0; at < elements.length; at += ELEMENTS_A_MESSAGE) {
    messages.push(
      message(NEWSETELEM, NLM_F_CREATE, [
        attribute(ELEMENTS.table, text(table)),
        attribute(ELEMENTS.set, text(SET_NAME)),
        nested(ELEMENTS.list, elements.slice(at, at + ELEMENTS_A_MESSAGE)),
        attribute(ELEMENTS.id, be32(id)),
      ]),
    );
  }
  return messages;
}

function noted(key: number, value: number): Buffer {
  return Buffer.concat([u8(key), u8(4), u32(value)]);
}

/** Once each, in the order that they are given in. */
function singles(ranges: readonly (readonly [port: number, same: number])[]): Buffer[] {
  return [...new Set(ranges.map(([port]) => port))].map(port => element(port, false));
}

/** A range is its first port and the end after its last; before all of them is an end as well. */
function intervals(ranges: readonly (readonly [from: number, to: number])[]): Buffer[] {
  const merged: [from: number, to: number][] = [];
  for (const [from, to] of ranges.toSorted(([a], [b]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return [
    ...(merged[0]?.[0] === 0 ? [] : [element(0, true)]),
    ...merged.flatMap(([from, to]) =>
      to === LAST_PORT ? [element(from, false, true)] : [element(from, false), element(to + 1, true)],
    ),
  ];
}

function element(port: number, isEnd: boolean, isOpen = false): Buffer {
  return nested(LIST_ELEM, [
    ...(isEnd ? [attribute(ELEMENT.flags, be32(INTERVAL_END))] : []),
    value(ELEMENT.key, be16(port)),
    ...(isOpen ? [attribute(ELEMENT.notes, noted(UDATA_ELEMENT_FLAGS, 1))] : []),
  ]);
}
