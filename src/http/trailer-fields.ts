import type { FieldNames } from './exchange.ts';

const FORBIDDEN = new Set([
  'content-encoding',
  'content-range',
  'trailer',
  'authorization',
  'proxy-authorization',
  'cookie',
  'set-cookie',
  'cache-control',
  'max-forwards',
  'forwarded',
]);

/**
 * Whether a field that is PLAIN to fields.ts may stand in a trailer section: fields of framing, routing and identity are
 * never taken from there (RFC 9110 6.5.1).
 * @param name lower case; `_` counts as `-`, as in fields.ts
 * @param withheld further names that are taken out
 */
export function mayTrail(name: string, withheld: FieldNames | null): boolean {
  const plain = name.includes('_') ? name.replaceAll('_', '-') : name;
  return !FORBIDDEN.has(plain) && !plain.startsWith('x-forwarded-') && withheld?.has(plain) !== true;
}
