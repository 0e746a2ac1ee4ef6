/** Tokens in the query: found as Envoy's QueryParamsMulti finds them, taken out without touching the others. */

const PERCENT = 0x25;
const AMPERSAND = 0x26;
const EQUALS = 0x3d;

/** The decoded value of the first parameter of that name; '' when it has none, null when there is no such parameter. */
export function paramValue(target: string, name: string): string | null {
  let start = target.indexOf('?') + 1;
  if (start === 0) return null;
  // Asked of every request: no list is made of what may be tens of thousands.
  for (let keyEnd = -1, escaped = false, at = start; at <= target.length; at++) {
    const c = at === target.length ? AMPERSAND : target.charCodeAt(at);
    if (c === PERCENT) escaped = true;
    else if (c === EQUALS && keyEnd === -1) keyEnd = at;
    else if (c === AMPERSAND) {
      const end = keyEnd === -1 ? at : keyEnd;
      const maybe = escaped || end - start === name.length;
      if (maybe && decode(target.slice(start, end)) === name) return decode(target.slice(end + 1, at));
      start = at + 1;
      keyEnd = -1;
      escaped = false;
    }
  }
  return null;
}

/**
 * Path and query without any parameter of that name. Envoy decodes, sorts and joins the others anew, which changes what
 * the app reads (`%26` becomes `&`); here they stay byte for byte.
 */
export function withoutParam(target: string, name: string): string {
  const kept = paramsOf(target).filter(param => decode(param.split('=', 1)[0] ?? '') !== name);
  const path = target.slice(0, target.indexOf('?'));
  return kept.length === 0 ? path : `${path}?${kept.join('&')}`;
}

function paramsOf(target: string): string[] {
  const query = target.indexOf('?');
  return query === -1 ? [] : target.slice(query + 1).split('&');
}

/** `%41` becomes its byte; `+` and a `%` without two digits stay. */
function decode(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%([0-9a-f]{2})/gi, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}
