/** Values that never match, or match less than they seem to. */
import type { SectionsOf } from './document.ts';
import { quote } from './quote.ts';
import type { AuthorizationPolicy, PolicyAction, Resources } from './resources.ts';
import type { Item, Section } from './section.ts';

/** Warns of hosts without their form with a port, and of paths, methods and SNI that no request can have. */
export function warnOfValues({ authorizationPolicies }: Resources, sections: SectionsOf): void {
  for (const policy of authorizationPolicies) {
    if (!policy.bound) warnOfPolicy(policy, sections);
  }
}

function warnOfPolicy({ action, rules }: AuthorizationPolicy, sections: SectionsOf): void {
  for (const { to, when } of rules) {
    for (const operation of to ?? []) {
      const section = sections.get(operation);
      if (!section) continue;
      for (const field of ['hosts', 'notHosts']) warnOfHosts(section, field, action);
      for (const field of ['paths', 'notPaths']) warnOf(section, field, pathNeverMatches);
      for (const field of ['methods', 'notMethods']) warnOf(section, field, methodNeverMatches);
    }
    for (const condition of when) {
      const section = sections.get(condition);
      if (!section || condition.key !== 'connection.sni') continue;
      for (const field of ['values', 'notValues']) warnOf(section, field, sniNeverMatches);
    }
  }
}

function warnOf(section: Section, field: string, problemOf: (value: string) => string | null): void {
  for (const { value, place, path } of section.texts(field) ?? []) {
    const problem = problemOf(value);
    if (problem !== null) section.report.warning(place, `${path}: ${problem}`);
  }
}

/** One line a list, at the first host that stands without a port beside it. */
function warnOfHosts(section: Section, field: string, action: PolicyAction): void {
  const items = section.texts(field) ?? [];
  const item = items.find(({ value }) => lacksPort(value, items));
  if (!item) return;
  const { value, place, path } = item;
  const also = value.startsWith('*') ? `"${value}:PORT" for each port` : quote(`${value}:*`);
  section.report.warning(
    place,
    `${path}: does not match a Host header with a port${effectOf(field, action)}; add ${also}`,
  );
}

function effectOf(field: string, action: PolicyAction): string {
  const missed = field === 'hosts' ? 'missed' : 'matched';
  if (action === 'DENY') return `, which is therefore ${missed === 'missed' ? 'not denied' : 'denied'}`;
  if (action === 'ALLOW') return `, which is therefore ${missed === 'missed' ? 'not allowed' : 'allowed'}`;
  return '';
}

/** True for `a.com` and `*.a.com` without a pattern beside them that takes a port too. */
function lacksPort(host: string, all: readonly Item[]): boolean {
  if (host.endsWith('*') || /:[0-9]+$/.test(host)) return false;
  const name = host.toLowerCase();
  return !all.some(({ value }) => {
    const other = value.toLowerCase();
    if (other === '*' || other.startsWith(`${name}:`)) return true;
    return (
      other.endsWith('*') &&
      !other.startsWith('*') &&
      name.startsWith(other.slice(0, -1)) &&
      !name.startsWith('*')
    );
  });
}

/** Exact paths and prefixes are compared with a path that starts with "/" and has lost its query. */
function pathNeverMatches(value: string): string | null {
  if (value.includes('?') || value.includes('#'))
    return 'never matches: paths are compared without query and fragment';
  return value.startsWith('/') || value.startsWith('*') || value === ''
    ? null
    : `never matches: the path of a request starts with "/"; write ${quote(`/${value}`)}`;
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH']);

function methodNeverMatches(value: string): string | null {
  const upper = value.toUpperCase();
  return value !== upper && METHODS.has(upper)
    ? `does not match ${upper}: methods are compared in their case; write ${upper}`
    : null;
}

function sniNeverMatches(value: string): string | null {
  const lower = value.replace(/[A-Z]/g, letter => letter.toLowerCase());
  return value === lower
    ? null
    : `never matches: server names are compared in lower case; write ${quote(lower)}`;
}
