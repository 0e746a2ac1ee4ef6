// reg-name without a comma (lists look like one), an IPv6 literal, a port up to five digits; no userinfo.
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+;=]+)(?::(\d{1,5}))?$/;

/** The one that was last found valid: a connection names the same one again and again. */
let last = '';

/** Whether the text is `host` or `host:port` of a request (RFC 9110 7.2), read the same by everybody. */
export function isAuthority(text: string): boolean {
  if (text === last) return text !== '';
  const match = AUTHORITY.exec(text);
  if (match === null || (match[1] !== undefined && Number(match[1]) > 65_535)) return false;
  last = text;
  return true;
}

/** Whether the text is `host:port`, as CONNECT wants it (RFC 9110 9.3.6). */
export function isHostAndPort(text: string): boolean {
  return /:\d{1,5}$/.test(text) && isAuthority(text);
}

/**
 * Whether a Host field says the same as the target of CONNECT: it repeats the authority (RFC 9110 7.2), though undici
 * leaves a scheme's own port out.
 */
export function isHostOf(authority: string, host: string): boolean {
  const wanted = authority.toLowerCase();
  const said = host.toLowerCase();
  return said === wanted || said === wanted.slice(0, wanted.lastIndexOf(':'));
}
