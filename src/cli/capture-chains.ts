/** What is captured, as chains of one table of nf_tables: `capture-nft.ts` writes them, `capture-netlink.ts` puts them in force. */
import { CLIENT_MARK } from '../net/client-mark.ts';
import {
  type CaptureRules,
  DNS_PORT,
  FAMILIES,
  type Family,
  HBONE_PORT,
  type Ports,
  rangesOf,
  UNCAPTURED_PORTS,
} from './capture-rules.ts';

/** Of both families (inet), and of nobody else. */
export const TABLE = 'outrider';

export interface Chain {
  readonly name: string;
  readonly type: 'nat' | 'filter' | 'route';
  readonly hook: 'prerouting' | 'output';
  /** Names and numbers of nft. */
  readonly priority: 'mangle' | 'dstnat' | -100;
  readonly rules: readonly Rule[];
}

/** All of the matches, then the acts in order. */
export interface Rule {
  readonly matches: readonly Match[];
  readonly acts: readonly Act[];
}

export type Match =
  | { readonly on: 'tcp'; readonly not: boolean }
  | { readonly on: 'ipv6' }
  /** `name` with a final * stands for the rest of a name. */
  | { readonly on: 'iifname' | 'oifname'; readonly name: string }
  | { readonly on: 'skuid' | 'skgid'; readonly id: number }
  | { readonly on: 'meta mark' | 'ct mark'; readonly mark: number }
  | { readonly on: 'established' }
  /** An address, or a range with its prefix length. */
  | { readonly on: 'saddr' | 'daddr'; readonly version: 4 | 6; readonly range: string; readonly not: boolean }
  /** Several ports or ranges are never negated. */
  | { readonly on: 'dport'; readonly ports: Ports; readonly not: boolean };

export type Act =
  | { readonly does: 'return' | 'accept' }
  | { readonly does: 'redirect' | 'tproxy'; readonly port: number }
  /** From the packet's mark, or from the connection's. */
  | { readonly does: 'set ct mark' | 'set meta mark' };

const RETURN: Act = { does: 'return' };
const NOT_TCP: Rule = { matches: [{ on: 'tcp', not: true }], acts: [RETURN] };
const IS_TCP: Match = { on: 'tcp', not: false };
const MARKED: Match = { on: 'meta mark', mark: CLIENT_MARK };
const ON_LOOPBACK: Match = { on: 'oifname', name: 'lo' };

export function chainsOf(rules: CaptureRules): readonly Chain[] {
  const families = FAMILIES.filter(({ version }) => version === 4 || rules.ipv6);
  const left: readonly Rule[] = rules.ipv6 ? [] : [{ matches: [{ on: 'ipv6' }], acts: [RETURN] }];
  return [
    {
      name: 'inbound',
      hook: 'prerouting',
      ...(rules.mode === 'tproxy'
        ? { type: 'filter', priority: 'mangle' }
        : { type: 'nat', priority: 'dstnat' }),
      rules: [...left, ...inboundRules(rules)],
    },
    {
      name: 'outbound',
      type: 'nat',
      hook: 'output',
      priority: -100,
      rules: [...left, ...outboundRules(rules, families)],
    },
    ...(rules.mode === 'tproxy' ? [answers(left)] : []),
  ];
}

/** What the app answers gets the mark of its connection, and the way back to this host with it. */
function answers(left: readonly Rule[]): Chain {
  const rule: Rule = {
    matches: [IS_TCP, { on: 'ct mark', mark: CLIENT_MARK }],
    acts: [{ does: 'set meta mark' }],
  };
  return { name: 'answers', type: 'route', hook: 'output', priority: 'mangle', rules: [...left, rule] };
}

function inboundRules(rules: CaptureRules): Rule[] {
  const { mode, inboundPort, includeInboundPorts, excludeInboundPorts, excludeInterfaces } = rules;
  const left: Ports = [[HBONE_PORT, HBONE_PORT], ...UNCAPTURED_PORTS, ...excludeInboundPorts];
  const first: Rule[] = [
    // The connection remembers the sidecar's mark.
    { matches: [{ on: 'iifname', name: 'lo' }, MARKED], acts: [{ does: 'set ct mark' }] },
    { matches: [{ on: 'iifname', name: 'lo' }], acts: [RETURN] },
    { matches: [{ on: 'established' }], acts: [RETURN] },
  ];
  const acts: readonly Act[] =
    mode === 'tproxy'
      ? [{ does: 'tproxy', port: inboundPort }, { does: 'accept' }]
      : [{ does: 'redirect', port: inboundPort }];
  return [
    NOT_TCP,
    ...(mode === 'tproxy' ? first : []),
    ...interfaces('iifname', excludeInterfaces),
    { matches: [toPorts(left)], acts: [RETURN] },
    ...(includeInboundPorts?.length === 0
      ? []
      : [{ matches: [includeInboundPorts === null ? IS_TCP : toPorts(includeInboundPorts)], acts }]),
  ];
}

function outboundRules(rules: CaptureRules, families: readonly Family[]): Rule[] {
  const { inboundPort, outboundPort, includeOutboundPorts, includeOutboundRanges } = rules;
  const owners = [
    ...rules.uids.map((id): Match => ({ on: 'skuid', id })),
    ...rules.gids.map((id): Match => ({ on: 'skgid', id })),
  ];
  const acts: readonly Act[] = [{ does: 'redirect', port: outboundPort }];
  return [
    NOT_TCP,
    ...interfaces('oifname', rules.excludeInterfaces),
    { matches: [toPorts([[DNS_PORT, DNS_PORT], ...rules.excludeOutboundPorts])], acts: [RETURN] },
    ...families.map(family => ({ matches: [ON_LOOPBACK, from(family)], acts: [RETURN] })),
    ...(rules.mode === 'tproxy' ? [{ matches: [ON_LOOPBACK, MARKED], acts: [RETURN] }] : []),
    // Its own to an address of this host: as from outside.
    ...owners.flatMap(owner => families.map(family => ownToThisHost(family, owner, inboundPort))),
    // And everything else of its own goes out as it is.
    ...owners.map(owner => ({ matches: [owner], acts: [RETURN] })),
    // The app to this host.
    { matches: [ON_LOOPBACK], acts: [RETURN] },
    ...families.map(({ version, loopback }) => ({ matches: [to(version, loopback)], acts: [RETURN] })),
    ...destinations(families, rules.excludeOutboundRanges).map(match => ({
      matches: [match],
      acts: [RETURN],
    })),
    ...(includeOutboundPorts.length === 0 ? [] : [{ matches: [toPorts(includeOutboundPorts)], acts }]),
    ...(includeOutboundRanges === null
      ? [{ matches: [IS_TCP], acts }]
      : destinations(families, includeOutboundRanges).map(match => ({ matches: [match, IS_TCP], acts }))),
  ];
}

function ownToThisHost({ version, loopback }: Family, owner: Match, port: number): Rule {
  const elsewhere: Match = { ...to(version, loopback), not: true };
  const plain: Match = { ...toPorts([[HBONE_PORT, HBONE_PORT]]), not: true };
  return { matches: [ON_LOOPBACK, elsewhere, plain, owner], acts: [{ does: 'redirect', port }] };
}

function destinations(families: readonly Family[], ranges: readonly string[]): Match[] {
  return families.flatMap(family => rangesOf(family, ranges).map(range => to(family.version, range)));
}

function interfaces(on: 'iifname' | 'oifname', names: readonly string[]): Rule[] {
  return names.map(name => ({ matches: [{ on, name: name.replace(/\+$/, '*') }], acts: [RETURN] }));
}

function from({ version, source }: Family): Match {
  return { on: 'saddr', version, range: source, not: false };
}

function to(version: 4 | 6, range: string): Match & { readonly on: 'saddr' | 'daddr' } {
  return { on: 'daddr', version, range, not: false };
}

function toPorts(ports: Ports): Match & { readonly on: 'dport' } {
  return { on: 'dport', ports: disjoint(ports), not: false };
}

/** What overlaps becomes one: nft before 1.0.2 refuses it. Else they stay in the order that they are given in. */
function disjoint(ports: Ports): Ports {
  const merged: [from: number, to: number][] = [];
  for (const [from, to] of ports.toSorted(([a], [b]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged.length === ports.length ? ports : merged;
}
