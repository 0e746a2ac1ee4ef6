/** X-Forwarded-For as Envoy reads it where nobody is trusted more than the peer: its right-most address. */
import { type Address, parseWrittenAddress } from './address.ts';

const SPACE = 0x20;
const TAB = 0x09;

/**
 * The address after the last comma; lines are one list, empty ones count for nothing. Text that is no address counts for
 * nothing either: the peer's own address stands then, not one further left.
 * @param lines values of x-forwarded-for
 */
export function forwardedAddress(lines: readonly string[]): Address | null {
  const list = lastWritten(lines);
  const comma = list.lastIndexOf(',');
  // Envoy takes the whole list when nothing follows the last comma, and that is no address.
  if (comma !== -1 && comma === list.length - 1) return null;
  let start = comma + 1;
  let end = list.length;
  while (start < end && isBlank(list.charCodeAt(start))) start++;
  while (start < end && isBlank(list.charCodeAt(end - 1))) end--;
  return parseWrittenAddress(list.slice(start, end));
}

function lastWritten(lines: readonly string[]): string {
  for (let i = lines.length - 1; i >= 0; i--) if (lines[i] !== '') return lines[i] as string;
  return '';
}

function isBlank(c: number): boolean {
  return c === SPACE || c === TAB;
}
