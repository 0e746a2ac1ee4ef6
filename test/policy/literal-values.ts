/** How one configured value is compared with one attribute, as Istio's reference says it. */

/** A peer's SPIFFE ID without `spiffe://`; null on plaintext. */
type Identity = string | null;
type Claims = Readonly<Record<string, unknown>> | null;

export function principalMatches(
  value: string,
  identity: Identity,
  trustDomains: readonly string[],
): boolean {
  if (identity === null) return false;
  const [own, ...rest] = value.split('/');
  const known = own === 'cluster.local' || trustDomains.includes(own!);
  const values =
    rest.length === 4 && known ? trustDomains.map(domain => [domain, ...rest].join('/')) : [value];
  return values.some(one => one === '*' || textMatches(one, identity));
}

export function namespaceMatches(value: string, identity: Identity): boolean {
  return fullMatch(identity, `.*/ns/${quoted(value, '.*')}/.*`);
}

export function accountMatches(value: string, identity: Identity, policyNamespace: string): boolean {
  const [namespace, account] = value.includes('/') ? value.split('/') : [policyNamespace, value];
  return fullMatch(identity, `spiffe://.+/ns/${quoted(namespace!)}/(.+/|)sa/${quoted(account!)}(/.+)?`);
}

export function trustDomainMatches(
  value: string,
  identity: Identity,
  trustDomains: readonly string[],
): boolean {
  if (value === '*') return identity !== null;
  const values = trustDomains.includes(value) ? trustDomains : [value];
  return values.some(one => fullMatch(identity, `spiffe://${quoted(one, '[^/]*')}/.*`));
}

function fullMatch(identity: Identity, pattern: string): boolean {
  return identity !== null && new RegExp(`^(?:${pattern})$`).test(`spiffe://${identity}`);
}

/** IPv4 only. */
export function blockMatches(block: string, ip: string): boolean {
  const [address, length = '32'] = block.split('/');
  const bits = (text: string) =>
    text
      .split('.')
      .map(octet => Number(octet).toString(2).padStart(8, '0'))
      .join('');
  return bits(address!).slice(0, Number(length)) === bits(ip).slice(0, Number(length));
}

/** The last address of X-Forwarded-For, when there is one. */
export function lastForwarded(lines: readonly string[] | undefined): string | null {
  const last = lines?.join(',').split(',').at(-1)?.trim();
  return last !== undefined && /^\d+\.\d+\.\d+\.\d+$/.test(last) ? last : null;
}

export function pathMatches(value: string, path: string): boolean {
  if (!value.includes('{*}') && !value.includes('{**}')) return textMatches(value, path);
  const operators: Record<string, string> = { '{*}': '[^/]+', '{**}': '.*' };
  const segments = value.split('/').map(part => operators[part] ?? quoted(part));
  return new RegExp(`^${segments.join('/')}$`).test(path);
}

/** The table of the reference: a value is split at its last slash. */
export function requestPrincipalMatches(value: string, claims: Claims): boolean {
  const { iss, sub } = claims ?? {};
  if (typeof iss !== 'string' || typeof sub !== 'string') return false;
  const slash = value.lastIndexOf('/');
  const [issuer, subject] = slash === -1 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)];
  if (value === '*') return iss !== '' && sub !== '';
  if (slash === -1 && value.startsWith('*')) return iss !== '' && sub.endsWith(value.slice(1));
  if (slash === -1 && value.endsWith('*')) return iss.startsWith(value.slice(0, -1)) && sub !== '';
  if (value.startsWith('*')) return textMatches(issuer, iss) && sub === subject;
  if (value.endsWith('*')) return iss === issuer && textMatches(subject, sub);
  return iss === issuer && sub === subject;
}

export function claimMatches(value: string, path: readonly string[], claims: Claims): boolean {
  let found: unknown = claims;
  for (const name of path) {
    const inside = typeof found === 'object' && found !== null && !Array.isArray(found);
    found = inside && Object.hasOwn(found!, name) ? (found as Record<string, unknown>)[name] : undefined;
  }
  return [found].flat().some(text => typeof text === 'string' && textMatches(value, text));
}

export function textMatches(value: string, text: string): boolean {
  if (value === '*') return text !== '';
  if (value.startsWith('*')) return text.endsWith(value.slice(1));
  return value.endsWith('*') ? text.startsWith(value.slice(0, -1)) : text === value;
}

/** As a regular expression that means the text, but for its stars. */
function quoted(text: string, star = '\\*'): string {
  return text
    .split('*')
    .map(part => part.replace(/[^\w/]/g, '\\$&'))
    .join(star);
}
