/** HTTP/1.1 methods that pass: any other is answered with 400, as Envoy's parser does. */

// The IANA HTTP Method Registry (RFC 9110 16.1) and what caches and media servers use besides. Methods are case-sensitive
// (RFC 9110 9.1): `get` is unknown, so an app that folds case cannot be reached past a policy on GET.
const KNOWN: ReadonlySet<string> = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'],
  ...['ACL', 'BASELINE-CONTROL', 'BIND', 'CHECKIN', 'CHECKOUT', 'COPY', 'LABEL', 'LINK', 'LOCK', 'MERGE'],
  ...['MKACTIVITY', 'MKCALENDAR', 'MKCOL', 'MKREDIRECTREF', 'MKWORKSPACE', 'MOVE', 'ORDERPATCH', 'PROPFIND'],
  ...['PROPPATCH', 'REBIND', 'REPORT', 'SEARCH', 'UNBIND', 'UNCHECKOUT', 'UNLINK', 'UNLOCK', 'UPDATE'],
  ...[
    'UPDATEREDIRECTREF',
    'VERSION-CONTROL',
    'M-SEARCH',
    'NOTIFY',
    'PURGE',
    'SOURCE',
    'SUBSCRIBE',
    'UNSUBSCRIBE',
  ],
]);

/** Whether an HTTP/1.1 request with this method is taken; HTTP/2 takes any. */
export function isKnownMethod(method: string): boolean {
  return method === 'GET' || KNOWN.has(method);
}
