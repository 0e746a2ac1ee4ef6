import fc from 'fast-check';
import t from 'tap';
import type { PathNormalization } from '../../src/config/resources.ts';
import { normaliseTarget, pathOf } from '../../src/policy/normalise.ts';

const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const;

/** in, then out for each mode in order; '=' is the input unchanged, null is 400. */
const TABLE: readonly (readonly (string | null)[])[] = [
  ['/', '=', '=', '=', '='],
  ['/app', '=', '=', '=', '='],
  ['/app#foo', '/app', '/app', '/app', '/app'],
  ['/app/', '=', '=', '=', '='],
  ['/app/../admin', '=', '/admin', '/admin', '/admin'],
  ['/app//', '=', '=', '/app/', '/app/'],
  ['/app/%2f', '=', '=', '=', '/app/'],
  ['/app%2f/', '=', '=', '=', '/app/'],
  ['/app%2Fx%5cy', '=', '=', '=', '/app/x/y'],
  ['/xyz%30..//abc', '=', '/xyz0..//abc', '/xyz0../abc', '/xyz0../abc'],
  ['/app/%2E./admin', '=', '/admin', '/admin', '/admin'],
  ['/app\\admin', '=', '/app/admin', '/app/admin', '/app/admin'],
  ['/%00', '=', null, null, null],
  ['/%2500', '=', '=', '=', '='],
  ['/a%zz%', '=', '=', '=', '='],
  ['/%252e%252e/', '=', '=', '=', '='],
  ['/%c0%ae', '=', '=', '=', '='],
  ['/.../x', '=', '=', '=', '='],
  ['/.hidden/..x', '=', '=', '=', '='],
  ['/..', '=', '/', '/', '/'],
  ['/../..//', '=', '//', '//', '//'],
  ['///', '=', '=', '//', '//'],
  ['/a/b/..', '=', '/a/', '/a/', '/a/'],
  ['/a/b/.', '=', '/a/b/', '/a/b/', '/a/b/'],
  ['/a//../b', '=', '/a/b', '/a/b', '/a/b'],
  ['//a/../..//b', '=', '//b', '/b', '/b'],
  ['/a/%2f../b', '=', '=', '=', '/a/b'],
  ['/%5c%2F/..', '=', '/', '/', '//'],
  ['/a/..;x=1/b', '=', '/b', '/b', '/b'],
  ['/.;/admin', '=', '/admin', '/admin', '/admin'],
  ['/a;p=1/b', '=', '=', '=', '='],
  ['/a/..%3bx/b', '=', '=', '=', '='],
  ['/a/%2e%2e;/b', '=', '/b', '/b', '/b'],
  [
    '/a"<>^`{|}',
    '=',
    '/a%22%3C%3E%5E%60%7B%7C%7D',
    '/a%22%3C%3E%5E%60%7B%7C%7D',
    '/a%22%3C%3E%5E%60%7B%7C%7D',
  ],
  ["/a[b]*!$&'()+,;=:@", '=', '=', '=', '='],
  ['/a?x=/../%00\\"', '=', '=', '=', '='],
  ['/b/../a?x#y', '/b/../a?x', '/a?x', '/a?x', '/a?x'],
  ['/%7F%41%7E', '=', '/%7FA~', '/%7FA~', '/%7FA~'],
  ['*', '=', '=', '=', '='],
  ['x', null, null, null, null],
  ['', null, null, null, null],
];

for (const [column, mode] of MODES.entries()) {
  t.test(`pathNormalization ${mode}`, t => {
    for (const row of TABLE) {
      const input = row[0]!;
      const wanted = row[column + 1];
      t.equal(normaliseTarget(input, mode), wanted === '=' ? input : wanted!, `${input} → ${wanted}`);
    }
    t.end();
  });
}

t.test('an escape that decoding would have made is not one', t => {
  t.equal(normaliseTarget('/%2%65%2%65/x', 'BASE'), '/%252e%252e/x');
  t.equal(normaliseTarget('/%%34%31', 'BASE'), '/%2541');
  t.end();
});

t.test('a byte that no target may hold is 400', t => {
  for (const bad of ['/a b', '/a\tb', '/a\x7fb', '/\xc3\xa9'])
    t.equal(normaliseTarget(bad, 'BASE'), null, bad);
  t.end();
});

t.test('the path is what stands before the query', t => {
  t.equal(pathOf('/a?b?c'), '/a');
  t.equal(pathOf('/a'), '/a');
  t.end();
});

const pieces = fc.constantFrom(
  ...[
    '/',
    '//',
    '.',
    '..',
    '%2e',
    '%2E',
    '%2f',
    '%5c',
    '\\',
    ';',
    'a',
    '%',
    '%2',
    '%61',
    '%25',
    '%20',
    '%3b',
    '?',
    '#',
  ],
  ...['%0', '%2%65', '"', '^', '~', 'Z', '5', 'c', 'e'],
);
const targets = fc.array(pieces, { maxLength: 14 }).map(parts => `/${parts.join('')}`);

t.test('what normalisation gives', t => {
  const modes = fc.constantFrom<PathNormalization>('BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES');
  fc.assert(
    fc.property(targets, modes, (target, mode) => {
      const normal = normaliseTarget(target, mode);
      if (normal === null) return;
      if (normaliseTarget(normal, mode) !== normal) throw new Error(`${target} → ${normal} is not stable`);
      const segments = pathOf(normal).split('/').slice(1);
      const names = segments.map(segment => segment.replace(/;.*/, '').replace(/%2e/gi, '.'));
      if (names.includes('..') || names.includes('.'))
        throw new Error(`${target} → ${normal} has dot segments`);
      if (mode !== 'BASE' && normal !== '//' && pathOf(normal).length > 2 && pathOf(normal).includes('//')) {
        throw new Error(`${target} → ${normal} has empty segments`);
      }
      if (mode === 'DECODE_AND_MERGE_SLASHES' && /%2f|%5c/i.test(pathOf(normal))) {
        throw new Error(`${target} → ${normal} has escaped slashes`);
      }
    }),
    { numRuns: 3000 },
  );
  t.pass('is stable, without dot segments, and as clean as the mode says');
  t.end();
});
