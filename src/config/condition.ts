import { isAddressOrRange } from './addresses.ts';
import type { SectionsOf } from './document.ts';
import { nearest } from './nearest.ts';
import { quote } from './quote.ts';
import type { Report } from './report.ts';
import type { Condition, PolicyAction } from './resources.ts';
import type { Item, Section } from './section.ts';
import { checkServiceAccounts, wildcardProblem } from './source-values.ts';

/** What is wrong with a value; null when nothing is. */
export type Check = (value: string) => string | null;

const anyValue: Check = () => null;

/** What is wrong with an IP address or CIDR range; null when nothing is. */
export const ipBlockProblem: Check = value =>
  isAddressOrRange(value) ? null : `${quote(value)} is not an IP address or CIDR range such as 10.0.0.0/8`;

/** What is wrong with a port; null when nothing is. Istio takes 0 and leading zeros. */
export const portProblem: Check = value =>
  /^[0-9]+$/.test(value) && Number(value) <= 65_535 ? null : `${quote(value)} is not a port from 0 to 65535`;

/** The `when` keys without brackets, and what Istio checks of their values. */
const KEYS: ReadonlyMap<string, Check> = new Map([
  ['source.ip', ipBlockProblem],
  ['remote.ip', ipBlockProblem],
  ['destination.ip', ipBlockProblem],
  ['source.namespace', anyValue],
  ['source.serviceAccount', anyValue], // checkServiceAccounts, for the whole list
  ['source.principal', anyValue],
  ['source.trustDomain', wildcardProblem],
  ['request.auth.principal', anyValue],
  ['request.auth.audiences', anyValue],
  ['request.auth.presenter', anyValue],
  ['destination.port', portProblem],
  ['connection.sni', anyValue],
]);

/** Keys that name something in brackets: how they start, and how Istio writes them. */
const BRACKETED_KEYS: readonly (readonly [start: string, form: string])[] = [
  ['request.headers', 'request.headers[name]'],
  ['request.auth.claims', 'request.auth.claims[name]'],
  ['experimental.envoy.filters.', 'experimental.envoy.filters.filter[key]'],
];
const BRACKETED = /^[^[]+\[.+\]$/s;

/** True for a key that Outrider can evaluate; Istio's validation takes some more. */
export function isEvaluated(key: string): boolean {
  return KEYS.has(key) || canEvaluate(key);
}

const EVALUATED = [/^request\.headers\[.+\]$/s, /^request\.auth\.claims\[.+\]$/s];

/** Istio takes more keys than its own policy builder understands. */
function canEvaluate(key: string): boolean {
  return EVALUATED.some(form => form.test(key));
}

function cannot(key: string): string {
  return key.startsWith('experimental.')
    ? `${quote(key)} asks about metadata of Envoy's filters, which Outrider does not have`
    : `${quote(key)} passes Istio's validation, but there is no such attribute`;
}

function consequence(action: PolicyAction): string {
  return action === 'ALLOW'
    ? 'the rule never matches'
    : 'the condition is left out, which makes the rule wider: it matches whatever the rest of it does';
}

const NOT_IN_CUSTOM = new Set([
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
  'source.principal',
]);

interface Reading {
  readonly action: PolicyAction;
  readonly sections: SectionsOf;
}

/** Reads rules[].when[]. */
export function readConditions(rule: Section, reading: Reading): readonly Condition[] {
  return (rule.sections('when') ?? []).flatMap(section => readCondition(section, reading) ?? []);
}

function readCondition(section: Section, { action, sections }: Reading): Condition | null {
  const key = section.required('key', 'an attribute such as source.principal');
  const values = section.texts('values') ?? [];
  const notValues = section.texts('notValues') ?? [];
  section.close();
  if (key === null) return null;
  if (!section.hasEntries('values') && !section.hasEntries('notValues')) {
    section.fault(`key ${key} needs values or notValues with at least one value`);
  }
  const check = checkFor(key, section, action);
  for (const item of [...values, ...notValues]) checkValue(item, key, check, section);
  if (key === 'source.serviceAccount') {
    checkServiceAccounts(values, section, 'values');
    checkServiceAccounts(notValues, section, 'notValues');
  }
  if (action === 'CUSTOM' && (NOT_IN_CUSTOM.has(key) || key.startsWith('request.auth.')))
    section.error('key', `${key} cannot be used with action CUSTOM`);
  const condition: Condition = { key, values: values.map(textOf), notValues: notValues.map(textOf) };
  sections.set(condition, section);
  return condition;
}

const textOf = ({ value }: Item): string => value;

function checkFor(key: string, section: Section, action: PolicyAction): Check {
  const check = KEYS.get(key);
  if (check) return check;
  const bracketed = BRACKETED_KEYS.find(([start]) => key.startsWith(start));
  if (bracketed === undefined) section.error('key', unknownKey(key));
  else if (!BRACKETED.test(key)) section.error('key', `${quote(key)} must have the form ${bracketed[1]}`);
  else if (!canEvaluate(key)) section.warning('key', `${cannot(key)}; ${consequence(action)}`);
  return anyValue;
}

function unknownKey(key: string): string {
  if (key.startsWith('destination.labels')) return `${key} was replaced by the policy's selector`;
  if (key === 'destination.namespace') return `${key} was replaced by the policy's metadata.namespace`;
  const remedy = meant(key);
  return `${quote(key)} is not an attribute that Istio knows${remedy === null ? '' : `; did you mean ${remedy}?`}`;
}

/** What stands in brackets is not part of the word. */
function meant(key: string): string | null {
  const open = key.indexOf('[');
  if (open === -1) return nearest(key, KEYS.keys());
  const start = nearest(key.slice(0, open), ['request.headers', 'request.auth.claims']);
  return start === null ? null : start + key.slice(open);
}

function checkValue({ value, place, path }: Item, key: string, check: Check, { report }: Section): void {
  const problem = value === '' ? 'is empty; write a value or remove it' : check(value);
  if (problem !== null) report.error(place, `${path}: ${problem}`);
  if (key === 'source.principal') warnOfScheme({ value, place, path }, report);
}

/** Principals are compared without the scheme: one written with it is a policy that never matches. */
export function warnOfScheme({ value, place, path }: Item, report: Report): void {
  if (!value.startsWith('spiffe://')) return;
  report.warning(
    place,
    `${path}: never matches with spiffe:// in front; write trust-domain/ns/NAMESPACE/sa/SERVICE-ACCOUNT`,
  );
}
