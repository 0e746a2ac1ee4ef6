/** The chains for `nft -f -`: one table of Outrider's own, for both families. */
import { type Act, type Chain, chainsOf, type Match, type Rule, TABLE } from './capture-chains.ts';
import { addressBytes } from './capture-expressions.ts';
import type { CaptureRules, Ports } from './capture-rules.ts';

const HEAD = `table inet ${TABLE}`;
/** Made when it was not there, so that it can go. */
const GONE = `${HEAD}\ndelete ${HEAD}\n`;

/** All at once, whatever was there before. @param rules null = what is there goes away */
export function nftText(rules: CaptureRules | null): string {
  if (rules === null) return GONE;
  return `${GONE}${HEAD} {\n${chainsOf(rules).map(chainText).join('')}}\n`;
}

function chainText({ name, type, hook, priority, rules }: Chain): string {
  const lines = [
    `type ${type} hook ${hook} priority ${priority}; policy accept;`,
    ...rules.map(rule => ruleText(rule)),
  ];
  return `\tchain ${name} {\n${lines.map(line => `\t\t${line}\n`).join('')}\t}\n`;
}

/** One rule, as errors name it as well. */
export function ruleText({ matches, acts }: Rule): string {
  return [...matches.map(matchText), ...acts.map(actText)].join(' ');
}

function matchText(match: Match): string {
  switch (match.on) {
    case 'tcp':
      return `meta l4proto ${is(match)}tcp`;
    case 'ipv6':
      return 'meta nfproto ipv6';
    case 'iifname':
    case 'oifname':
      return `${match.on} "${match.name}"`;
    case 'skuid':
    case 'skgid':
      return `meta ${match.on} ${match.id}`;
    case 'meta mark':
    case 'ct mark':
      return `${match.on} ${match.mark}`;
    case 'established':
      return 'ct state established,related';
    case 'saddr':
    case 'daddr':
      return `${match.version === 4 ? 'ip' : 'ip6'} ${match.on} ${is(match)}${rangeText(match.range)}`;
    case 'dport':
      return `tcp dport ${is(match)}${set(match.ports.map(span))}`;
  }
}

function actText(act: Act): string {
  switch (act.does) {
    case 'return':
    case 'accept':
      return act.does;
    case 'redirect':
    case 'tproxy':
      return `${act.does} to :${act.port}`;
    case 'set ct mark':
      return 'ct mark set meta mark';
    case 'set meta mark':
      return 'meta mark set ct mark';
  }
}

/** nft does not read IPv6 with the end written as IPv4, but for `::ffff:`. */
function rangeText(range: string): string {
  if (!range.includes(':') || !range.includes('.')) return range;
  const [address = '', bits] = range.split('/');
  const groups = addressBytes(address)
    .toString('hex')
    .replace(/.{4}(?!$)/g, '$&:');
  return bits === undefined ? groups : `${groups}/${bits}`;
}

function is({ not }: { readonly not: boolean }): string {
  return not ? '!= ' : '';
}

function set(items: readonly string[]): string {
  return items.length === 1 ? (items[0] ?? '') : `{ ${items.join(', ')} }`;
}

function span([from, to]: Ports[number]): string {
  return from === to ? String(from) : `${from}-${to}`;
}
