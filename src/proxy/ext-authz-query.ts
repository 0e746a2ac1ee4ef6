/** Query parameters that an external authorizer sets and removes. */
import type { Field } from './ext-authz-question.ts';

/**
 * The target with its query changed: a parameter that is set takes the place of the first of its name, or the end; the
 * others of its name go. What stays, stays byte for byte; what comes is percent-encoded.
 *
 * @returns null when nothing changes
 */
export function editedTarget(
  target: string,
  set: readonly Field[],
  remove: readonly string[],
): string | null {
  if (set.length === 0 && remove.length === 0) return null;
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const before = mark < 0 || mark + 1 === target.length ? [] : target.slice(mark + 1).split('&');
  // Of several settings of one name the last holds; a removal wins over a setting.
  const wanted = new Map(set);
  const gone = new Set(remove);
  for (const name of gone) wanted.delete(name);
  const written = new Set<string>();
  const after: string[] = [];
  for (const parameter of before) {
    const name = nameOf(parameter);
    if (gone.has(name)) continue;
    const value = wanted.get(name);
    if (value === undefined) after.push(parameter);
    else if (!written.has(name)) after.push(encoded(name, value));
    if (value !== undefined) written.add(name);
  }
  for (const [name, value] of wanted) if (!written.has(name)) after.push(encoded(name, value));
  const edited = after.length === 0 ? path : `${path}?${after.join('&')}`;
  return edited === target ? null : edited;
}

/** As an app reads it: `+` and percent-encoding undone, or a client could hide `role` behind `%72ole`. */
function nameOf(parameter: string): string {
  const end = parameter.indexOf('=');
  return (end < 0 ? parameter : parameter.slice(0, end))
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function encoded(name: string, value: string): string {
  return `${percent(name)}=${percent(value)}`;
}

/** Latin1 text, one character a byte: RFC 3986 2.3's unreserved characters stay. */
function percent(text: string): string {
  return text.replace(
    /[^A-Za-z0-9._~-]/g,
    c => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
