import { isIP } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { addressFamily, isAddressOrRange } from '../../src/config/addresses.ts';
import { parseDuration } from '../../src/config/duration.ts';
import { nearest } from '../../src/config/nearest.ts';

t.test('addresses are those that Node knows, but for the zone of an IPv6 one', async t => {
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.string({ unit: fc.constantFrom(...'0123456789abcdef.:'), maxLength: 24 }),
    fc.string({ unit: fc.constantFrom(...'01:'), maxLength: 18 }),
  );
  fc.assert(
    fc.property(text, value => (addressFamily(value) ?? 0) === isIP(value)),
    { numRuns: 2_000 },
  );
  t.equal(addressFamily('fe80::1%eth0'), 6);
  t.equal(addressFamily('fe80::1%'), null);
  t.equal(addressFamily('10.0.0.1%eth0'), null);
});

t.test('a range is an address with a prefix length', async t => {
  for (const text of ['10.0.0.0/8', '10.0.0.1/32', '0.0.0.0/0', '::/0', '2001:db8::/128', '10.0.0.1']) {
    t.ok(isAddressOrRange(text), text);
  }
  for (const text of [
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/08',
    '10.0.0.0/+8',
    '10.0.0.0/',
    '/8',
    '10.0/8',
    '::1%a/64',
    'a/8',
    '10.0.0.0/8/8',
    '',
  ]) {
    t.notOk(isAddressOrRange(text), text);
  }
});

const DURATIONS: Readonly<Record<string, number | null>> = {
  '10s': 10_000,
  '1h30m': 5_400_000,
  '500ms': 500,
  '1.5s': 1_500,
  '.5s': 500,
  '5.s': 5_000,
  '1m0.1s': 60_100,
  '100us': 0.1,
  '1µs': 0.001,
  '+1s': 1_000,
  '-1s': -1_000,
  '0': 0,
  '0s': 0,
  '10': null,
  '': null,
  s: null,
  '1d': null,
  '1h1': null,
  '1 s': null,
  '1e3s': null,
  '.s': null,
};

for (const [text, ms] of Object.entries(DURATIONS)) {
  t.test(`the duration ${JSON.stringify(text)} is ${ms} ms`, async t => {
    t.equal(parseDuration(text), ms);
  });
}

t.test('the word that was meant is at most two letters away', async t => {
  t.equal(nearest('principal', ['namespaces', 'principals']), 'principals');
  t.equal(nearest('strict', ['STRICT', 'DISABLE']), 'STRICT');
  t.equal(nearest('something', ['principals']), null);
  t.equal(nearest('x', ['to']), null);
});
