/**
 * Where a connection was going before the kernel led it here. REDIRECT (iptables, nftables) writes a new destination into
 * its packets and remembers the old one, for SO_ORIGINAL_DST to ask; TPROXY leaves the packets as they are, and the
 * socket's own local address is the answer.
 */
import { type Socket, SocketAddress } from 'node:net';
import type { Address } from './listen.ts';
import { descriptorOf, type SocketOptions, socketOptions } from './socket-options.ts';

export type Capture = 'redirect' | 'tproxy';

/** Asks one accepted socket; null when it is closed. A connection that nobody redirected was going to its local address. */
export type OriginalDst = (socket: Socket) => Address | null;

/** linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h, and the levels of both families. */
const SO_ORIGINAL_DST = 80;
const SOL_IP = 0;
const SOL_IPV6 = 41;
/** Of struct sockaddr_in and sockaddr_in6; the port is at 2 in both. */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

/** @returns null when this Node has no way to ask, which `WITHOUT_FFI` says in words */
export function originalDst(capture: Capture): OriginalDst | null {
  const options = socketOptions();
  if (options === null) return capture === 'tproxy' ? localAddress : null;
  // With TPROXY what this host sends itself is redirected all the same: it does not pass where TPROXY is.
  return socket => redirectedFrom(socket, options) ?? localAddress(socket);
}

export const WITHOUT_FFI =
  'the original destination of redirected connections cannot be asked for: it needs Node 26.9 (node:ffi) or the ' +
  'optional package koffi';

function localAddress({ localAddress: host, localPort: port }: Socket): Address | null {
  return host === undefined || port === undefined ? null : { host: unmapped(host), port };
}

const sockaddr = Buffer.alloc(SOCKADDR_IN6_BYTES);

function redirectedFrom(socket: Socket, options: SocketOptions): Address | null {
  const host = socket.localAddress;
  if (host === undefined) return null;
  // An IPv4 connection on a socket of both families is asked about as one of IPv4.
  const four = host.includes('.');
  const into = sockaddr.subarray(0, four ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  if (!options.read(descriptorOf(socket), four ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST, into)) return null;
  const port = into.readUInt16BE(2);
  return { host: four ? into.subarray(4, 8).join('.') : ipv6Of(into.subarray(8, 24)), port };
}

/** In the spelling that Node gives everywhere else. */
function ipv6Of(bytes: Buffer): string {
  const address = bytes.toString('hex').replace(/.{4}(?!$)/g, '$&:');
  return unmapped(new SocketAddress({ address, family: 'ipv6' }).address);
}

function unmapped(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
}
