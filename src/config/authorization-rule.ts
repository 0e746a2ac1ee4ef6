import { ipBlockProblem, portProblem, readConditions, warnOfScheme } from './condition.ts';
import { pathTemplateProblem } from './path-template.ts';
import type { Operation, Rule, Source } from './resources.ts';
import type { Item, Section } from './section.ts';
import type { Unsupported } from './unsupported.ts';

type Check = (value: string) => string | null;

const SOURCE_FIELDS = [
  ['principals', null],
  ['notPrincipals', null],
  ['namespaces', null],
  ['notNamespaces', null],
  ['ipBlocks', ipBlockProblem],
  ['notIpBlocks', ipBlockProblem],
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

/** Fields of a source that Istio knows and Outrider does not evaluate yet. */
const SOURCE_NOT_YET = [
  'requestPrincipals',
  'notRequestPrincipals',
  'serviceAccounts',
  'notServiceAccounts',
  'trustDomains',
  'notTrustDomains',
  'remoteIpBlocks',
  'notRemoteIpBlocks',
];
const MAX_SOURCES = 512; // Istio's custom resource definition

/** Reads one of spec.rules. */
export function readRule(rule: Section, unsupported: Unsupported): Rule {
  const sources = readList(rule, 'from', 'source', MAX_SOURCES);
  const from = sources?.map(source => readSource(source, unsupported)) ?? null;
  const operations = readList(rule, 'to', 'operation', Number.POSITIVE_INFINITY);
  const to = operations?.map(operation => readMatch(operation, OPERATION_FIELDS, false)) ?? null;
  const when = readConditions(rule, unsupported);
  rule.close();
  return { from, to, when };
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

function readSource(section: Section, unsupported: Unsupported): Source {
  let asked = false;
  for (const name of SOURCE_NOT_YET) {
    section.texts(name);
    if (!section.hasEntries(name)) continue;
    asked = true;
    unsupported(section.keyOf(name), section.pathOf(name));
  }
  return readMatch(section, SOURCE_FIELDS, asked);
}

/** Reads the fields of a source or an operation; an empty list is absent, as in Istio, with a warning. */
function readMatch<K extends string>(
  section: Section,
  fields: readonly (readonly [K, Check | null])[],
  askedBefore: boolean,
): { readonly [field in K]?: readonly string[] } {
  const match: { [field in K]?: readonly string[] } = {};
  let asked = askedBefore;
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
  return match;
}

function checkItem(item: Item, field: string, check: Check | null, { report }: Section): void {
  const { value, place, path } = item;
  const problem = value === '' ? 'is empty; write a value or remove it' : (check?.(value) ?? null);
  if (problem !== null) report.error(place, `${path}: ${problem}`);
  if (field === 'principals' || field === 'notPrincipals') warnOfScheme(item, report);
}
