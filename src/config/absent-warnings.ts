/** Exclusions that also hold for who has nothing to exclude: an absent attribute makes every `not…` true. */
import type { SectionsOf } from './document.ts';
import type { AuthorizationPolicy, Condition, PolicyAction, Resources, Source } from './resources.ts';
import type { Section } from './section.ts';

const PEER = ['principals', 'namespaces', 'serviceAccounts', 'trustDomains'] as const;
const NOT_PEER = ['notPrincipals', 'notNamespaces', 'notServiceAccounts', 'notTrustDomains'] as const;
const PEER_KEYS = new Set([
  'source.principal',
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
]);

/** Warns of `not…` fields and notValues of ALLOW and DENY rules where the attribute may be absent. */
export function warnOfAbsent(resources: Resources, sections: SectionsOf): void {
  const plaintext = !isStrict(resources);
  for (const policy of resources.authorizationPolicies) {
    if (policy.bound || (policy.action !== 'ALLOW' && policy.action !== 'DENY')) continue;
    warnOfPolicy(policy, plaintext, sections);
  }
}

function warnOfPolicy(
  { action, rules }: AuthorizationPolicy,
  plaintext: boolean,
  sections: SectionsOf,
): void {
  for (const { from, when } of rules) {
    const peerKnown = !plaintext || when.some(({ key, values }) => PEER_KEYS.has(key) && values.length > 0);
    const tokenKnown = when.some(({ key, values }) => key.startsWith('request.auth.') && values.length > 0);
    for (const source of from ?? []) {
      const section = sections.get(source);
      if (section) warnOfSource(source, { section, action, peerKnown, tokenKnown });
    }
    for (const condition of when) {
      const section = sections.get(condition);
      const known = condition.key.startsWith('request.auth.')
        ? tokenKnown
        : PEER_KEYS.has(condition.key) && peerKnown;
      if (section && !known) warnOfCondition(condition, section, action);
    }
  }
}

interface At {
  readonly section: Section;
  readonly action: PolicyAction;
  readonly peerKnown: boolean;
  readonly tokenKnown: boolean;
}

function warnOfSource(source: Source, { section, action, peerKnown, tokenKnown }: At): void {
  const peer = NOT_PEER.find(field => excludesSome(source[field]));
  if (peer && !peerKnown && PEER.every(field => source[field] === undefined)) {
    section.warning(
      peer,
      `holds for a peer without a certificate too, which ${fate(action)}; ${remedy(action, 'principals')}`,
    );
  }
  const { requestPrincipals, notRequestPrincipals } = source;
  if (excludesSome(notRequestPrincipals) && !requestPrincipals && !tokenKnown) {
    section.warning(
      'notRequestPrincipals',
      `holds for a request without a token too, which ${fate(action)}; ${remedy(action, 'requestPrincipals')}`,
    );
  }
}

function warnOfCondition(
  { key, values, notValues }: Condition,
  section: Section,
  action: PolicyAction,
): void {
  const absent = absence(key);
  if (absent === null || values.length > 0 || !excludesSome(notValues)) return;
  section.warning(
    'notValues',
    `holds for ${absent} too, which ${fate(action)}; add values: ["*"] if that is not meant`,
  );
}

/** Who has no such attribute; null when everyone does. */
function absence(key: string): string | null {
  if (PEER_KEYS.has(key)) return 'a peer without a certificate';
  if (key.startsWith('request.auth.')) return 'a request without the claim, or without a token';
  if (/^request\.headers\[[^:]/.test(key) && !/^request\.headers\[host\]$/i.test(key))
    return 'a request without the header';
  return key === 'connection.sni' ? 'a connection without a server name' : null;
}

/** Some values and no "*": that one is written to mean absence. */
function excludesSome(values: readonly string[] | undefined): boolean {
  return values !== undefined && values.length > 0 && !values.includes('*');
}

function fate(action: PolicyAction): string {
  return action === 'ALLOW' ? 'is therefore allowed' : 'is therefore denied';
}

function remedy(action: PolicyAction, field: string): string {
  return action === 'ALLOW'
    ? `add ${field}: ["*"] beside it`
    : `add ${field}: ["*"] beside it if that is not meant`;
}

/** True when the files let no plaintext in anywhere: STRICT for the whole mesh, and nowhere less. */
function isStrict({ mesh, peerAuthentications }: Resources): boolean {
  const wide = peerAuthentications.filter(
    ({ metadata, selector }) => metadata.namespace === mesh.rootNamespace && selector === null,
  );
  const modes = peerAuthentications.flatMap(({ mode, ports }) => [mode, ...ports.map(port => port.mode)]);
  return (
    wide.length > 0 &&
    wide.every(({ mode }) => mode === 'STRICT') &&
    modes.every(mode => mode === 'STRICT' || mode === null)
  );
}
