import { type Check, ipBlockProblem, portProblem, readConditions, warnOfScheme } from './condition.ts';
import type { SectionsOf } from './document.ts';
import { pathTemplateProblem } from './path-template.ts';
import type { Operation, PolicyAction, Rule, Source } from './resources.ts';
import type { Item, Section } from './section.ts';
import { checkServiceAccounts, trustDomainValueProblem } from './source-values.ts';

const SOURCE_FIELDS = [
  ['principals', null],
  ['notPrincipals', null],
  ['requestPrincipals', null],
  ['notRequestPrincipals', null],
  ['namespaces', null],
  ['notNamespaces', null],
  ['serviceAccounts', null],
  ['notServiceAccounts', null],
  ['trustDomains', trustDomainValueProblem],
  ['notTrustDomains', trustDomainValueProblem],
  ['ipBlocks', ipBlockProblem],
  ['notIpBlocks', ipBlockProblem],
  ['remoteIpBlocks', ipBlockProblem],
  ['notRemoteIpBlocks', ipBlockProblem],
] as const satisfies readonly (readonly [keyof Source, Check | null])[];

const OPERATION_FIELDS = [
  ['hosts', null],
  ['notHosts', null],
  ['ports', portProblem],
  ['notPorts', portProblem],
  ['methods', null],
  ['notMethods', null],
  ['paths', pathTemplateProblem],
  ['notPaths', pathTemplateProblem],
] as const satisfies readonly (readonly [keyof Operation, Check | null])[];

/** A CUSTOM rule is matched before tokens are verified, and Istio gives it no peer identity either. */
const NOT_IN_CUSTOM = SOURCE_FIELDS.map(([name]) => name).filter(name => !/ipblocks$/i.test(name));
const BESIDE_ACCOUNTS = ['principals', 'notPrincipals', 'namespaces', 'notNamespaces'];
const MAX_SOURCES = 512; // Istio's custom resource definition

/** Reads one of spec.rules. */
export function readRule(section: Section, action: PolicyAction, sections: SectionsOf): Rule {
  const read = { action, sections };
  const from = readList(section, 'from', 'source', MAX_SOURCES)?.map(entry => readSource(entry, read));
  const to = readList(section, 'to', 'operation', Number.POSITIVE_INFINITY)?.map(entry =>
    readMatch(entry, OPERATION_FIELDS, sections),
  );
  const when = readConditions(section, read);
  section.close();
  const rule: Rule = { from: from ?? null, to: to ?? null, when };
  sections.set(rule, section);
  return rule;
}

/** The `source` of each `from`, or the `operation` of each `to`; an empty list is absent, as in Istio. */
function readList(rule: Section, field: string, inner: string, limit: number): readonly Section[] | null {
  const entries = rule.sections(field);
  if (!entries) return null;
  if (entries.length === 0)
    rule.warning(field, 'is empty, which means absent: it matches everything; remove it');
  if (entries.length > limit) rule.error(field, `has more than ${limit} entries`);
  const found = entries.flatMap(entry => {
    const section = entry.section(inner);
    if (!section && !entry.has(inner)) entry.fault(`needs a ${inner}`);
    entry.close();
    return section ?? [];
  });
  return entries.length === 0 ? null : found;
}

interface Reading {
  readonly action: PolicyAction;
  readonly sections: SectionsOf;
}

function readSource(section: Section, { action, sections }: Reading): Source {
  const source = readMatch(section, SOURCE_FIELDS, sections);
  for (const field of ['serviceAccounts', 'notServiceAccounts']) {
    checkServiceAccounts(section.texts(field) ?? [], section, field);
    const beside = section.has(field) && BESIDE_ACCOUNTS.find(name => section.has(name));
    if (beside) section.error(field, `cannot stand beside ${beside}; write two sources`);
  }
  if (action !== 'CUSTOM') return source;
  for (const field of NOT_IN_CUSTOM) {
    if (section.hasEntries(field)) section.error(field, 'cannot be used with action CUSTOM');
  }
  return source;
}

/** Reads the fields of a source or an operation; an empty list is absent, as in Istio, with a warning. */
function readMatch<K extends string>(
  section: Section,
  fields: readonly (readonly [K, Check | null])[],
  sections: SectionsOf,
): { readonly [field in K]?: readonly string[] } {
  const match: { [field in K]?: readonly string[] } = {};
  let asked = false;
  for (const [name, check] of fields) {
    const items = section.texts(name);
    if (section.isEmpty(name)) section.warning(name, 'is empty, which means absent; remove it');
    else if (section.has(name)) asked = true;
    if (!items || items.length === 0) continue;
    match[name] = items.map(({ value }) => value);
    for (const item of items) checkItem(item, name, check, section);
  }
  section.close();
  if (!asked) section.fault('is empty; write at least one field with a value');
  sections.set(match, section);
  return match;
}

function checkItem(item: Item, field: string, check: Check | null, { report }: Section): void {
  const { value, place, path } = item;
  const problem = value === '' ? 'is empty; write a value or remove it' : (check?.(value) ?? null);
  if (problem !== null) report.error(place, `${path}: ${problem}`);
  if (field === 'principals' || field === 'notPrincipals') warnOfScheme(item, report);
}
