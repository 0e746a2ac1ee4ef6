/** Request targets as logs and spans may show them. */

/** What begins as a JWT does, and whatever a query calls a token. */
const TOKEN = /(?<=[?&;=])eyJ[\w.%-]+|(?<=[?&;](?:access_|id_)?token=)[^&;]+/g;

/** Logs and spans are read by more people than may act as the caller. The path itself stays as it is: policy matches it. */
export function withoutTokens(target: string): string {
  const query = target.indexOf('?');
  if (query === -1) return target;
  if (!target.includes('eyJ', query) && !target.includes('token=', query)) return target;
  return target.slice(0, query) + target.slice(query).replace(TOKEN, '(token)');
}
