/** A rule as the manifest has it, field by field: groups (`from`, `to`, `when`) of alternatives of fields. */
import type { Operation, Rule, Source } from '../config/resources.ts';
import { OPERATION_FIELDS, SOURCE_FIELDS, type Subject, subjectOf } from './subject.ts';

/** One field as written, with where to find it. */
export interface FieldValues {
  /** null = a `when` key that Outrider does not decide on. */
  readonly subject: Subject | null;
  readonly field: string;
  readonly values: readonly string[];
  readonly negated: boolean;
}

export type FieldGroup = readonly (readonly FieldValues[])[];

/** All that a rule asks, in the manifest's order. */
export function fieldsOf({ from, to, when }: Rule): FieldGroup[] {
  const groups: FieldGroup[] = [];
  if (from !== null && from.length > 0) groups.push(from.map(sourceFields));
  if (to !== null && to.length > 0) groups.push(to.map(operationFields));
  if (when.length > 0) groups.push([when.flatMap(whenFields)]);
  return groups;
}

function sourceFields(source: Source, at: number, all: readonly Source[]): FieldValues[] {
  const fields: FieldValues[] = [];
  const prefix = all.length > 1 ? `from[${at}]` : 'from';
  for (const [name, not, subject] of SOURCE_FIELDS) {
    add(fields, source[name], { subject, field: `${prefix}.${name}`, negated: false });
    add(fields, source[not], { subject, field: `${prefix}.${not}`, negated: true });
  }
  return fields;
}

function operationFields(operation: Operation, at: number, all: readonly Operation[]): FieldValues[] {
  const fields: FieldValues[] = [];
  const prefix = all.length > 1 ? `to[${at}]` : 'to';
  for (const [name, not, subject] of OPERATION_FIELDS) {
    add(fields, operation[name], { subject, field: `${prefix}.${name}`, negated: false });
    add(fields, operation[not], { subject, field: `${prefix}.${not}`, negated: true });
  }
  return fields;
}

function whenFields({ key, values, notValues }: Rule['when'][number]): FieldValues[] {
  const fields: FieldValues[] = [];
  const subject = subjectOf(key);
  const field = `when ${key}`;
  const not = values.length > 0 ? `${field} notValues` : field;
  add(fields, values, { subject, field, negated: false });
  add(fields, notValues, { subject, field: not, negated: true });
  return fields;
}

function add(
  fields: FieldValues[],
  values: readonly string[] | undefined,
  { subject, field, negated }: Omit<FieldValues, 'values'>,
): void {
  if (values !== undefined && values.length > 0) fields.push({ subject, field, values, negated });
}
