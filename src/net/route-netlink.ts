/**
 * Policy routing of marked packets: those of a connection whose client address is kept come back to this host, though
 * their addresses are not its own. What `ip rule` and `ip route` do, without them (linux/rtnetlink.h, linux/fib_rules.h).
 */
import {
  attribute,
  EAFNOSUPPORT,
  EEXIST,
  ENOENT,
  EOPNOTSUPP,
  ESRCH,
  exchange,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  refusalText,
  text,
  u8,
  u32,
} from './netlink.ts';
import { type NetlinkSocket, openNetlink } from './netlink-socket.ts';

export interface MarkedRoute {
  readonly family: 4 | 6;
  /** Of the packets (SO_MARK, `meta mark`). */
  readonly mark: number;
  /** The routing table's number; it is for these packets only. */
  readonly table: number;
}

const NETLINK_ROUTE = 0;
const AF_INET = 2;
const AF_INET6 = 10;
const [RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE] = [24, 25, 32, 33];
const [FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_IP_PROTO] = [2, 3, 6, 10, 15, 22];
const IPPROTO_TCP = 6;
const [RTA_OIF, RTA_TABLE] = [4, 15];
const FR_ACT_TO_TBL = 1;
const RTPROT_BOOT = 3; // as `ip` says
const RT_SCOPE_HOST = 254;
const RTN_LOCAL = 2;
const RT_TABLE_UNSPEC = 0; // the attribute says which
const LOOPBACK = 1; // the index of lo in every network namespace (LOOPBACK_IFINDEX)
/** What an app answers from that listens on localhost. */
const LOCALHOST = {
  4: { range: '127.0.0.0/8', address: Buffer.of(127, 0, 0, 0), bits: 8 },
  6: { range: '::1/128', address: Buffer.concat([Buffer.alloc(15), Buffer.of(1)]), bits: 128 },
} as const;

/**
 * Before the rules of VPNs (wg-quick's are at 32764) and the system's own. Always the same one: without a priority the
 * kernel takes the next free one and makes the same rule once more.
 */
const RULE_PRIORITY = 1337;

/**
 * Does what `routingCommands` says; nothing changes when all of it is there.
 * @throws Error of one line
 */
export function addMarkedRoute(route: MarkedRoute, open: () => NetlinkSocket = openRoute): void {
  const socket = open();
  try {
    demand(socket, route, [
      markDemand(route, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, [EEXIST]),
      localhostDemand(route, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, [EEXIST]),
      routeDemand(route, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, [EEXIST]),
    ]);
  } finally {
    socket.close();
  }
}

/** Takes away what `addMarkedRoute` made, and nothing when it is not there. @throws Error of one line */
export function removeMarkedRoute(route: MarkedRoute, open: () => NetlinkSocket = openRoute): void {
  const absent = [ENOENT, ESRCH, EAFNOSUPPORT, EOPNOTSUPP];
  const socket = open();
  try {
    demand(socket, route, [
      markDemand(route, RTM_DELRULE, 0, absent),
      localhostDemand(route, RTM_DELRULE, 0, absent),
      routeDemand(route, RTM_DELROUTE, 0, absent),
    ]);
  } finally {
    socket.close();
  }
}

/**
 * The same for a person who has `ip`. The kernel looks for the way of an answer to SYN before the answer has its mark, and
 * from localhost there is none to another host: without the second rule such an app would never answer. It names the
 * protocol, as a host's own lookups do, so that it is not for packets that DNAT leads from localhost to another host
 * (NodePorts, published ports of containers): those are looked up without.
 */
export function routingCommands({ family, mark, table }: MarkedRoute): readonly string[] {
  const rule = `ip -${family} rule add priority ${RULE_PRIORITY}`;
  return [
    `${rule} fwmark ${mark} lookup ${table}`,
    `${rule} from ${LOCALHOST[family].range} iif lo ipproto tcp lookup ${table}`,
    `ip -${family} route replace local default dev lo table ${table}`,
  ];
}

function openRoute(): NetlinkSocket {
  return openNetlink(NETLINK_ROUTE, 'NETLINK_ROUTE');
}

interface Demand {
  readonly what: string;
  readonly message: NetlinkMessage;
  /** Errors that are none here. */
  readonly passes: readonly number[];
}

function demand(socket: NetlinkSocket, { family }: MarkedRoute, demands: readonly Demand[]): void {
  for (const { what, message, passes } of demands) {
    const refusal = exchange(socket, [message]);
    if (refusal === null || passes.includes(refusal.errno)) continue;
    const missing =
      refusal.errno === EOPNOTSUPP ? '; the kernel has no policy routing (CONFIG_IP_MULTIPLE_TABLES)' : '';
    throw new Error(`ip -${family} ${what}: ${refusalText(refusal)}${missing}`);
  }
}

function markDemand(route: MarkedRoute, type: number, flags: number, passes: readonly number[]): Demand {
  const what = `rule fwmark ${route.mark} lookup ${route.table}`;
  const marked = [attribute(FRA_FWMARK, u32(route.mark))];
  return { what, message: rule(route, { type, flags, sourceBits: 0 }, marked), passes };
}

function localhostDemand(route: MarkedRoute, type: number, flags: number, passes: readonly number[]): Demand {
  const { range, address, bits } = LOCALHOST[route.family];
  const what = `rule from ${range} iif lo ipproto tcp lookup ${route.table}`;
  const from = [
    attribute(FRA_SRC, address),
    attribute(FRA_IIFNAME, text('lo')),
    attribute(FRA_IP_PROTO, u8(IPPROTO_TCP)),
  ];
  return { what, message: rule(route, { type, flags, sourceBits: bits }, from), passes };
}

function routeDemand(route: MarkedRoute, type: number, flags: number, passes: readonly number[]): Demand {
  const what = `route local default dev lo table ${route.table}`;
  return { what, message: localRoute(route, type, flags), passes };
}

/** struct fib_rule_hdr */
function rule(
  { family, table }: MarkedRoute,
  { type, flags, sourceBits }: { type: number; flags: number; sourceBits: number },
  selectors: readonly Buffer[],
): NetlinkMessage {
  const header = Buffer.alloc(12);
  header[0] = family === 4 ? AF_INET : AF_INET6;
  header[2] = sourceBits;
  header[4] = RT_TABLE_UNSPEC;
  header[7] = FR_ACT_TO_TBL;
  const attributes = [
    attribute(FRA_PRIORITY, u32(RULE_PRIORITY)),
    ...selectors,
    attribute(FRA_TABLE, u32(table)),
  ];
  return { type, flags: flags | NLM_F_ACK, body: Buffer.concat([header, ...attributes]) };
}

/** struct rtmsg */
function localRoute({ family, table }: MarkedRoute, type: number, flags: number): NetlinkMessage {
  const header = Buffer.alloc(12);
  header[0] = family === 4 ? AF_INET : AF_INET6;
  header[4] = RT_TABLE_UNSPEC;
  header[5] = RTPROT_BOOT;
  header[6] = RT_SCOPE_HOST;
  header[7] = RTN_LOCAL;
  const attributes = [attribute(RTA_TABLE, u32(table)), attribute(RTA_OIF, u32(LOOPBACK))];
  return { type, flags: flags | NLM_F_ACK, body: Buffer.concat([header, ...attributes]) };
}
