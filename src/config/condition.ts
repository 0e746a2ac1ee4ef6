import { isAddressOrRange } from './addresses.ts';
import { quote } from './quote.ts';
import type { Report } from './report.ts';
import type { Condition } from './resources.ts';
import type { Item, Section } from './section.ts';
import type { Unsupported } from './unsupported.ts';

type Check = (value: string) => string | null;

const anyValue: Check = () => null;

/** What is wrong with an IP address or CIDR range; null when nothing is. */
export const ipBlockProblem: Check = value =>
  isAddressOrRange(value) ? null : `${quote(value)} is not an IP address or CIDR range such as 10.0.0.0/8`;

/** What is wrong with a port; null when nothing is. Istio takes 0 and leading zeros. */
export const portProblem: Check = value =>
  /^[0-9]+$/.test(value) && Number(value) <= 65_535 ? null : `${quote(value)} is not a port from 0 to 65535`;

/** The `when` keys that Outrider evaluates, and what Istio checks of their values. */
const SUPPORTED: ReadonlyMap<string, Check> = new Map([
  ['source.principal', anyValue],
  ['source.namespace', anyValue],
  ['source.ip', ipBlockProblem],
  ['destination.port', portProblem],
]);

/** Keys that Istio knows and Outrider does not evaluate yet. */
const NOT_YET = new Set([
  'remote.ip',
  'source.serviceAccount',
  'source.trustDomain',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
  'destination.ip',
  'connection.sni',
]);
const NOT_YET_PREFIXES = ['request.auth.claims', 'experimental.envoy.filters.'];
const BRACKETED = /^[^[]+\[.+\]$/s;

/** Reads rules[].when[]. */
export function readConditions(rule: Section, unsupported: Unsupported): readonly Condition[] {
  return (rule.sections('when') ?? []).flatMap(section => readCondition(section, unsupported) ?? []);
}

function readCondition(section: Section, unsupported: Unsupported): Condition | null {
  const key = section.required('key', 'an attribute such as source.principal');
  const values = section.texts('values') ?? [];
  const notValues = section.texts('notValues') ?? [];
  section.close();
  if (key === null) return null;
  if (!section.hasEntries('values') && !section.hasEntries('notValues')) {
    section.fault(`key ${key} needs values or notValues with at least one value`);
  }
  const check = checkFor(key, section, unsupported);
  for (const item of [...values, ...notValues]) checkValue(item, key, check, section);
  return { key, values: values.map(textOf), notValues: notValues.map(textOf) };
}

const textOf = ({ value }: Item): string => value;

function checkFor(key: string, section: Section, unsupported: Unsupported): Check {
  const check = SUPPORTED.get(key);
  if (check) return check;
  if (NOT_YET.has(key)) unsupported(section.at('key'), `${section.pathOf('key')}: ${key}`);
  else if (key.startsWith('request.headers')) checkBrackets(key, 'request.headers', section);
  else if (NOT_YET_PREFIXES.some(prefix => key.startsWith(prefix))) {
    checkBrackets(key, 'request.auth.claims', section);
    unsupported(section.at('key'), `${section.pathOf('key')}: ${key}`);
  } else section.error('key', unknownKey(key));
  return anyValue;
}

function checkBrackets(key: string, example: string, section: Section): void {
  const wellFormed =
    BRACKETED.test(key) && (example !== 'request.headers' || key.startsWith('request.headers['));
  if (!wellFormed) section.error('key', `${quote(key)} must have the form ${example}[name]`);
}

function unknownKey(key: string): string {
  if (key.startsWith('destination.labels')) return `${key} was replaced by the policy's selector`;
  if (key === 'destination.namespace') return `${key} was replaced by the policy's metadata.namespace`;
  return `${quote(key)} is not an attribute that Istio knows`;
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
