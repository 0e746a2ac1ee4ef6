/** URLs as Go's net/url reads them, which is what Istio's validation and its resource definitions use. */
import { addressFamily } from './addresses.ts';
import { quote } from './quote.ts';

const CONTROL = /[\u0000-\u001f\u007f]/;
const WHOLE = /^([a-z][a-z0-9+.-]*):([^?#]*)(?:\?[^#]*)?(?:#(.*))?$/is;
const USER = /^[-A-Za-z0-9._:~!$&'()*+,;=%@]*$/;
const HOST = /^[-A-Za-z0-9._~!$&'()*+,;=:<>"%\]\u0080-\u{10ffff}]*$/u;
const PORT = /^(?::[0-9]*)?$/;
const MAX_PORT_TEXT = 9_223_372_036_854_775_807n; // Go's int: Istio's own reading of the port ends there

/** What is wrong with an absolute URL of one of the schemes; null when nothing is. */
export function urlProblem(text: string, schemes: readonly string[]): string | null {
  const [, scheme, rest = '', fragment = ''] = WHOLE.exec(text) ?? [];
  if (scheme === undefined || !schemes.includes(scheme.toLowerCase()))
    return `${quote(text)} is not a URL that starts with ${schemes.map(name => `${name}://`).join(' or ')}`;
  if (CONTROL.test(text)) return `${quote(text)} holds a control character`;
  if (!escaped(rest.startsWith('/') ? pathOf(rest) : '') || !escaped(fragment))
    return `${quote(text)} holds "%" without two hexadecimal digits`;
  if (/^[^:]*:\/\/[^/?]*#/.test(text)) return `${quote(text)} has "#" in its host`;
  const problem = rest.startsWith('//') ? authorityProblem(authorityOf(rest)) : null;
  return problem === null ? null : `${quote(text)} ${problem}`;
}

function authorityOf(rest: string): string {
  const slash = rest.indexOf('/', 2);
  return rest.slice(2, slash < 0 ? rest.length : slash);
}

function pathOf(rest: string): string {
  return rest.startsWith('//') ? rest.slice(2 + authorityOf(rest).length) : rest;
}

function authorityProblem(authority: string): string | null {
  const at = authority.lastIndexOf('@');
  const user = authority.slice(0, Math.max(at, 0));
  if (!USER.test(user) || !escaped(user)) return 'has a user name that is not in order';
  return hostProblem(authority.slice(at + 1));
}

function hostProblem(host: string): string | null {
  const end = host.startsWith('[') ? host.lastIndexOf(']') + 1 : host.indexOf(':');
  const name = end < 0 ? host : host.slice(0, end);
  const port = end < 0 ? '' : host.slice(end);
  if (!PORT.test(port) || BigInt(port.slice(1) || 0) > MAX_PORT_TEXT) return 'has a port that is no number';
  if (host.startsWith('[')) return isBracketed(name) ? null : 'has brackets around what is no IPv6 address';
  return HOST.test(name) && escaped(name) && !/%(?!25)[0-7]/.test(name)
    ? null
    : 'has a host that is not in order';
}

/** Between brackets stands an IPv6 address, its zone after %25. */
function isBracketed(name: string): boolean {
  const [address = '', ...zone] = name.slice(1, -1).split('%25');
  const decoded = zone.length === 0 ? address : `${address}%${zone.join('%')}`;
  return escaped(name) && addressFamily(decoded) === 6;
}

/** True when each "%" starts an escape. */
function escaped(text: string): boolean {
  return !/%(?![0-9a-f]{2})/i.test(text);
}
