import { parseDuration } from '../config/duration.ts';
import { nameProblem } from '../config/names.ts';
import type { PortProtocol } from '../config/resources.ts';
import type { HostPort } from '../config/settings.ts';
import { parseWorkloadEndpoint, type WorkloadEndpoint } from '../config/workload-endpoint.ts';
import { parseSpiffeId } from '../identity/spiffe.ts';
import { WrongLine } from './flags.ts';

/** `[HOST:]PORT`, IPv6 in brackets; `host` stands in when only a port is given. Port 0 passes unless `free` is false. */
export function readHostPort(name: string, text: string, host: string, free = true): HostPort {
  const [, bracketed, plain, digits] =
    /^(?:(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s/]+)):)?([0-9]{1,5})$/.exec(text) ?? [];
  const port = Number(digits ?? Number.NaN);
  if (!(port <= 65_535) || (port === 0 && !free)) {
    const range = free ? '0 to 65535, 0 takes a free one' : '1 to 65535';
    throw new WrongLine(`${name} must be [HOST:]PORT (port ${range}; IPv6 as [::1]:80), not ${shown(text)}`);
  }
  return { host: bracketed ?? plain ?? host, port };
}

/** The address of a SPIFFE Workload API. */
export function readWorkloadEndpoint(name: string, text: string): WorkloadEndpoint {
  const endpoint = parseWorkloadEndpoint(text);
  if (endpoint !== null) return endpoint;
  throw new WrongLine(`${name} must be unix:///PATH or tcp://IP:PORT, not ${shown(text)}`);
}

/** A workload's SPIFFE ID. */
export function readSpiffeId(name: string, text: string): string {
  if (parseSpiffeId(text).ok) return text;
  throw new WrongLine(`${name} must be a SPIFFE ID such as spiffe://example.org/web, not ${shown(text)}`);
}

/** A whole number in decimal. */
export function readWhole(name: string, text: string, min: number, max: number): number {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new WrongLine(`${name} must be a whole number from ${min} to ${max}, not ${shown(text)}`);
}

/** A duration as Go writes it (`30s`, `1h30m`), in milliseconds. */
export function readDuration(name: string, text: string, minMs: number, maxMs: number): number {
  const ms = parseDuration(text) ?? Number.NaN;
  if (ms >= minMs && ms <= maxMs) return ms;
  const range = `from ${minMs / 1_000}s to ${maxMs / 3_600_000}h`;
  throw new WrongLine(`${name} must be a duration such as 30s or 1h30m, ${range}, not ${shown(text)}`);
}

export function readChoice<T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find(word => word === text);
  if (found !== undefined) return found;
  throw new WrongLine(`${name} must be one of ${allowed.join(', ')}, not ${shown(text)}`);
}

/** What an environment variable says of a switch. */
export function readSwitch(name: string, text: string): boolean {
  if (/^(?:1|true|yes|on)$/i.test(text)) return true;
  if (/^(?:0|false|no|off)$/i.test(text)) return false;
  throw new WrongLine(`${name} must be true or false, not ${shown(text)}`);
}

/** `k=v,k2=v2`; empty text is no labels. */
export function readLabels(name: string, text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const pair of text === '' ? [] : text.split(',')) {
    const equals = pair.indexOf('=');
    if (equals < 1) throw new WrongLine(`${name} must be key=value,key=value, not ${shown(text)}`);
    const key = pair.slice(0, equals).trim();
    if (Object.hasOwn(labels, key)) throw new WrongLine(`${name} has ${shown(key)} twice; keep one`);
    Object.defineProperty(labels, key, { value: pair.slice(equals + 1).trim(), enumerable: true });
  }
  return labels;
}

/** `PORT=http|http2|tcp|auto`. */
export function readProtocol(name: string, text: string): { port: number; protocol: PortProtocol } {
  const [, digits, protocol] = /^([0-9]{1,5})=(http|http2|tcp|auto)$/.exec(text) ?? [];
  const port = Number(digits ?? 0);
  if (port >= 1 && port <= 65_535) return { port, protocol: protocol as PortProtocol };
  throw new WrongLine(`${name} must be PORT=http, PORT=http2, PORT=tcp or PORT=auto, not ${shown(text)}`);
}

/** A Kubernetes name, as namespaces and service accounts have. */
export function readName(name: string, text: string): string {
  if (/^[a-zA-Z0-9](?:[-.a-zA-Z0-9]{0,251}[a-zA-Z0-9])?$/.test(text)) return text;
  throw new WrongLine(`${name} must be a Kubernetes name, not ${shown(text)}`);
}

/** A DNS name without wildcards. */
export function readDnsName(name: string, text: string): string {
  const problem = nameProblem(text);
  if (problem === null) return text;
  throw new WrongLine(`${name} must be a DNS name, not ${shown(text)}`);
}

export function readNonEmpty(name: string, text: string, what: string): string {
  if (text !== '') return text;
  throw new WrongLine(`${name} must be ${what}; it is empty`);
}

export function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
