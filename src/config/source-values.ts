/** What Istio checks of service accounts and trust domains (pkg/config/security). */
import { quote } from './quote.ts';
import type { Item, Section } from './section.ts';

const MAX_ACCOUNTS = 16;
const MAX_ACCOUNT = 320; // bytes

/** Reports what is wrong with a list of `serviceAccount` and `namespace/serviceAccount`; empty values are reported elsewhere. */
export function checkServiceAccounts(items: readonly Item[], section: Section, field: string): void {
  if (items.length > MAX_ACCOUNTS) section.error(field, `has more than ${MAX_ACCOUNTS} values`);
  for (const { value, place, path } of items) {
    const problem = value === '' ? null : serviceAccountProblem(value);
    if (problem !== null) section.report.error(place, `${path}: ${problem}`);
  }
}

function serviceAccountProblem(value: string): string | null {
  if (value.includes('*')) return `${quote(value)} holds a wildcard; service accounts are compared whole`;
  const parts = value.split('/');
  if (parts.length > 2 || parts.includes(''))
    return `${quote(value)} must have the form serviceAccount or namespace/serviceAccount`;
  return Buffer.byteLength(value) > MAX_ACCOUNT ? `has more than ${MAX_ACCOUNT} characters` : null;
}

/** At most one wildcard, at an edge; null when nothing is wrong. */
export function wildcardProblem(value: string): string | null {
  const at = value.indexOf('*');
  if (at < 0) return null;
  if (at !== value.lastIndexOf('*')) return `${quote(value)} holds more than one wildcard`;
  return at === 0 || at === value.length - 1
    ? null
    : `${quote(value)} holds a wildcard in its middle; it can stand at the start or the end`;
}

/** What is wrong with one of trustDomains; null when nothing is. */
export function trustDomainValueProblem(value: string): string | null {
  return (
    wildcardProblem(value) ??
    (value.includes('/') ? `${quote(value)} holds "/"; name the trust domain alone` : null)
  );
}
