/** Upgrade (RFC 9110 7.8): what a client may offer, and what may be chosen of it. */

/** Upgrade without h2c: an upgrade to HTTP/2 would carry later requests past policy (RFC 9113 removed it). */
export function offeredProtocols(upgrade: string): string {
  return upgrade
    .split(',')
    .map(offer => offer.trim())
    .filter(offer => offer !== '' && !/^h2c?(?:\/|$)/i.test(offer))
    .join(', ');
}

/** Whether a 101 names only what was offered; null = no Upgrade field. */
export function isSwitchAllowed(offer: string | null, answer: string | null): boolean {
  const offered = offer === null ? '' : offeredProtocols(offer);
  if (offered === '' || answer === null) return false;
  const names = offered.toLowerCase().split(', ');
  return answer
    .toLowerCase()
    .split(',')
    .every(name => names.includes(name.trim()));
}
