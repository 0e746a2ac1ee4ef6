// Hot path: no promise, closure or string per chunk.
/** What policy and the logs read of a header list, as they would read it of an HTTP/1.1 head. */
import type { FieldList } from './field-list.ts';
import { HOST, isEndToEnd } from './fields.ts';
import { MEMO_NAME } from './h1-memo.ts';
import { COOKIE, KIND_BITS } from './h2-field-kind.ts';

/** Values of the fields with that name, from `first` on; none of the memo. */
export function valuesIn({ names, values }: FieldList, first: number, name: string): string[] {
  const found: string[] = [];
  if (name === MEMO_NAME) return found;
  for (let i = first; i < names.length; i++) if (names[i] === name) found.push(values[i] as string);
  return found;
}

/** The first value of a field of that kind, or null. */
export function valueIn({ kinds, values }: FieldList, code: number): string | null {
  for (let i = 0; i < kinds.length; i++) {
    if (((kinds[i] as number) & KIND_BITS) === code) return values[i] as string;
  }
  return null;
}

/**
 * Every field from `first` on that goes from end to end.
 * @param cookie stands at the place of the first cookie field, for all of them; null = they are as they came
 * @param host stands first, in place of a field of that name; null = it is a field like any other
 */
export function fieldsIn(
  list: FieldList,
  first: number,
  cookie: string | null,
  host: string | null,
): (readonly [string, string])[] {
  const { names, values, kinds } = list;
  const found: (readonly [string, string])[] = host === null ? [] : [['host', host]];
  let joined = false;
  for (let i = first; i < names.length; i++) {
    const kind = (kinds[i] as number) & KIND_BITS;
    if ((kind === HOST && host !== null) || !isEndToEnd(kind)) continue;
    const joins = cookie !== null && kind === COOKIE;
    if (!joins || !joined) found.push([names[i] as string, joins ? cookie : (values[i] as string)]);
    joined ||= joins;
  }
  return found;
}
