/**
 * Which connections this thread opened itself, where the kernel may lead them back here: rules that exempt another user than
 * the one that Outrider runs as. A loop through several threads is noticed when it first meets a thread twice.
 */
import type { Socket } from 'node:net';
import type { Address } from './listen.ts';

const open = new Set<string>();
let watched = false;

/** From now on connections are remembered, until they close. */
export function watchOwnConnections(): void {
  watched = true;
}

/** @param socket connected */
export function rememberOwn(socket: Socket): void {
  const { localPort, remoteAddress, remotePort } = socket;
  if (!watched || remoteAddress === undefined) return;
  const key = `${localPort}>${remoteAddress}:${remotePort}`;
  open.add(key);
  socket.once('close', () => open.delete(key));
}

/** Whether an accepted socket that was going to `to` is the other end of one of them. */
export function isOwnConnection({ remotePort }: Socket, { host, port }: Address): boolean {
  return open.has(`${remotePort}>${host}:${port}`);
}
