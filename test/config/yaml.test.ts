import t from 'tap';
import type { ConfigNode } from '../../src/config/node.ts';
import { parseYaml } from '../../src/config/yaml.ts';

/** Plain data of a node. */
function plain(node: ConfigNode | null): unknown {
  if (node === null) return null;
  if (node.is === 'list') return node.items.map(plain);
  if (node.is === 'map')
    return Object.fromEntries([...node.fields].map(([key, field]) => [key, plain(field.value)]));
  return node.value;
}

/** The documents of a text that must be right. */
function documents(text: string): unknown[] {
  return parseYaml(text).map(parsed => {
    if (!parsed.ok) throw new Error(`${parsed.place.line}:${parsed.place.column} ${parsed.message}`);
    return plain(parsed.node);
  });
}

/** `line:column message` of the first faulty document. */
function fault(text: string): string {
  for (const parsed of parseYaml(text)) {
    if (!parsed.ok) return `${parsed.place.line}:${parsed.place.column} ${parsed.message}`;
  }
  return 'no fault';
}

/** Bare words, as Istio's decoder reads them (measured on it). */
const WORDS: Readonly<Record<string, unknown>> = {
  y: true,
  Yes: true,
  on: true,
  TRUE: true,
  n: false,
  NO: false,
  off: false,
  yEs: 'yEs',
  nO: 'nO',
  null: null,
  '~': null,
  '1': 1,
  '-1': -1,
  '017': 15,
  '08': 8,
  '0o17': 15,
  '0O17': 15,
  '0x1F': 31,
  '-0x1': -1,
  '0b11': 3,
  '0b12': '0b12',
  '1_000': 1000,
  _1: '_1',
  '1.5': 1.5,
  '.5': 0.5,
  '5.': 5,
  '1e3': 1000,
  '1e': '1e',
  '1e400': '1e400',
  '.inf': Number.POSITIVE_INFINITY,
  inf: 'inf',
  '-': null,
  '.': '.',
  '1:30': '1:30',
  '2001-01-01': '2001-01-01',
  '1.2.3': '1.2.3',
  '10.0.0.1': '10.0.0.1',
  '=': '=',
  '"NO"': 'NO',
  "'1'": '1',
  '!!str 80': '80',
  '! 80': '80',
  '!!int "80"': 80,
  '!!bool "yes"': true,
};

for (const [word, value] of Object.entries(WORDS)) {
  if (word === '-') continue; // a list entry, not a word
  t.test(`the word ${word} is ${JSON.stringify(value)}`, async t => {
    t.same(documents(`a: ${word}\n`), [{ a: value }]);
  });
}

t.test('keys are read as words too, and become strings', async t => {
  t.same(documents('{80: a, y: b, 0x10: c, 1.5: d, "80 ": e}'), [
    { '80': 'a', true: 'b', '16': 'c', '1.5': 'd', '80 ': 'e' },
  ]);
});

t.test('documents are told apart, empty ones are nothing', async t => {
  t.same(documents('---\n# nothing\n---\na: 1\n---\n...\n---\nb: 2\n'), [null, { a: 1 }, null, { b: 2 }]);
  t.same(documents(''), []);
});

t.test('JSON with tabs, a byte order mark and Windows line ends are read', async t => {
  t.same(documents('{\n\t"a": [\n\t\t"NO", 1]\n}'), [{ a: ['NO', 1] }]);
  t.same(documents('\ufeffa: 1\r\nb: "x"\r\n'), [{ a: 1, b: 'x' }]);
});

t.test('anchors, aliases and merge keys', async t => {
  t.same(documents('a: &x [1, 2]\nb: *x\n'), [{ a: [1, 2], b: [1, 2] }]);
  t.same(documents('base: &b {x: 1, y2: 2}\nz: {<<: *b, x: 3}\n'), [
    { base: { x: 1, y2: 2 }, z: { x: 3, y2: 2 } },
  ]);
  t.same(documents('a: {<<: [{x: 1}, {x: 2, z: 3}]}\n'), [{ a: { x: 1, z: 3 } }]);
  t.same(documents('"<<": 1\n'), [{ '<<': 1 }], 'quoted, it is a name like any other');
});

t.test('faults have a place and say what is wrong', async t => {
  t.equal(fault('a: 1\nb: 2\n  a: 3\n').split(' ')[0], '2:4');
  t.match(fault('a: [1,\nb: 2\n'), /^2:1 is not valid YAML: /);
  t.match(fault('a:\n\tb: 1\n'), /^2:1 is not valid YAML: Tabs are not allowed as indentation/);
  t.equal(fault('a: 1\nb: 2\na: 3\n'), '3:1 the field a is written twice; keep one');
  t.equal(fault('{80: a, 0x50: b}'), '1:9 the field 0x50 is written twice; keep one');
  t.equal(fault('a: *x\n'), '1:4 the alias *x has no anchor &x before it');
  t.equal(fault('a: &x {b: *x}\n'), '1:11 the alias *x has no anchor &x before it');
  t.equal(fault('a: 1\nb: "\u0085\u0007"\n'), '2:6 holds a control character; remove it');
  t.equal(fault('a: "\u007f"\n'), '1:5 holds a control character; remove it');
  t.match(fault('a: {<<: 1}\n'), /^1:9 a merge key << takes a mapping/);
  t.match(fault('? [a]\n: b\n'), /^1:3 a field name must be a word/);
  t.match(fault('~: b\n'), /^1:1 a field name must be a word/);
  t.match(fault('a: !secret x\n'), /^1:12 the tag !secret is not supported/);
  t.match(fault('a: !!binary aGk=\n'), /^1:13 the tag tag:yaml\.org,2002:binary is not supported/);
});

t.test('one broken document does not hide the others', async t => {
  const parsed = parseYaml('a: [\n---\nb: 1\n');
  t.same(
    parsed.map(({ ok }) => ok),
    [false, true],
  );
});

t.test('aliases that multiply are stopped', async t => {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 10; i++)
    lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]`);
  t.match(fault(lines.join('\n')), /the document has more than 200000 nodes/);
});

t.test('merge keys that multiply are stopped', async t => {
  const big = Array.from({ length: 1_000 }, (_, i) => `k${i}: 1`).join(', ');
  t.match(
    fault(`a: &a {${big}}\nb: [${Array.from({ length: 500 }, () => '{<<: *a}').join(', ')}]\n`),
    /more than 200000 nodes/,
  );
});

t.test('nesting without end is stopped', async t => {
  t.match(fault(`a: ${'['.repeat(100)}${']'.repeat(100)}`), /nested more than 64 levels/);
  t.match(fault('['.repeat(50_000)), /^1:\d+ /);
  t.match(fault('- '.repeat(50_000)), /^1:\d+ /);
  t.match(fault('{a: '.repeat(50_000)), /^1:\d+ /);
});

t.test('names of the prototype are names like any other', async t => {
  const [parsed] = parseYaml('__proto__: {a: 1}\nconstructor: 2\n');
  t.ok(parsed?.ok && parsed.node?.is === 'map' && parsed.node.fields.has('__proto__'));
  t.same(({} as { a?: unknown }).a, undefined);
});
