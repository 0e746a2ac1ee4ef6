import type { IncomingMessage } from 'node:http';

/**
 * Who may ask the admin listener. It has no password: what protects it is that it listens on loopback, that a web page
 * cannot reach it under a name of its own (DNS rebinding: the Host check), and that a page elsewhere cannot make the
 * browser change anything (the Origin check).
 */

const HOST = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+))(?::\d{1,5})?$/;
const IPV4_LOOPBACK = /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;

/** Whether a Host header names this machine's loopback, or a host that `--admin-host` allows. */
export function isAllowedHost(host: string | undefined, allowed: readonly string[]): boolean {
  const parts = HOST.exec((host ?? '').toLowerCase());
  if (parts === null) return false;
  const name = parts[1] ?? parts[2] ?? '';
  if (name === 'localhost' || name.endsWith('.localhost') || name === '::1' || IPV4_LOOPBACK.test(name)) {
    return true;
  }
  return allowed.some(one => one.toLowerCase() === name);
}

/** Whether the request comes from this machine. */
export function isFromLoopback(request: IncomingMessage): boolean {
  const address = request.socket.remoteAddress ?? '';
  const v4 = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
  return v4 === '::1' || IPV4_LOOPBACK.test(v4);
}

/** Whether a browser says that another site's page sent this; programs say nothing, and pass. */
export function isCrossSite(request: IncomingMessage): boolean {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  const { origin, host } = request.headers;
  return origin !== undefined && origin.toLowerCase() !== `http://${host ?? ''}`.toLowerCase();
}
