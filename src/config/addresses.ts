/**
 * IP addresses and CIDR ranges as Go's netip reads them, which is what Istio's validation uses: no leading zeros in
 * IPv4, zones only on addresses, prefix lengths without sign or leading zero.
 */

/** 4 or 6 for an address, null for anything else. */
export function addressFamily(text: string): 4 | 6 | null {
  if (!text.includes(':')) return isIpv4(text) ? 4 : null;
  const zone = text.indexOf('%');
  if (zone === text.length - 1) return null;
  return isIpv6(zone < 0 ? text : text.slice(0, zone)) ? 6 : null;
}

/** True for an address, or an address with a prefix length. */
export function isAddressOrRange(text: string): boolean {
  const slash = text.lastIndexOf('/');
  if (slash < 0) return addressFamily(text) !== null;
  const address = text.slice(0, slash);
  const bits = text.slice(slash + 1);
  const family = address.includes('%') ? null : addressFamily(address);
  return family !== null && /^(?:0|[1-9][0-9]{0,2})$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

function isIpv4(text: string): boolean {
  const parts = text.split('.');
  return (
    parts.length === 4 && parts.every(part => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)
  );
}

function isIpv6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  const head = groupCount(halves[0] ?? '', halves.length === 1);
  if (head === null) return false;
  if (halves.length === 1) return head === 8;
  const tail = groupCount(halves[1] ?? '', true);
  return tail !== null && head + tail <= 7; // "::" stands for at least one group
}

/** How many 16-bit groups the text holds; a trailing IPv4 address counts for two. */
function groupCount(text: string, last: boolean): number | null {
  if (text === '') return 0;
  const groups = text.split(':');
  const tail = groups[groups.length - 1] ?? '';
  const dotted = last && tail.includes('.');
  if (dotted && !isIpv4(tail)) return null;
  const plain = dotted ? groups.slice(0, -1) : groups;
  return plain.every(group => /^[0-9a-fA-F]{1,4}$/.test(group)) ? plain.length + (dotted ? 2 : 0) : null;
}
