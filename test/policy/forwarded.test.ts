import t from 'tap';
import { parseBlock } from '../../src/policy/address.ts';
import { forwardedAddress } from '../../src/policy/forwarded.ts';

/** Lines of X-Forwarded-For and the address that counts, as Envoy 1.40 read them; '' = none. */
const TABLE: readonly (readonly [readonly string[], string])[] = [
  [[], ''],
  [['10.0.0.9'], '10.0.0.9'],
  [['1.1.1.1, 10.0.0.9'], '10.0.0.9'],
  [['10.0.0.9,1.1.1.1'], '1.1.1.1'],
  [[' \t10.0.0.9\t '], '10.0.0.9'],
  [['1.1.1.1,\t10.0.0.9'], '10.0.0.9'],
  [['10.0.0.9', '1.1.1.1'], '1.1.1.1'],
  [['10.0.0.9', ''], '10.0.0.9'],
  [['', '10.0.0.9'], '10.0.0.9'],
  [['10.0.0.9', 'unknown'], ''],
  [['1.1.1.1', '10.0.0.9,'], ''],
  [[',10.0.0.9'], '10.0.0.9'],
  [['10.0.0.9,'], ''],
  [['10.0.0.9, '], ''],
  [['10.0.0.9,,'], ''],
  [[''], ''],
  [['10.0.0.9:80'], ''],
  [['[2001:db8::1]'], ''],
  [['[2001:db8::1]:80'], ''],
  [['"10.0.0.9"'], ''],
  [['1.1.1.1 10.0.0.9'], ''],
  [['10.0.0.9;x'], ''],
  [['010.0.0.9'], ''],
  [['10.0.9'], ''],
  [['0x0a000009'], ''],
  [['10.0.0.9/32'], ''],
  [['10.0.0.9\xa0'], ''],
  [['2001:DB8:0:0::1'], '2001:db8::1'],
  [['2001:db8::192.168.0.1'], '2001:db8::c0a8:1'],
  [['2001:db8::00001'], ''],
  [['2001:db8::1%1'], '2001:db8::1'],
  [['2001:db8::1%eth0'], ''],
  [['fe80::1%eth0'], 'fe80::1'],
  [['10.0.0.9%eth0'], ''],
  [['::ffff:10.0.0.9'], '::ffff:a00:9'],
];

t.test('the right-most address of X-Forwarded-For', t => {
  for (const [lines, wanted] of TABLE) {
    t.same(forwardedAddress(lines), wanted === '' ? null : parseBlock(wanted)!.words, JSON.stringify(lines));
  }
  t.end();
});
