/** What is captured, and its rules as iptables-restore reads them: the chains and their order are Istio's (istio-iptables). */
import { CLIENT_MARK } from '../net/client-mark.ts';

/** A port, or the first and last of a range. */
export type Ports = readonly (readonly [from: number, to: number])[];

export interface CaptureRules {
  readonly mode: 'redirect' | 'tproxy';
  /** IPv6 is captured like IPv4; false leaves it alone. */
  readonly ipv6: boolean;
  /** Of Outrider's listeners. */
  readonly inboundPort: number;
  readonly outboundPort: number;
  /** Users and groups whose connections are Outrider's own. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  /** null = all. */
  readonly includeInboundPorts: Ports | null;
  readonly excludeInboundPorts: Ports;
  /** Captured whatever their address. */
  readonly includeOutboundPorts: Ports;
  readonly excludeOutboundPorts: Ports;
  /** Addresses and ranges of either family; null = all. */
  readonly includeOutboundRanges: readonly string[] | null;
  readonly excludeOutboundRanges: readonly string[];
  readonly excludeInterfaces: readonly string[];
}

/** Outrider's own that others ask: telemetry and probes, health, and Envoy's metrics port, which dashboards know. */
export const UNCAPTURED_PORTS: Ports = [
  [15_020, 15_021],
  [15_090, 15_090],
];
/** HBONE is mutual TLS of its own. */
export const HBONE_PORT = 15_008;
export const DNS_PORT = 53;

/** What an address family calls the same things. */
export interface Family {
  readonly version: 4 | 6;
  readonly loopback: string;
  /** Where connections to the pod's own address come from (inboundTrafficPolicy PASSTHROUGH). */
  readonly source: string;
}

export const FAMILIES: readonly Family[] = [
  { version: 4, loopback: '127.0.0.0/8', source: '127.0.0.6/32' },
  { version: 6, loopback: '::1/128', source: '::6/128' },
];

export function rangesOf({ version }: Family, ranges: readonly string[]): readonly string[] {
  return ranges.filter(range => range.includes(':') === (version === 6));
}

type Table = 'nat' | 'mangle';
const TABLES: readonly Table[] = ['nat', 'mangle'];
const CHAINS = ['ISTIO_INBOUND', 'ISTIO_OUTPUT', 'ISTIO_REDIRECT', 'ISTIO_IN_REDIRECT', 'ISTIO_TPROXY'];

/** The lines of one family: chains, then rules, and the jumps from the system's chains at last. */
function linesOf(rules: CaptureRules, family: Family): Readonly<Record<Table, readonly string[]>> {
  const { mode, inboundPort, outboundPort } = rules;
  const tproxy = mode === 'tproxy';
  const inbound = inboundLines(rules);
  return {
    nat: [
      `-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports ${outboundPort}`,
      `-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports ${inboundPort}`,
      ...(tproxy ? [] : inbound),
      ...outboundLines(rules, family),
      ...(tproxy ? [] : ['-A PREROUTING -p tcp -j ISTIO_INBOUND']),
      '-A OUTPUT -p tcp -j ISTIO_OUTPUT',
    ],
    mangle: tproxy
      ? [
          // To an address of this host: no mark and no route are needed for packets to arrive.
          `-A ISTIO_TPROXY -p tcp -j TPROXY --on-port ${inboundPort}`,
          // The connection remembers the sidecar's mark, and the app's answers get it.
          `-A ISTIO_INBOUND -i lo -p tcp -m mark --mark ${CLIENT_MARK} -j CONNMARK --save-mark`,
          '-A ISTIO_INBOUND -i lo -j RETURN',
          '-A ISTIO_INBOUND -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN',
          ...inbound,
          `-A ISTIO_OUTPUT -p tcp -m connmark --mark ${CLIENT_MARK} -j CONNMARK --restore-mark`,
          '-A PREROUTING -p tcp -j ISTIO_INBOUND',
          '-A OUTPUT -p tcp -j ISTIO_OUTPUT',
        ]
      : [],
  };
}

function inboundLines(rules: CaptureRules): string[] {
  const { mode, includeInboundPorts, excludeInboundPorts, excludeInterfaces } = rules;
  const to = mode === 'tproxy' ? 'ISTIO_TPROXY' : 'ISTIO_IN_REDIRECT';
  const left = [...UNCAPTURED_PORTS, ...excludeInboundPorts];
  return [
    ...excludeInterfaces.map(name => `-A ISTIO_INBOUND -i ${name} -j RETURN`),
    `-A ISTIO_INBOUND -p tcp --dport ${HBONE_PORT} -j RETURN`,
    ...left.map(ports => `-A ISTIO_INBOUND -p tcp --dport ${span(ports)} -j RETURN`),
    ...(includeInboundPorts === null
      ? [`-A ISTIO_INBOUND -p tcp -j ${to}`]
      : includeInboundPorts.map(ports => `-A ISTIO_INBOUND -p tcp --dport ${span(ports)} -j ${to}`)),
  ];
}

function outboundLines(rules: CaptureRules, family: Family): string[] {
  const { loopback, source } = family;
  const { includeOutboundPorts, includeOutboundRanges, excludeOutboundPorts, excludeInterfaces } = rules;
  const owners = [...rules.uids.map(id => `--uid-owner ${id}`), ...rules.gids.map(id => `--gid-owner ${id}`)];
  const left: Ports = [[DNS_PORT, DNS_PORT], ...excludeOutboundPorts];
  return [
    ...excludeInterfaces.map(name => `-o ${name} -j RETURN`),
    ...left.map(ports => `-p tcp --dport ${span(ports)} -j RETURN`),
    `-s ${source} -o lo -j RETURN`,
    ...(rules.mode === 'tproxy' ? [`-o lo -m mark --mark ${CLIENT_MARK} -j RETURN`] : []),
    // Its own to an address of this host: as from outside.
    ...owners.map(
      owner => `! -d ${loopback} -o lo -p tcp ! --dport ${HBONE_PORT} -m owner ${owner} -j ISTIO_IN_REDIRECT`,
    ),
    // And everything else of its own goes out as it is.
    ...owners.map(owner => `-m owner ${owner} -j RETURN`),
    // The app to this host.
    '-o lo -j RETURN',
    `-d ${loopback} -j RETURN`,
    ...rangesOf(family, rules.excludeOutboundRanges).map(range => `-d ${range} -j RETURN`),
    ...includeOutboundPorts.map(ports => `-p tcp --dport ${span(ports)} -j ISTIO_REDIRECT`),
    ...(includeOutboundRanges === null
      ? ['-j ISTIO_REDIRECT']
      : rangesOf(family, includeOutboundRanges).map(range => `-d ${range} -j ISTIO_REDIRECT`)),
  ].map(rule => `-A ISTIO_OUTPUT ${rule}`);
}

function span([from, to]: Ports[number]): string {
  return from === to ? String(from) : `${from}:${to}`;
}

/**
 * For `iptables-restore --noflush`: everything at once, whatever of it was there before.
 * @param rules null = only what is there goes away
 * @param saved by table, what `iptables-save` says
 * @returns '' when there is nothing to do
 */
export function iptablesText(
  rules: CaptureRules | null,
  family: Family,
  saved: Readonly<Record<string, string>> = {},
): string {
  const wanted = rules === null ? { nat: [], mangle: [] } : linesOf(rules, family);
  return TABLES.map(table => tableText(table, wanted[table], saved[table] ?? '')).join('');
}

function tableText(table: Table, wanted: readonly string[], saved: string): string {
  const chains = CHAINS.filter(chain => wanted.some(line => line.startsWith(`-A ${chain} `)));
  const stale = CHAINS.filter(chain => saved.includes(`\n:${chain} `) && !chains.includes(chain));
  const jumps = saved
    .split('\n')
    .filter(
      line => /^-A (?:PREROUTING|OUTPUT) /.test(line) && CHAINS.includes(/-j (\S+)/.exec(line)?.[1] ?? ''),
    );
  const lines = [
    ...jumps.map(line => line.replace('-A', '-D')),
    // Declared anew, a chain is empty.
    ...chains.map(chain => `:${chain} - [0:0]`),
    ...stale.map(chain => `-F ${chain}`),
    ...wanted,
    ...stale.map(chain => `-X ${chain}`),
  ];
  return lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
}
