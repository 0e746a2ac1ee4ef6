/** Tokens in the query: found as Envoy's QueryParamsMulti finds them, taken out without touching the others. */

/** The decoded value of the first parameter of that name; '' when it has none, null when there is no such parameter. */
export function paramValue(target: string, name: string): string | null {
  for (const param of paramsOf(target)) {
    const equals = param.indexOf('=');
    const [key, value] = equals === -1 ? [param, ''] : [param.slice(0, equals), param.slice(equals + 1)];
    if (decode(key) === name) return decode(value);
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
