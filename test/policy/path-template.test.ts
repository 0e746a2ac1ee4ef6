import fc from 'fast-check';
import t from 'tap';
import { compileTemplate, matchesTemplate } from '../../src/policy/path-template.ts';

const PCHAR = "[A-Za-z0-9\\-._~%!$&'()*+,;:@=]";

/** What Envoy makes of a template. */
function envoyPattern(template: string): RegExp {
  const segments = template.split('/').map(segment => {
    if (segment === '{*}') return `${PCHAR}+`;
    if (segment === '{**}') return `(?:${PCHAR}|/)*`;
    return segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  });
  return new RegExp(`^${segments.join('/')}$`);
}

const literals = fc.constantFrom('a', 'ab', 'a.b', '$x', '');
const ones = fc.array(fc.oneof(literals, fc.constant('{*}')), { maxLength: 4 });
// Validation lets `{**}` stand once, behind every other operator.
const templates = fc
  .tuple(ones, fc.option(fc.array(literals, { maxLength: 2 })))
  .map(([before, after]) => ['', ...before, ...(after === null ? [] : ['{**}', ...after])].join('/'))
  .filter(template => template.includes('{'));
const paths = fc
  .array(fc.constantFrom('a', 'ab', 'a.b', 'axb', '$x', '', 'x|y', 'é', 'a%2Fb', 'a*'), { maxLength: 6 })
  .map(segments => ['', ...segments].join('/'));

t.test('a template matches what the regular expression of Envoy matches', t => {
  fc.assert(
    fc.property(
      templates,
      paths,
      (template, path) =>
        matchesTemplate(compileTemplate(template), path) === envoyPattern(template).test(path),
    ),
    { numRuns: 30_000 },
  );
  t.pass();
  t.end();
});

t.test('a path made to be slow is not', t => {
  const template = compileTemplate('/{*}/{*}/{*}/{**}/z');
  const started = performance.now();
  t.notOk(matchesTemplate(template, `/a/b/c/${'a/'.repeat(20_000)}y`));
  t.ok(performance.now() - started < 500);
  t.end();
});
