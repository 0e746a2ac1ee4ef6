/** Where a rule looks for tokens, and how a token is taken out of a request again (Envoy's extractor). */
import type { JwtRule } from '../config/resources.ts';
import { paramValue, withoutParam } from './jwt-query.ts';

export type Location =
  | { readonly kind: 'header'; readonly name: string; readonly prefix: string }
  | { readonly kind: 'param'; readonly name: string }
  | { readonly kind: 'cookie'; readonly name: string };

/** The part of a request that locations look at. */
export interface Carrier {
  readonly target: string;
  headerValues(lowerCaseName: string): readonly string[];
}

export interface FoundToken {
  readonly text: string;
  readonly location: Location;
}

/** Envoy keeps these as one value each: of two lines it sees one text, joined by a comma. */
const INLINE_HEADERS: ReadonlySet<string> = new Set([
  ...['accept', 'accept-encoding', 'authorization', 'cache-control', 'content-encoding', 'content-type'],
  ...['access-control-request-headers', 'access-control-request-method'],
  ...['access-control-request-private-network', 'expect', 'grpc-accept-encoding', 'grpc-timeout', 'origin'],
  ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'pragma'],
  ...['referer', 'user-agent', 'via', 'x-client-trace-id', 'x-forwarded-for', 'x-forwarded-host'],
  ...['x-forwarded-port', 'x-forwarded-proto', 'x-request-id', 'x-envoy-attempt-count'],
  ...['x-envoy-decorator-operation', 'x-envoy-downstream-service-cluster', 'x-envoy-downstream-service-node'],
  ...['x-envoy-external-address', 'x-envoy-is-timeout-retry', 'x-envoy-original-host'],
  'x-envoy-original-path',
]);

/** A rule's locations in the order in which Envoy finds tokens: headers, parameters, cookies, each by name. */
export function locationsOf(rule: JwtRule): Location[] {
  const { fromHeaders, fromParams, fromCookies } = rule;
  if (fromHeaders.length + fromParams.length + fromCookies.length === 0) {
    return [
      { kind: 'header', name: 'authorization', prefix: 'Bearer ' },
      { kind: 'param', name: 'access_token' },
    ];
  }
  // One location for each name with its prefix, as Envoy's map has it.
  const headers = new Map<string, Location>();
  for (const { name, prefix } of fromHeaders) {
    const header = { kind: 'header', name: wire(name.toLowerCase()), prefix: wire(prefix) } as const;
    headers.set(header.name + header.prefix, header);
  }
  return [
    ...[...headers].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, location]) => location),
    ...sorted(fromParams).map(name => ({ kind: 'param', name }) as const),
    ...sorted(fromCookies).map(name => ({ kind: 'cookie', name }) as const),
  ];
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names.map(wire))].sort();
}

/** Locations without those that look at the same header (whatever the prefix), parameter or cookie line. */
export function distinctPlaces(locations: readonly Location[]): Location[] {
  const places = new Map(locations.map(one => [one.kind === 'cookie' ? 'cookie' : one.kind + one.name, one]));
  return [...places.values()];
}

/** Whether there is anything at one of the locations, a token or not. */
export function isAnyPresent(locations: readonly Location[], carrier: Carrier): boolean {
  for (const location of locations) {
    if (location.kind === 'param') {
      if (carrier.target.includes('?') && paramValue(carrier.target, location.name) !== null) return true;
    } else if (carrier.headerValues(location.kind === 'header' ? location.name : 'cookie').length > 0) {
      return true;
    }
  }
  return false;
}

/** Every token at the locations, in their order. What is there but empty is a token too, and a bad one. */
export function tokensAt(locations: readonly Location[], carrier: Carrier): FoundToken[] {
  const found: FoundToken[] = [];
  for (const location of locations) {
    if (location.kind === 'header') {
      for (const value of headerTexts(carrier, location.name)) {
        const text = behindPrefix(value, location.prefix);
        if (text !== null) found.push({ text, location });
      }
    } else {
      const text =
        location.kind === 'param'
          ? paramValue(carrier.target, location.name)
          : cookieValue(carrier.headerValues('cookie'), location.name);
      if (text !== null) found.push({ text, location });
    }
  }
  return found;
}

/**
 * What must change so that the app does not see the token. Envoy leaves cookies as they are.
 * @returns the name of a header to leave out, or the new path and query; null = nothing
 */
export function removalOf(
  location: Location,
  target: string,
): { header: string } | { target: string } | null {
  if (location.kind === 'header') return { header: location.name };
  return location.kind === 'param' ? { target: withoutParam(target, location.name) } : null;
}

function headerTexts(carrier: Carrier, name: string): readonly string[] {
  const values = carrier.headerValues(name);
  return values.length > 1 && INLINE_HEADERS.has(name) ? [values.join(',')] : values;
}

/** The prefix counts wherever it stands, and what cannot begin a token behind it is skipped. */
function behindPrefix(value: string, prefix: string): string | null {
  if (prefix === '') return value;
  const at = value.indexOf(prefix);
  if (at === -1) return null;
  for (let start = at + prefix.length; start < value.length; start++) {
    if (isTokenChar(value.charCodeAt(start))) return value.slice(start);
  }
  return value;
}

/** A letter, a digit, `-`, `_` or a dot. */
function isTokenChar(code: number): boolean {
  const letter = code | 0x20;
  if (letter >= 0x61 && letter <= 0x7a) return code < 0x80;
  return (code >= 0x30 && code <= 0x39) || code === 0x2d || code === 0x2e || code === 0x5f;
}

/** The first cookie of that name; quotes around a value are not part of it (RFC 6265 section 4.1.1). */
function cookieValue(lines: readonly string[], name: string): string | null {
  for (const line of lines) {
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=');
      if (equals === -1 || pair.slice(0, equals).replace(/^ +/, '') !== name) continue;
      const value = pair.slice(equals + 1);
      return /^".*"$/s.test(value) ? value.slice(1, -1) : value;
    }
  }
  return null;
}

/** A configured name as the bytes it has on the wire. */
function wire(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}
