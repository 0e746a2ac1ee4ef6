/** X-Forwarded-For as Envoy reads it where nobody is trusted more than the peer: its right-most address. */
import { type Address, parseAddress } from './address.ts';

/**
 * The address after the last comma; lines are one list. Text that is no address counts for nothing: the peer's own
 * address stands then, not one further left.
 * @param lines values of x-forwarded-for
 */
export function forwardedAddress(lines: readonly string[]): Address | null {
  const last = lines[lines.length - 1];
  if (last === undefined) return null;
  const comma = last.lastIndexOf(',');
  // Envoy takes the whole value when nothing follows the last comma, and that is no address.
  if (comma !== -1 && comma === last.length - 1) return null;
  return parseAddress((comma === -1 ? last : last.slice(comma + 1)).trim());
}
