import fc from 'fast-check';
import t from 'tap';
import { parseAddress, parseBlock } from '../../src/policy/address.ts';
import { addressSet, setHolds } from '../../src/policy/address-set.ts';

const holds = (block: string, address: string) =>
  setHolds(addressSet([parseBlock(block)!]), parseAddress(address)!);

t.test('a block holds', t => {
  for (const [block, address] of [
    ['10.0.0.0/8', '10.255.255.255'],
    ['10.0.0.9/8', '10.1.2.3'],
    ['10.0.0.9', '10.0.0.9'],
    ['255.255.255.255/32', '255.255.255.255'],
    ['128.0.0.0/1', '200.0.0.1'],
    ['0.0.0.0/0', '1.2.3.4'],
    ['::/0', '2001:db8::1'],
    ['2001:db8::/33', '2001:db8:7fff::1'],
    ['2001:db8::1', '2001:0DB8:0:0:0:0:0:1'],
    ['10.0.0.0/8', '::ffff:10.1.2.3'],
    ['fe80::/10', 'fe80::1%eth0'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
  ] as const) {
    t.ok(holds(block, address), `${block} holds ${address}`);
  }
  t.end();
});

t.test('a block does not hold', t => {
  for (const [block, address] of [
    ['10.0.0.0/8', '11.0.0.0'],
    ['10.0.0.8/31', '10.0.0.10'],
    ['2001:db8::/33', '2001:db8:8000::1'],
    ['::/0', '1.2.3.4'],
    ['0.0.0.0/0', '::1'],
    ['2001:db8::/127', '2001:db8::2'],
    ['::ffff:10.0.0.0/104', '10.1.2.3'],
  ] as const) {
    t.notOk(holds(block, address), `${block} does not hold ${address}`);
  }
  t.end();
});

t.test('what is no address or block', t => {
  for (const text of [
    '',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '1.2.3.4.5',
    ':::',
    '1::2::3',
    '::12345',
    '1:2:3:4:5:6:7',
  ]) {
    t.equal(parseAddress(text), null, `address ${JSON.stringify(text)}`);
    t.equal(parseBlock(text), null, `block ${JSON.stringify(text)}`);
  }
  for (const text of [
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.1:80',
    '1:2:3:4:5:6:7::8:9',
  ]) {
    t.equal(parseBlock(text), null, `block ${JSON.stringify(text)}`);
  }
  t.end();
});

const v4 = fc.ipV4().filter(text => parseAddress(text) !== null);
// Near each other, so that blocks overlap and addresses fall at their ends.
const nearV4 = fc.tuple(fc.nat(1), fc.nat(3)).map(([a, b]) => `10.${a}.0.${b}`);
const nearV6 = fc.tuple(fc.nat(1), fc.nat(3)).map(([a, b]) => `2001:db8:${a}::${b}`);
const addresses = fc.oneof(v4, nearV4, nearV6);
const blocks = addresses.chain(address =>
  fc.nat(address.includes(':') ? 128 : 32).map(bits => `${address}/${bits}`),
);

t.test('many blocks hold what one of them holds', t => {
  fc.assert(
    fc.property(fc.array(blocks, { maxLength: 12 }), addresses, (many, address) => {
      const set = addressSet(many.map(block => parseBlock(block)!));
      return setHolds(set, parseAddress(address)!) === many.some(block => bitsAgree(block, address));
    }),
    { numRuns: 20_000 },
  );
  t.pass('in both families');
  t.end();
});

/** The leading bits as text. */
function bitsAgree(block: string, address: string): boolean {
  const [start, length] = block.split('/') as [string, string];
  const bits = (text: string) =>
    parseAddress(text)!
      .map(word => word.toString(2).padStart(32, '0'))
      .join('');
  if (start.includes(':') !== address.includes(':')) return false;
  return bits(start).slice(0, Number(length)) === bits(address).slice(0, Number(length));
}
