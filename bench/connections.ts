/** Open TCP connections, from /proc/net/tcp. Linux only. */
import { readFileSync } from 'node:fs';

const ESTABLISHED = '01';

/** How many IPv4 connections are established to a server on this port of this machine. */
export function connectionsTo(port: number): number {
  return countTo(readFileSync('/proc/net/tcp', 'latin1'), port);
}

/** Counts the server's ends in what /proc/net/tcp says: `sl local_address rem_address st …`, addresses in hex. */
export function countTo(table: string, port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table.split('\n').filter(line => {
    const [, address, , state] = line.trim().split(/\s+/);
    return address?.endsWith(local) && state === ESTABLISHED;
  }).length;
}
