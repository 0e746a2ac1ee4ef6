/** JSON as manifests and admission reviews hold it. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json;
}
/** Field names and list positions from the top. */
export type JsonPath = readonly (string | number)[];

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** The object that stands there; an empty one when it is something else or nothing. */
export function objectOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}

/** The objects of the list that stands there. */
export function objectsOf(value: Json | undefined): readonly JsonObject[] {
  return isList(value) ? value.filter(isObject) : [];
}

/** The text that stands there, else ''. */
export function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : '';
}

/** What stands at a path; undefined when the way there ends early. */
export function at(value: Json, path: JsonPath): Json | undefined {
  let found: Json | undefined = value;
  for (const step of path) {
    if (isList(found)) found = typeof step === 'number' ? found[step] : undefined;
    else if (isObject(found)) found = Object.hasOwn(found, step) ? found[String(step)] : undefined;
    else return undefined;
  }
  return found;
}

/** The same with another value at the path; what is not on the way is shared. Missing objects are made. */
export function withAt(value: Json | undefined, path: JsonPath, replacement: Json): Json {
  const [step, ...rest] = path;
  if (step === undefined) return replacement;
  if (isList(value) && typeof step === 'number') {
    return value.map((item, index) => (index === step ? withAt(item, rest, replacement) : item));
  }
  const object = objectOf(value);
  return { ...object, [step]: withAt(object[String(step)], rest, replacement) };
}

/** Whether two values are the same, fields in any order. */
export function isSame(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (isList(a) && isList(b)) return a.length === b.length && a.every((item, i) => isSame(item, b[i]));
  if (!isObject(a) || !isObject(b)) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every(name => Object.hasOwn(b, name) && isSame(a[name], b[name]))
  );
}
