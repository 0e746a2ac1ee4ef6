/** The examples of RFC 7541, appendix C. C.1 goes by table size updates, which have a prefix of 5 bits; none has 8 (C.1.3). */
import t from 'tap';
import { NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { HpackEncoder, INDEX, NEVER, NO_INDEX } from '../../src/http/hpack-encoder.ts';
import { bytes, decode, encode, type Field, fieldsOf, tableOf } from './hpack-blocks.ts';

interface Example {
  readonly plain: string;
  readonly coded: string;
  readonly fields: readonly Field[];
  readonly table: readonly Field[];
}

const authority: Field = [':authority', 'www.example.com'];
const noCache: Field = ['cache-control', 'no-cache'];
const custom: Field = ['custom-key', 'custom-value'];

/** C.3 and C.4. */
const REQUESTS: readonly Example[] = [
  {
    plain: '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
    coded: '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
    fields: [[':method', 'GET'], [':scheme', 'http'], [':path', '/'], authority],
    table: [authority],
  },
  {
    plain: '8286 84be 5808 6e6f 2d63 6163 6865',
    coded: '8286 84be 5886 a8eb 1064 9cbf',
    fields: [[':method', 'GET'], [':scheme', 'http'], [':path', '/'], authority, noCache],
    table: [noCache, authority],
  },
  {
    plain: '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    coded: '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    fields: [[':method', 'GET'], [':scheme', 'https'], [':path', '/index.html'], authority, custom],
    table: [custom, noCache, authority],
  },
];

const isPrivate: Field = ['cache-control', 'private'];
const date: Field = ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'];
const later: Field = ['date', 'Mon, 21 Oct 2013 20:13:22 GMT'];
const location: Field = ['location', 'https://www.example.com'];
const gzip: Field = ['content-encoding', 'gzip'];
const cookie: Field = ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'];

/** C.5 and C.6, with a table of 256 bytes. */
const RESPONSES: readonly Example[] = [
  {
    plain:
      '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a' +
      '3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
    coded:
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e' +
      '919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
    fields: [[':status', '302'], isPrivate, date, location],
    table: [location, date, isPrivate, [':status', '302']],
  },
  {
    plain: '4803 3330 37c1 c0bf',
    coded: '4883 640e ffc1 c0bf',
    fields: [[':status', '307'], isPrivate, date, location],
    table: [[':status', '307'], location, date, isPrivate],
  },
  {
    plain:
      '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04' +
      '677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49' +
      '553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
    coded:
      '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7' +
      '821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed' +
      '4ee5 b106 3d50 07',
    fields: [[':status', '200'], isPrivate, later, location, gzip, cookie],
    table: [cookie, gzip, later],
  },
];

t.test('C.1: integers of 5 bits and more', async t => {
  for (const [size, block] of [
    [10, '2a'],
    [1337, '3f9a0a'],
  ] as const) {
    const encoder = new HpackEncoder();
    encoder.setPeerTableSize(size);
    t.equal(encode(encoder, []).toString('hex'), block);
    t.equal(typeof decode(new HpackDecoder(size), bytes(block)), 'object', `${size} is not over ${size}`);
    t.match(decode(new HpackDecoder(size - 1), bytes(block)), /size over the limit/);
  }
});

t.test('C.2: each way to represent a field', async t => {
  for (const [block, field, never, kept] of [
    [
      '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
      ['custom-key', 'custom-header'],
      false,
      true,
    ],
    ['040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path'], false, false],
    ['1008 7061 7373 776f 7264 0673 6563 7265 74', ['password', 'secret'], true, false],
    ['82', [':method', 'GET'], false, false],
  ] as const) {
    const decoder = new HpackDecoder(4096);
    const list = decode(decoder, bytes(block));
    t.same(fieldsOf(list), [field]);
    t.equal(typeof list === 'object' && ((list.kinds[0] as number) & NEVER_INDEXED) !== 0, never);
    t.same(tableOf(decoder), kept ? [field] : []);
  }
});

t.test('C.2: written, with the Huffman code where it is worth it', async t => {
  for (const [block, field, how] of [
    ['4088 25a8 49e9 5ba9 7d7f 8925 a849 e95a 728e 42d9', ['custom-key', 'custom-header'], INDEX],
    // What is not put into the table is not coded either: it is another one each time.
    ['040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path'], NO_INDEX],
    ['1086 ac68 4783 d927 8441 4961 53', ['password', 'secret'], NEVER],
    ['82', [':method', 'GET'], INDEX],
  ] as const) {
    const encoded = encode(new HpackEncoder(), [[...field, how]]);
    t.equal(encoded.toString('hex'), bytes(block).toString('hex'));
    t.same(fieldsOf(decode(new HpackDecoder(4096), encoded)), [field]);
  }
});

for (const [what, examples, tableBytes] of [
  ['C.3 and C.4: requests', REQUESTS, 4096],
  ['C.5 and C.6: responses, with evictions', RESPONSES, 256],
] as const) {
  t.test(`${what} are read`, async t => {
    for (const coding of ['plain', 'coded'] as const) {
      const decoder = new HpackDecoder(tableBytes);
      for (const example of examples) {
        t.same(fieldsOf(decode(decoder, bytes(example[coding]))), example.fields);
        t.same(tableOf(decoder), example.table);
      }
    }
  });

  t.test(`${what} are written`, async t => {
    const encoder = new HpackEncoder();
    encoder.setPeerTableSize(tableBytes);
    for (const [i, { plain, coded, fields }] of examples.entries()) {
      // The smaller table is said first. `307` is no shorter in the Huffman code, which is then left out.
      const update = i === 0 && tableBytes < 4096 ? '3fe101' : '';
      const expected = coded.startsWith('4883 640e') ? plain : coded;
      t.equal(encode(encoder, fields).toString('hex'), bytes(update, expected).toString('hex'));
    }
  });
}
