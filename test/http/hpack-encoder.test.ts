/** Header blocks as they are written: what is indexed, what the table holds, sizes that the peer sets, the Huffman code. */
import t from 'tap';
import { NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { HpackEncoder, INDEX, NEVER, NO_INDEX } from '../../src/http/hpack-encoder.ts';
import { STATIC_FIELDS } from '../../src/http/hpack-table.ts';
import { huffmanLength, huffmanText, writeHuffman } from '../../src/http/huffman.ts';
import { bytes, decode, encode, fieldsOf, NO_LIMITS, tableOf } from './hpack-blocks.ts';

/** An encoder and the decoder of its peer. */
class Pair {
  readonly encoder = new HpackEncoder();
  readonly decoder: HpackDecoder;
  constructor(tableBytes = 4096) {
    this.decoder = new HpackDecoder(tableBytes);
    this.encoder.setPeerTableSize(tableBytes);
  }

  /** Sends one block, which must arrive as it was; @returns its bytes as hexadecimal. */
  send(...fields: readonly (readonly [name: string, value: string, how?: number])[]): string {
    const block = encode(this.encoder, fields);
    const list = decode(this.decoder, block, NO_LIMITS);
    t.same(
      fieldsOf(list),
      fields.map(([name, value]) => [name, value]),
    );
    const never = fields.map(([, , how]) => how === NEVER);
    if (typeof list === 'object')
      t.same(
        list.kinds.map(kind => (kind & NEVER_INDEXED) !== 0),
        never,
      );
    return block.toString('hex');
  }
}

t.test('every field of the static table takes one byte', async t => {
  const pair = new Pair();
  for (const [i, [name, value]] of STATIC_FIELDS.entries()) {
    t.equal(pair.send([name, value]), (0x81 + i).toString(16));
  }
  t.same(tableOf(pair.decoder), []);
});

t.test('a field takes one byte from its second time on', async t => {
  const pair = new Pair();
  pair.send([':path', '/x'], ['a', '1'], ['a', '2'], [':method', 'GET'], ['b', '']);
  t.equal(pair.send([':path', '/x'], ['a', '1'], ['a', '2'], [':method', 'GET'], ['b', '']), 'c1c0bf82be');
  t.equal(pair.send(['a', '2'], ['a', '1'], ['a', '2'], ['a', '1']), 'bfc0bfc0');
  t.same(tableOf(pair.decoder), [
    ['b', ''],
    ['a', '2'],
    ['a', '1'],
    [':path', '/x'],
  ]);
});

t.test('a value that is not to be indexed is in no table, but a name of its own gets a place', async t => {
  const pair = new Pair();
  pair.send([':path', '/x', NO_INDEX], ['content-length', '12', NO_INDEX]);
  t.same(tableOf(pair.decoder), []);
  pair.send(['trace', 'one', NO_INDEX]);
  t.same(tableOf(pair.decoder), [['trace', 'one']]);
  t.equal(pair.send(['trace', '2', NO_INDEX]), '0f2f0132', 'the name by its index');
  t.equal(pair.send(['trace', 'one', NO_INDEX]).slice(0, 4), '0f2f');
  t.same(tableOf(pair.decoder), [['trace', 'one']]);
});

t.test('a field that is never to be indexed is in no table and stays a literal', async t => {
  const pair = new Pair();
  for (let i = 0; i < 3; i++) {
    t.equal(pair.send(['authorization', '!', NEVER]), '1f080121');
    t.equal(pair.send(['a', '!', NEVER]), '1001610121');
    t.equal(pair.send([':method', 'GET', NEVER]), '1203474554');
  }
  t.same(tableOf(pair.decoder), []);
  pair.send(['a', '!']);
  t.equal(pair.send(['a', '!', NEVER]), '1f2f0121', 'the name by its index, the field not');
});

t.test('a name leaves with its last entry', async t => {
  const pair = new Pair(72);
  pair.send(['a', '1'], ['a', '2'], ['b', '3']);
  t.same(tableOf(pair.decoder), [
    ['b', '3'],
    ['a', '2'],
  ]);
  t.equal(pair.send(['a', '2'], ['b', '3']), 'bfbe');
  t.equal(pair.send(['a', '1', NEVER]), '1f300131');
  pair.send(['b', '4'], ['a', '1', NEVER]);
  t.equal(pair.send(['a', '1', NEVER]), '1001610131');
  // Back again, after it was gone.
  pair.send(['a', '1'], ['a', '1'], ['b', '3'], ['b', '4'], ['a', '1']);
});

t.test('an entry that is evicted is written anew', async t => {
  const pair = new Pair(72);
  for (let round = 0; round < 20; round++) {
    for (const name of ['a', 'b', 'c']) t.equal(pair.send([name, '1'], [name, '1']).slice(-2), 'be');
  }
});

t.test('a field that would drive out most others is not indexed', async t => {
  const pair = new Pair();
  pair.send(['a', '1'], ['big', 'x'.repeat(3038)], ['cookie', 'y'.repeat(9000)]);
  t.equal(tableOf(pair.decoder)[0]?.[0], 'a');
  pair.send(['big', 'x'.repeat(3037)]);
  t.equal(tableOf(pair.decoder)[0]?.[0], 'big');
});

t.test('values that never come again no longer drive out the others', async t => {
  const pair = new Pair();
  pair.send([':authority', 'a'], ['user-agent', 'b'], ['x', 'y']);
  for (let i = 0; i < 1000; i++) pair.send([':path', `/users/${i}`]);
  t.equal(tableOf(pair.decoder).length, 3 + 8 + 62);
  t.equal(pair.send(['x', 'y']), 'ff05');
  // One that does come again is found, and opens the table to the next.
  t.equal(pair.send([':path', '/users/1']), 'ff03');
  pair.send([':path', '/another']);
  t.equal(pair.send([':path', '/another']), 'be');
});

t.test(
  'a size that the peer sets stands at the begin of the next block, with the smallest before it',
  async t => {
    for (const [what, sizes, updates] of [
      ['none', [], ''],
      ['the one in force', [4096], ''],
      ['a larger one', [65_536], ''],
      ['a smaller one', [256], '3fe101'],
      ['none at all', [0], '20'],
      ['smaller, larger', [0, 4096], '203fe11f'],
      ['larger, smaller', [65_536, 100], '3f45'],
      ['smaller and smaller', [200, 100], '3f45'],
      ['smaller, smaller, larger', [200, 10, 100], '2a3f45'],
      ['smaller, and back', [100, 65_536], '3f453fe11f'],
    ] as const) {
      const encoder = new HpackEncoder();
      for (const size of sizes) encoder.setPeerTableSize(size);
      t.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), `${updates}82`, what);
      t.equal(encode(encoder, [[':method', 'GET']]).toString('hex'), '82', `${what}, once`);
    }
  },
);

t.test('a table that becomes smaller and larger in between blocks is empty on both sides', async t => {
  const pair = new Pair();
  pair.send(['a', '1'], ['b', '2']);
  pair.encoder.setPeerTableSize(34);
  pair.encoder.setPeerTableSize(4096);
  t.equal(pair.send(['b', '2']), '3f033fe11fbe');
  t.same(tableOf(pair.decoder), [['b', '2']]);
  pair.send(['a', '1'], ['a', '1']);
});

t.test('a peer without a table gets literals', async t => {
  const pair = new Pair(0);
  for (let i = 0; i < 3; i++) pair.send([':method', 'GET'], ['a', '1'], ['b', '2', NO_INDEX], ['', '']);
  t.same(tableOf(pair.decoder), []);
});

t.test('strings of every length, coded and not', async t => {
  const pair = new Pair();
  for (const length of [
    0, 1, 2, 30, 31, 100, 125, 126, 127, 128, 150, 203, 204, 254, 255, 256, 16_510, 70_000,
  ]) {
    for (const char of ['0', '{', '\xff', '\x0a']) {
      for (const how of [INDEX, NO_INDEX, NEVER]) {
        t.ok(pair.send([char.repeat(length), char.repeat(length), how]), `${length}`);
      }
    }
  }
});

t.test('a buffer that had to grow is given back', async t => {
  const encoder = new HpackEncoder();
  encode(encoder, [['a', '\xff'.repeat(60_000)]]);
  t.ok(encoder.buffer.length > 60_000);
  encode(encoder, [['a', '1']]);
  t.ok(encoder.buffer.length <= 1024);
});

t.test('each byte and each pair of bytes goes through the Huffman code and back', async t => {
  const out = Buffer.alloc(64);
  let faults = 0;
  for (let a = 0; a < 256; a++) {
    for (let b = 0; b < 256; b++) {
      const text = `${String.fromCharCode(a)}m${String.fromCharCode(b)}`;
      const end = writeHuffman(text, out, 1);
      if (end !== 1 + huffmanLength(text) || huffmanText(out, 1, end) !== text) faults++;
    }
  }
  t.equal(faults, 0);
});

t.test('codes of RFC 7541, appendix B, the shortest and the longest', async t => {
  for (const [text, code] of [
    ['0', '07'],
    ['t', '4f'],
    [' ', '53'],
    ['&', 'f8'],
    ['!', 'fe3f'],
    ['\\', 'fffe1f'],
    ['\x80', 'fffe6f'],
    ['\xf9', 'ffffffef'],
    ['\n', 'fffffff3'],
    ['\x16', 'fffffffb'],
    ['\n\n\n\n', 'fffffff3ffffffcfffffff3ffffffc'],
  ] as const) {
    const out = Buffer.alloc(64);
    t.equal(out.subarray(0, writeHuffman(text, out, 0)).toString('hex'), code);
    t.equal(huffmanText(bytes(code), 0, code.length / 2), text);
  }
});

t.test('a string much longer than any before it is read', async t => {
  const text = '0'.repeat(200_000);
  const out = Buffer.alloc(huffmanLength(text));
  writeHuffman(text, out, 0);
  t.equal(huffmanText(out, 0, out.length), text);
});
