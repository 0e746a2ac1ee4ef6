/** The difference of two JSON values as a JSON Patch (RFC 6902): what the webhook answers, and what is done to a YAML file. */
import { isList, isObject, isSame, type Json, type JsonObject, type JsonPath } from './json-value.ts';

export type Edit =
  | { readonly op: 'add' | 'replace'; readonly path: JsonPath; readonly value: Json }
  | { readonly op: 'remove'; readonly path: JsonPath };

/** The edits that make `after` of `before`, in the order in which they are to be done. Lists grow; one that does not is replaced. */
export function editsBetween(before: Json, after: Json, path: JsonPath = []): readonly Edit[] {
  if (isSame(before, after)) return [];
  if (isObject(before) && isObject(after)) return objectEdits(before, after, path);
  if (isList(before) && isList(after)) return listEdits(before, after, path);
  return [{ op: 'replace', path, value: after }];
}

function objectEdits(before: JsonObject, after: JsonObject, path: JsonPath): readonly Edit[] {
  const removed = Object.keys(before).filter(name => !Object.hasOwn(after, name));
  const kept = Object.entries(after).flatMap(([name, value]): readonly Edit[] => {
    const old = before[name];
    if (!Object.hasOwn(before, name) || old === undefined)
      return [{ op: 'add', path: [...path, name], value }];
    return editsBetween(old, value, [...path, name]);
  });
  return [...removed.map((name): Edit => ({ op: 'remove', path: [...path, name] })), ...kept];
}

/** Items are the same thing when they have the same name, as containers and volumes do. */
function listEdits(before: readonly Json[], after: readonly Json[], path: JsonPath): readonly Edit[] {
  if (before.length === after.length) {
    return after.flatMap((value, index) => editsBetween(before[index] ?? null, value, [...path, index]));
  }
  const edits: Edit[] = [];
  let next = 0;
  for (const [index, value] of after.entries()) {
    const old = before[next];
    if (old !== undefined && isOneThing(old, value)) {
      edits.push(...editsBetween(old, value, [...path, index]));
      next++;
    } else edits.push({ op: 'add', path: [...path, index], value });
  }
  return next === before.length ? edits : [{ op: 'replace', path, value: after }];
}

function isOneThing(a: Json, b: Json): boolean {
  if (!isObject(a) || !isObject(b)) return isSame(a, b);
  return a.name === undefined ? isSame(a, b) : a.name === b.name;
}

/** The edits as RFC 6902 writes them, paths as JSON Pointers (RFC 6901). */
export function asJsonPatch(edits: readonly Edit[]): readonly JsonObject[] {
  return edits.map(edit =>
    edit.op === 'remove'
      ? { op: edit.op, path: pointer(edit.path) }
      : { op: edit.op, path: pointer(edit.path), value: edit.value },
  );
}

function pointer(path: JsonPath): string {
  return path.map(step => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
