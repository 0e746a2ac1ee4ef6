/** What holds of any header list and of any bytes. */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { FieldList } from '../../src/http/field-list.ts';
import { isFieldValue, kindOf, MALFORMED, NEVER_INDEXED } from '../../src/http/h2-field-kind.ts';
import { HpackDecoder } from '../../src/http/hpack-decoder.ts';
import { HpackEncoder, NEVER } from '../../src/http/hpack-encoder.ts';
import { bytes, decode, encode, NO_LIMITS } from './hpack-blocks.ts';
import { anyLists, headerLists, type Sent } from './hpack-lists.ts';

const SEED = 7541;

function check<T>(t: Test, values: fc.Arbitrary<T>, holds: (value: T) => void, runs = 300): void {
  const result = fc.check(fc.property(values, holds), { numRuns: runs, seed: SEED, endOnFailure: false });
  t.equal(result.failed, false, fc.defaultReportMessage(result) ?? 'holds');
}

function must(claim: boolean, what: string): void {
  if (!claim) throw new Error(what);
}

/** What is true of every list that was decoded. */
function checkList(list: FieldList): void {
  const { names, values, kinds } = list;
  must(names.length === values.length && names.length === kinds.length, 'three arrays of one length');
  let size = 0;
  let malformed = false;
  for (const [i, name] of names.entries()) {
    const kind = (kinds[i] as number) & ~NEVER_INDEXED;
    must(kind === kindOf(name), `kind of ${name}`);
    const value = values[i] as string;
    malformed ||= kind === MALFORMED || !isFieldValue(value);
    size += name.length + value.length + 32;
  }
  must(list.bytes === size, 'size');
  if (!list.tooLarge) must((list.malformed !== null) === malformed, 'malformed');
}

const steps = fc.array(
  fc.record({
    sizes: fc.array(fc.constantFrom(0, 33, 100, 300, 1000, 4095, 4096, 70_000), { maxLength: 3 }),
    resize: fc.boolean(),
    fields: fc.oneof(headerLists, anyLists),
  }),
  { maxLength: 12 },
);

function isArrived(fields: readonly Sent[], list: FieldList): boolean {
  return (
    list.length === fields.length &&
    fields.every(
      ([name, value, how], i) =>
        list.names[i] === name &&
        list.values[i] === value &&
        ((list.kinds[i] as number) & NEVER_INDEXED) === (how === NEVER ? NEVER_INDEXED : 0),
    )
  );
}

t.test('what is written is read, whatever the size of the table does in between', async t => {
  check(t, steps, steps => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder(4096);
    for (const { sizes, resize, fields } of steps) {
      if (resize) for (const size of sizes) encoder.setPeerTableSize(size);
      const list = decode(decoder, encode(encoder, fields), NO_LIMITS);
      if (typeof list === 'string') throw new Error(list);
      must(isArrived(fields, list), 'the same fields');
      checkList(list);
    }
  });
});

t.test('limits leave the tables as they are without', async t => {
  check(t, fc.tuple(steps, fc.nat(3000), fc.nat(20)), ([steps, most, fields]) => {
    const encoder = new HpackEncoder();
    const [limited, free] = [new HpackDecoder(4096), new HpackDecoder(4096)];
    for (const step of steps) {
      const block = encode(encoder, step.fields);
      const list = decode(limited, block, { bytes: most, fields });
      const whole = decode(free, block, NO_LIMITS);
      if (typeof list === 'string' || typeof whole === 'string') throw new Error('fault');
      checkList(list);
      must(list.bytes <= most && list.length <= fields, 'within the limits');
      must(list.tooLarge === (whole.bytes > most || whole.length > fields), 'too large');
      must(
        list.names.every((name, i) => name === whole.names[i]),
        'the begin of the whole list',
      );
      must(
        list.values.every((value, i) => value === whole.values[i]),
        'the begin of the whole list',
      );
    }
    const next = encode(
      encoder,
      steps.flatMap(step => step.fields),
    );
    const [a, b] = [decode(limited, next, NO_LIMITS), decode(free, next, NO_LIMITS)];
    must(JSON.stringify(a) === JSON.stringify(b), 'the same tables');
  });
});

t.test('any bytes end in a list or in a fault', async t => {
  const block = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // Mostly short indices, names and values.
    fc
      .array(
        fc.constantFrom(
          0,
          1,
          2,
          4,
          0x10,
          0x20,
          0x3f,
          0x40,
          0x41,
          0x61,
          0x7e,
          0x7f,
          0x82,
          0x84,
          0xbe,
          0xbf,
          0xff,
        ),
      )
      .map(octets => Uint8Array.from(octets)),
  );
  check(
    t,
    fc.array(block, { minLength: 1, maxLength: 5 }),
    blocks => {
      const decoder = new HpackDecoder(4096);
      for (const block of blocks) {
        const list = new FieldList();
        const fault = decoder.decode(Buffer.from(block), 0, block.length, list, { bytes: 1000, fields: 20 });
        must(fault === null || fault.length > 0, 'a fault says what it is');
        checkList(list);
        must(list.bytes <= 1000 && list.length <= 20, 'within the limits');
        if (fault !== null) return;
      }
    },
    3000,
  );
});

t.test('a good block with a byte changed ends in a list or in a fault', async t => {
  const changes = fc.tuple(headerLists, fc.nat(), fc.nat(255));
  check(t, changes, ([fields, at, octet]) => {
    const block = encode(new HpackEncoder(), fields);
    if (block.length === 0) return;
    block[at % block.length] = octet;
    const list = decode(new HpackDecoder(4096), block, NO_LIMITS);
    if (typeof list !== 'string') checkList(list);
  });
});

t.test('every block of two bytes, and what follows it, ends in a list or in a fault', async t => {
  let faults = 0;
  for (let pair = 0; pair < 0x10000; pair++) {
    const decoder = new HpackDecoder(4096);
    const hex = pair.toString(16).padStart(4, '0');
    if (typeof decode(decoder, bytes(hex)) === 'string') faults++;
    else if (typeof decode(decoder, bytes('82')) === 'string') t.fail(hex);
  }
  t.ok(faults > 0x4000 && faults < 0x10000, `${faults} faults`);
});
