import t from 'tap';
import { urlProblem } from '../../src/config/url.ts';

/** Measured on Go's net/url as Istio's webhook and schema use it, odd ones too. */
const TAKEN = [
  'https://x/y',
  'HTTPS://x',
  'http:x',
  'http:/x',
  'http://',
  'https:///x',
  'https://x:',
  'https://x:99999',
  'https://x:9223372036854775807',
  'https://a/b c',
  'https://a/?%zz',
  'https://a?x#y',
  'https://[::1]:80/',
  'https://[::ffff:1.2.3.4]',
  'https://[fe80::1%25en0]',
  'https://u:p@q@x',
  'https://ü.x/ü',
  'https://x<y>',
  'https://x"y',
  "https://x!$&'()*+,;=~y",
  'https://x%C3%A9y',
  'https://x%25y',
  'https://a]',
  'https:?x',
  'http://x/a?b=c&d#e%20',
];

const REFUSED = [
  '',
  'x',
  '/x',
  '//x',
  '*',
  '://x',
  'ftp://x',
  'https//x',
  '1https://x',
  ' https://x',
  'https ://x',
  'https://x ',
  'https://x\n',
  'https://x/\t',
  'https://a b/',
  'https://a/%zz',
  'https://a/%2',
  'https://a/#%zz',
  'https://a#b',
  'https://a%20b/',
  'https://x%41y',
  'https://x%',
  'https://x:a',
  'https://x:-1',
  'https://x:80:90',
  'https://x:9223372036854775808',
  'https://[::1',
  'https://[::1]x',
  'https://[::1]:a',
  'https://[1.2.3.4]',
  'https://[fe80::1%en0]',
  'https://::1]',
  'https://a[b]',
  'https://u p@x',
  'https://u%zz@x',
  'https://ü@x',
  'https://x^y',
  'https://x|y',
  'https://x\\y',
  'https://x`y',
  'https://x{y',
];

t.test('URLs that Istio takes', async t => {
  for (const url of TAKEN) t.equal(urlProblem(url, ['http', 'https']), null, url);
});

t.test('URLs that Istio refuses', async t => {
  for (const url of REFUSED) t.type(urlProblem(url, ['http', 'https']), 'string', url);
});
