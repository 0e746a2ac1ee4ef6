/** `host[:port]` taken apart (RFC 3986 3.2); hosts in lower case without a final dot. */
export interface Authority {
  readonly host: string;
  /** null = not written. */
  readonly port: number | null;
}

/** `text` was checked by the parser: no userinfo, a port of digits. */
export function parseAuthority(text: string): Authority {
  const match = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(text);
  const host = (match?.[1] ?? text)
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '');
  return { host, port: match?.[2] === undefined ? null : Number(match[2]) };
}

/** Whether an Istio host (`a.b`, `*.b`, `*`) covers `host`, both in lower case. */
export function hostMatches(pattern: string, host: string): boolean {
  if (pattern === '*') return true;
  return pattern.startsWith('*.') ? host.endsWith(pattern.slice(1)) : pattern === host;
}
