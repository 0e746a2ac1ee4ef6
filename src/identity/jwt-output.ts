/** What a rule writes into the request from a verified token: outputPayloadToHeader and outputClaimToHeaders. */
import type { JwtRule } from '../config/resources.ts';
import { claim, isObject, type JsonObject } from './jwt-json.ts';

export type HeaderLine = readonly [name: string, value: string];

export interface Outputs {
  /** The headers that only the rule may write: what a client sends under these names is removed. */
  readonly names: readonly string[];
  /** The lines for one token; null when a claim holds what no header can carry. */
  lines(token: { readonly payload: string }, payload: JsonObject): readonly HeaderLine[] | null;
}

/** Headers that say where a message goes and where it ends: no claim may write them, no rule removes them. */
const FRAMING: ReadonlySet<string> = new Set([
  ...['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade'],
]);

/** Whether a rule may write or remove that header: a name that HTTP knows, and none of its own. */
export function isWritable(lowerCaseName: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(lowerCaseName) && !FRAMING.has(lowerCaseName);
}

/** Compiles the output fields of a rule. */
export function outputsOf({ outputPayloadToHeader, outputClaimToHeaders }: JwtRule): Outputs {
  const payloadHeader = outputPayloadToHeader?.toLowerCase() ?? '';
  const toPayload = payloadHeader !== '' && isWritable(payloadHeader);
  const claims = outputClaimToHeaders
    .map(({ header, claim: path }) => ({ header: header.toLowerCase(), path: path.split('.') }))
    .filter(({ header }) => isWritable(header));
  const headers = claims.map(({ header }) => header);
  return {
    names: [...new Set(toPayload ? [payloadHeader, ...headers] : headers)],
    lines(token, payload) {
      const lines: HeaderLine[] = toPayload ? [[payloadHeader, unspaced(token.payload)]] : [];
      for (const { header, path } of claims) {
        const value = headerText(memberAt(payload, path));
        if (value !== '') lines.push([header, value]);
      }
      return lines.every(([, value]) => isFieldValue(value)) ? lines : null;
    },
  };
}

/** A member by Envoy's dotted path through objects; undefined when there is none. */
function memberAt(payload: JsonObject, path: readonly string[]): unknown {
  let value: unknown = payload;
  for (const name of path) {
    if (!isObject(value)) return undefined;
    value = claim(value, name);
  }
  return value;
}

/** A claim as Envoy writes it into a header, as the bytes on the wire; '' = no header. */
function headerText(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return Buffer.from(value, 'utf8').toString('latin1');
    case 'number':
      return numberText(value);
    case 'boolean':
      return String(value);
    case 'object':
      return value === null ? '' : Buffer.from(jsonText(value), 'utf8').toString('base64');
    default:
      return '';
  }
}

/** Whole numbers that fit 64 bits without a point, all others with six places (C++'s to_string). */
function numberText(value: number): string {
  if (value >= 0 && value < 2 ** 64 && Number.isInteger(value)) return BigInt(value).toString();
  if (Math.abs(value) < 1e21) return value.toFixed(6);
  return `${BigInt(value)}.000000`; // toFixed would write an exponent
}

/** Lists and objects as protobuf prints them. */
function jsonText(value: object): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c').replaceAll('>', '\\u003e');
}

/** What HTTP lets a field value hold: no control character but the tab. */
function isFieldValue(value: string): boolean {
  return !/[\0-\x08\x0a-\x1f\x7f]/.test(value);
}

/** White space in a token is not part of it; a copy, so that the request's text can go. */
function unspaced(section: string): string {
  return Buffer.from(section.replace(/\s/g, ''), 'latin1').toString('latin1');
}
