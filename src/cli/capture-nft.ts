/** The same rules for `nft -f -`: one table of Outrider's own, for both families. */
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

const TABLE = 'table inet outrider';
/** Made when it was not there, so that it can go. */
const GONE = `${TABLE}\ndelete ${TABLE}\n`;

/** All at once, whatever was there before. @param rules null = what is there goes away */
export function nftText(rules: CaptureRules | null): string {
  if (rules === null) return GONE;
  const tproxy = rules.mode === 'tproxy';
  const families = FAMILIES.filter(({ version }) => version === 4 || rules.ipv6);
  const chains = [
    chain('inbound', [
      tproxy
        ? 'type filter hook prerouting priority mangle; policy accept;'
        : 'type nat hook prerouting priority dstnat; policy accept;',
      ...inboundRules(rules),
    ]),
    chain('outbound', [
      'type nat hook output priority -100; policy accept;',
      ...(rules.ipv6 ? [] : ['meta nfproto ipv6 return']),
      ...outboundRules(rules, families),
    ]),
  ];
  return `${GONE}${TABLE} {\n${chains.join('')}}\n`;
}

function chain(name: string, lines: readonly string[]): string {
  return `\tchain ${name} {\n${lines.map(line => `\t\t${line}\n`).join('')}\t}\n`;
}

function inboundRules(rules: CaptureRules): string[] {
  const { mode, ipv6, inboundPort, includeInboundPorts, excludeInboundPorts, excludeInterfaces } = rules;
  const left: Ports = [[HBONE_PORT, HBONE_PORT], ...UNCAPTURED_PORTS, ...excludeInboundPorts];
  const ports = includeInboundPorts === null ? '' : `tcp dport ${set(includeInboundPorts.map(span))} `;
  const established = ['iifname "lo" return', 'ct state established,related return'];
  const to = mode === 'tproxy' ? `tproxy to :${inboundPort} accept` : `redirect to :${inboundPort}`;
  return [
    ...(ipv6 ? [] : ['meta nfproto ipv6 return']),
    'meta l4proto != tcp return',
    ...(mode === 'tproxy' ? established : []),
    ...interfaces('iifname', excludeInterfaces),
    `tcp dport ${set(left.map(span))} return`,
    ...(includeInboundPorts?.length === 0 ? [] : [`${ports}${ports === '' ? 'meta l4proto tcp ' : ''}${to}`]),
  ];
}

function outboundRules(rules: CaptureRules, families: readonly Family[]): string[] {
  const { inboundPort, outboundPort, includeOutboundPorts, includeOutboundRanges } = rules;
  const left: Ports = [[DNS_PORT, DNS_PORT], ...rules.excludeOutboundPorts];
  const owners = [...rules.uids.map(id => `meta skuid ${id}`), ...rules.gids.map(id => `meta skgid ${id}`)];
  const to = `redirect to :${outboundPort}`;
  return [
    'meta l4proto != tcp return',
    ...interfaces('oifname', rules.excludeInterfaces),
    `tcp dport ${set(left.map(span))} return`,
    ...families.map(family => `oifname "lo" ${ip(family)} saddr ${family.source} return`),
    // Its own to an address of this host: as from outside.
    ...owners.flatMap(owner =>
      families.map(
        family =>
          `oifname "lo" ${ip(family)} daddr != ${family.loopback} tcp dport != ${HBONE_PORT} ${owner} redirect to :${inboundPort}`,
      ),
    ),
    // And everything else of its own goes out as it is.
    ...owners.map(owner => `${owner} return`),
    // The app to this host.
    'oifname "lo" return',
    ...families.map(family => `${ip(family)} daddr ${family.loopback} return`),
    ...destinations(families, rules.excludeOutboundRanges, 'return'),
    ...(includeOutboundPorts.length === 0 ? [] : [`tcp dport ${set(includeOutboundPorts.map(span))} ${to}`]),
    ...(includeOutboundRanges === null
      ? [`meta l4proto tcp ${to}`]
      : destinations(families, includeOutboundRanges, `meta l4proto tcp ${to}`)),
  ];
}

function destinations(families: readonly Family[], ranges: readonly string[], verdict: string): string[] {
  return families.flatMap(family =>
    rangesOf(family, ranges).map(range => `${ip(family)} daddr ${range} ${verdict}`),
  );
}

function interfaces(which: string, names: readonly string[]): string[] {
  return names.map(name => `${which} "${name.replace(/\+$/, '*')}" return`);
}

function ip({ version }: Family): string {
  return version === 4 ? 'ip' : 'ip6';
}

function set(items: readonly string[]): string {
  return items.length === 1 ? (items[0] ?? '') : `{ ${items.join(', ')} }`;
}

function span([from, to]: Ports[number]): string {
  return from === to ? String(from) : `${from}-${to}`;
}
