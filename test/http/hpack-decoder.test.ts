/** Header blocks as they are read: every fault, what is unusual and right, cuts, limits, sizes of the table, bombs. */
import t from 'tap';
import { FieldList } from '../../src/http/field-list.ts';
import { PLAIN } from '../../src/http/fields.ts';
import { COOKIE, kindOf, MALFORMED, METHOD, NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { STATIC_FIELDS } from '../../src/http/hpack-table.ts';
import {
  bytes,
  decode,
  type Field,
  fieldsOf,
  integer,
  LIMITS,
  literal,
  NO_LIMITS,
  tableOf,
} from './hpack-blocks.ts';

/** A string literal in the Huffman code, given as ones and zeros; padded with ones. */
function coded(bits: string): string {
  const octets = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1').match(/.{8}/g) ?? [];
  const hex = Buffer.from(octets.map(octet => Number.parseInt(octet, 2))).toString('hex');
  return integer(0x80, 0x7f, octets.length) + hex;
}

/** A literal that is indexed, as hexadecimal. */
const indexed = (name: string, value: string): string => `40${literal(name)}${literal(value)}`;

/** A string literal of any length, as hexadecimal. */
const long = (text: string): string =>
  integer(0, 0x7f, text.length) + Buffer.from(text, 'latin1').toString('hex');

/** A list that must be one. */
function listOf(decoder: HpackDecoder, block: string, limits = LIMITS): FieldList {
  const list = decode(decoder, bytes(block), limits);
  if (typeof list === 'string') throw new Error(list);
  return list;
}

t.test('what is wrong with a block is said', async t => {
  const ones = '1'.repeat(30);
  for (const [what, block, fault] of [
    ['index 0', '80', /index out of range/],
    ['an index beyond the static table', 'be', /index out of range/],
    ['a far index', integer(0x80, 0x7f, 100_000), /index out of range/],
    ['a name index beyond the static table', `7e${literal('a')}`, /index out of range/],
    ['a name index without indexing', `0f2f${literal('a')}`, /index out of range/],
    ['a name index never indexed', `1f2f${literal('a')}`, /index out of range/],
    ['an index that ends early', 'ff', /ends within an integer/],
    ['an index that goes on', 'ff80', /ends within an integer/],
    ['an index too long', 'ff8080808000', /integer too large/],
    ['an index too large', 'ffffffffff7f', /integer too large/],
    ['an index without end', `ff${'ff'.repeat(1000)}`, /integer too large/],
    ['a name length too large', '007fffffffff7f', /integer too large/],
    ['a name that is missing', '00', /ends within a field/],
    ['a name that ends early', '000461', /ends within a field/],
    ['a value that is missing', '000161', /ends within a field/],
    ['a value of an indexed name that is missing', '41', /ends within a field/],
    ['a value that ends early', '0001610262', /ends within a field/],
    ['a value length that ends early', '0001617f', /ends within an integer/],
    ['a length of 2^28 that the block has not', '0001617f81ffff7f', /ends within a field/],
    ['a size over the limit', integer(0x20, 0x1f, 4097), /size over the limit/],
    ['a size too large', '3fffffffff7f', /integer too large/],
    ['a size that ends early', '3f', /ends within an integer/],
    ['a size after a field', '8220', /update after a field/],
    ['a size after a literal', `00${literal('a')}${literal('b')}20`, /update after a field/],
    ['EOS', `41${coded(ones)}`, /Huffman/],
    ['EOS after a symbol', `41${coded(`00011${ones}`)}`, /Huffman/],
    ['EOS in a name', `40${coded(ones)}${literal('a')}`, /Huffman/],
    ['8 bits of padding', `41${coded(`${'00011'.repeat(8)}11111111`)}`, /Huffman/],
    ['nothing but 8 bits of padding', '4181ff', /Huffman/],
    ['15 bits of padding', `41${coded('00011'.padEnd(24, '1'))}`, /Huffman/],
    ['padding of zeros', '418118', /Huffman/],
    ['padding with a zero', `41${coded('00011110')}`, /Huffman/],
    ['a code that ends early', `41${coded('1111111111111010')}`, /Huffman/],
  ] as const) {
    const list = decode(new HpackDecoder(4096), bytes(block));
    t.match(typeof list === 'string' ? list : 'none', fault, what);
  }
});

t.test('what is unusual and right is read', async t => {
  for (const [what, block, fields] of [
    ['an empty block', '', []],
    ['nothing but sizes', '203fe11f20', []],
    ['sizes, then a field', '203fe11f82', [[':method', 'GET']]],
    ['an integer with needless zeros', `0f808000${literal('/')}`, [['accept-charset', '/']]],
    ['a length with needless zeros', `000161${'7f8000'}${'61'.repeat(127)}`, [['a', 'a'.repeat(127)]]],
    ['an empty name', `0000${literal('a')}`, [['', 'a']]],
    ['an empty value', `00${literal('a')}00`, [['a', '']]],
    ['empty strings in the Huffman code', '008080', [['', '']]],
    ['7 bits of padding', `41${coded('00011'.repeat(5))}`, [[':authority', 'aaaaa']]],
    ['no padding', `41${coded('00011'.repeat(8))}`, [[':authority', 'aaaaaaaa']]],
    ['upper case', `00${literal('Ab')}${literal('C')}`, [['Ab', 'C']]],
    [
      'every kind of byte',
      `00${literal('a')}${literal('\0\r\n\x7f\x80\xff')}`,
      [['a', '\0\r\n\x7f\x80\xff']],
    ],
  ] as const) {
    t.same(fieldsOf(decode(new HpackDecoder(4096), bytes(block))), fields, what);
  }
});

t.test('every field of the static table is read, as a whole and by its name, with its kind', async t => {
  t.equal(STATIC_FIELDS.length, 61);
  for (const [i, [name, value]] of STATIC_FIELDS.entries()) {
    const block = integer(0x80, 0x7f, i + 1) + integer(0x40, 0x3f, i + 1) + literal('v');
    const decoder = new HpackDecoder(4096);
    const list = listOf(decoder, block + integer(0x00, 0x0f, i + 1) + literal('w'));
    t.same(fieldsOf(list), [
      [name, value],
      [name, 'v'],
      [name, 'w'],
    ]);
    t.same(list.kinds, Array(3).fill(kindOf(name)));
    t.same([list.malformed, tableOf(decoder)], [null, [[name, 'v']]]);
  }
});

t.test('a never-indexed field is known as one, here only', async t => {
  const decoder = new HpackDecoder(4096);
  const never = `10${literal('cookie')}${literal('a=b')}1f11${literal('c=d')}`;
  const list = listOf(decoder, `${never}82${indexed('cookie', 'e')}`);
  t.same(list.kinds, [COOKIE | NEVER_INDEXED, COOKIE | NEVER_INDEXED, METHOD, COOKIE]);
  t.same(tableOf(decoder), [['cookie', 'e']]);
  t.same(listOf(decoder, `be1f2f${literal('f')}`).kinds, [COOKIE, COOKIE | NEVER_INDEXED]);
});

t.test('the first malformed name or value is told, as often as it comes out of the table', async t => {
  const decoder = new HpackDecoder(4096);
  const list = listOf(decoder, [indexed('Ab', 'c'), indexed('a', 'b\0'), indexed('b', ' c'), '82'].join(''));
  t.same(list.kinds, [MALFORMED, PLAIN, PLAIN, METHOD]);
  t.equal(list.malformed, 'upper case in a header name');
  for (const [block, fault] of [
    ['82', null],
    ['be', 'white space around a header value'],
    ['bf', 'NUL byte'],
    ['c0', 'upper case in a header name'],
    ['bfbec0', 'NUL byte'],
    [`0f31${literal('c')}`, 'upper case in a header name'],
    [`0f30${literal('c')}`, null],
    [`1f30${literal('\r')}`, 'bare CR'],
  ] as const) {
    t.equal(listOf(decoder, block).malformed, fault, block);
  }
});

t.test('a block that is cut anywhere is a fault or a shorter list', async t => {
  const sample =
    indexed('custom', 'value') +
    '82be' +
    `41${coded('00011'.repeat(200))}` +
    `1f11${long('a=b'.repeat(60))}` +
    integer(0x00, 0x0f, 58) +
    literal('me');
  const whole = fieldsOf(decode(new HpackDecoder(4096), bytes(sample)));
  t.equal(whole.length, 6);
  const ends = new Set<number>();
  for (let cut = 0; cut <= sample.length / 2; cut++) {
    const list = decode(new HpackDecoder(4096), bytes(sample.slice(0, 2 * cut)));
    if (typeof list === 'string') continue;
    t.same(fieldsOf(list), whole.slice(0, list.length));
    ends.add(list.length);
  }
  t.same([...ends], [0, 1, 2, 3, 4, 5, 6]);
});

t.test('two blocks joined are the fields of both', async t => {
  const blocks = [indexed('a', 'b'), `be${indexed('c', 'd')}`, 'bebf'];
  const apart = new HpackDecoder(4096);
  const fields = blocks.flatMap(block => fieldsOf(listOf(apart, block)));
  const joined = new HpackDecoder(4096);
  t.same(fieldsOf(listOf(joined, blocks.join(''))), fields);
  t.same(tableOf(joined), tableOf(apart));
});

t.test('the table keeps to its size', async t => {
  const decoder = new HpackDecoder(100);
  const [a, b, c]: readonly Field[] = [
    ['a', '1'],
    ['b', '2'],
    ['c', '3'],
  ];
  // 34 bytes each: two of them fit.
  t.same(fieldsOf(listOf(decoder, indexed('a', '1') + indexed('b', '2') + indexed('c', '3'))), [a, b, c]);
  t.same(tableOf(decoder), [c, b]);
  t.same(fieldsOf(listOf(decoder, '2282')), [[':method', 'GET']], 'a table of 2 bytes');
  t.same(tableOf(decoder), []);
  listOf(decoder, integer(0x20, 0x1f, 67) + indexed('a', '1') + indexed('b', '2'));
  t.same(tableOf(decoder), [b], 'one byte too few for two');
  listOf(decoder, integer(0x20, 0x1f, 68) + indexed('c', '3'));
  t.same(tableOf(decoder), [c, b], 'just enough');
  listOf(decoder, integer(0x20, 0x1f, 34) + integer(0x20, 0x1f, 100));
  t.same(tableOf(decoder), [c], 'the smaller size in between counts');
  t.match(decode(decoder, bytes(integer(0x20, 0x1f, 101))), /over the limit/);
});

t.test('an entry as large as the table stays alone, a larger one leaves it empty', async t => {
  for (const coding of ['plain', 'coded'] as const) {
    for (const [length, left] of [
      [67, 1],
      [68, 0],
      [1000, 0],
    ] as const) {
      const decoder = new HpackDecoder(100);
      const value = coding === 'coded' ? coded('00011'.repeat(length)) : long('a'.repeat(length));
      const block = `${indexed('a', '1')}40${literal('b')}${value}`;
      t.same(fieldsOf(listOf(decoder, block))[1], ['b', 'a'.repeat(length)]);
      t.equal(tableOf(decoder).length, left, `${coding} ${length}`);
    }
  }
});

t.test('a name of an entry that its own field drives out is still read', async t => {
  const decoder = new HpackDecoder(100);
  listOf(decoder, indexed('name', '1'.repeat(60)));
  t.same(fieldsOf(listOf(decoder, `7e${literal('2'.repeat(60))}`)), [['name', '2'.repeat(60)]]);
  t.same(tableOf(decoder), [['name', '2'.repeat(60)]]);
});

t.test('a decoder that allows more than 4096 bytes begins with those', async t => {
  const decoder = new HpackDecoder(8192);
  const fields = Array.from({ length: 130 }, (_, i) => indexed('', `${i}`.padStart(32, '0')));
  listOf(decoder, fields.join(''), NO_LIMITS);
  t.equal(tableOf(decoder).length, 64);
  listOf(decoder, integer(0x20, 0x1f, 8192) + fields.join(''), NO_LIMITS);
  t.equal(tableOf(decoder).length, 128);
});

t.test('the smallest entries fill the table', async t => {
  const decoder = new HpackDecoder(4096);
  listOf(decoder, indexed('a', '1') + indexed('', '').repeat(300), NO_LIMITS);
  t.same(tableOf(decoder), Array(128).fill(['', '']));
});

t.test('a list ends at its limits, the table goes on', async t => {
  const a: Field = ['a', '1'];
  for (const [what, limits, stored] of [
    ['bytes for two', { bytes: 68, fields: 9 }, 2],
    ['a byte less', { bytes: 67, fields: 9 }, 1],
    ['bytes for three', { bytes: 102, fields: 9 }, 3],
    ['two fields', { bytes: 999, fields: 2 }, 2],
    ['nothing', { bytes: 0, fields: 0 }, 0],
  ] as const) {
    for (const field of [
      indexed('a', '1'),
      `00${literal('a')}${literal('1')}`,
      `10${literal('a')}${literal('1')}`,
    ]) {
      const decoder = new HpackDecoder(4096);
      const list = listOf(decoder, field.repeat(3) + indexed('b', '2'), limits);
      t.same(fieldsOf(list), Array(stored).fill(a), what);
      t.same([list.tooLarge, list.bytes], [true, 34 * stored]);
      t.same(tableOf(decoder)[0], ['b', '2']);
      t.equal(tableOf(decoder).length, field.startsWith('40') ? 4 : 1);
    }
    const decoder = new HpackDecoder(4096);
    listOf(decoder, indexed('a', '1'));
    const list = listOf(decoder, 'be'.repeat(4), limits);
    t.same([list.length, list.tooLarge, list.bytes], [stored, true, 34 * stored], `${what}, indexed`);
  }
});

t.test('nothing is stored after the first field that was too large', async t => {
  const list = listOf(new HpackDecoder(4096), `00${literal('a')}${long('b'.repeat(999))}82`, {
    bytes: 500,
    fields: 9,
  });
  t.same([list.length, list.tooLarge, list.bytes, list.malformed], [0, true, 0, null]);
});

t.test('a value in the Huffman code that is too large when it is decoded is too large', async t => {
  const block = `41${coded('00011'.repeat(100))}`;
  for (const [limit, fits] of [
    [142, true],
    [141, false],
    [60, false],
  ] as const) {
    const list = listOf(new HpackDecoder(4096), block, { bytes: limit, fields: 9 });
    t.same([list.length, list.tooLarge], fits ? [1, false] : [0, true]);
  }
});

t.test('a fault after the limits is still one', async t => {
  for (const block of ['80', 'be', '00', '41', '20', '0001']) {
    t.type(decode(new HpackDecoder(4096), bytes(`8282${block}`), { bytes: 60, fields: 1 }), 'string', block);
  }
});

t.test('thousands of references to a large entry cost neither time nor memory', async t => {
  const decoder = new HpackDecoder(4096);
  listOf(decoder, `40${literal('a')}${long('b'.repeat(4000))}`);
  const bomb = Buffer.alloc(60_000, 0xbe);
  const list = new FieldList();
  const before = process.memoryUsage().heapUsed;
  const begun = process.cpuUsage();
  for (let i = 0; i < 100; i++) t.equal(decoder.decode(bomb, 0, bomb.length, list, LIMITS), null);
  const { user } = process.cpuUsage(begun);
  t.same([list.length, list.tooLarge], [15, true]);
  // 6 million references to 4 KB each: 24 GB if they were written out.
  t.ok(process.memoryUsage().heapUsed - before < 32 * 1024 * 1024, 'memory');
  t.ok(user < 5_000_000, `${user} µs`);
});

t.test('nor do literals of every kind, with a long name from the table', async t => {
  for (const name of ['n', 'N']) {
    for (const one of [
      '7e00',
      `7e${literal('x')}`,
      '0f2f00',
      '1f2f00',
      indexed('a', 'b'),
      '000000',
      '400000',
    ]) {
      const decoder = new HpackDecoder(4096);
      listOf(decoder, `40${long(name.repeat(4000))}00`);
      const bomb = bytes(one.repeat(Math.floor(120_000 / one.length)));
      const list = new FieldList();
      const begun = process.cpuUsage();
      t.equal(decoder.decode(bomb, 0, bomb.length, list, LIMITS), null);
      t.equal(list.tooLarge, true);
      t.ok(list.bytes <= LIMITS.bytes && list.length <= LIMITS.fields);
      t.ok(process.cpuUsage(begun).user < 1_000_000, one);
    }
  }
});
