const LITERAL = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/; // pchar without "*" (RFC 3986 section 3.3)

/** What is wrong with a path as a template (Istio's rules for `{*}` and `{**}`); null when nothing is. */
export function pathTemplateProblem(path: string): string | null {
  const template = path.includes('{*}') || path.includes('{**}');
  let any = false;
  for (const segment of path.replace(/^\/+|\/+$/g, '').split('/')) {
    if (segment === '{*}' || segment === '{**}') {
      if (any) return '{**} must be the last operator of a path template';
      any = segment === '{**}';
      continue;
    }
    if (/[{}]/.test(segment))
      return '"{" and "}" are for the templates {*} and {**} only, each a whole segment';
    if (template && !LITERAL.test(segment)) {
      return `in a path template, segment ${JSON.stringify(segment)} may not be empty or hold "*", "?" or other reserved characters`;
    }
  }
  return null;
}
