import t from 'tap';
import { isHttp1, isTls, RequestLineScreen } from '../../src/net/detect.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

t.test('TLS is a handshake record', async t => {
  for (const [text, verdict] of [
    ['', null],
    ['\x16', null],
    ['\x16\x03', true],
    ['\x16\x03\x01\x02\x00', true],
    ['\x16\x02', false],
    ['\x15\x03', false],
    ['\x17\x03', false],
    ['G', false],
    ['\x80\x2e\x01', false],
  ] as const) {
    t.equal(isTls(bytes(text)), verdict, JSON.stringify(text));
  }
});

const HTTP = [
  'GET / HTTP/1.1\r\n',
  'GET / HTTP/1.0\n',
  'POST /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\n',
  'CONNECT a:1 HTTP/1.1\r\n',
  'UPDATEREDIRECTREF / HTTP/1.1\r\n',
  'M-SEARCH * HTTP/1.1\r\n',
  '\r\n\r\nGET / HTTP/1.1\r\n',
  '\nGET / HTTP/1.1\r\n',
  ' \t GET / HTTP/1.1\r\n',
  'get / http/1.1\r\n',
  // Python's servers split at all of these, and answer a line without a version.
  '\fGET / HTTP/1.1\r\n',
  '\x1c\x85\xa0GET /\r\n',
  'GET\x1f/\r\n',
  'GET\r/\r\n',
  'GET  /  HTTP/1.1\r\n',
  'GET / HTTP/9.9\r\n',
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  'PUT ',
];
const OTHER = [
  'SSH-2.0-OpenSSH_9.9\r\n',
  '*1\r\n$4\r\nPING\r\n',
  'PING\r\n',
  'POST\r\n',
  'EHLO there\r\n',
  'USER me\r\n',
  '\x00\x00\x00\x08\x04\xd2\x16\x2f', // PostgreSQL's SSLRequest
  '\x16\x03\x01\x02\x00',
  'GETTING nothing\n',
  '{"jsonrpc":"2.0"}\n',
  'AVERYLONGWORDTHATISNOMETHODOFANYBODY x',
];

t.test('a request line is HTTP, however malformed; so is the preface of HTTP/2', async t => {
  for (const text of HTTP) t.equal(isHttp1(bytes(text)), true, JSON.stringify(text));
});

t.test('other protocols are not', async t => {
  for (const text of OTHER) t.equal(isHttp1(bytes(text)), false, JSON.stringify(text));
});

t.test('no prefix decides against what the whole is', async t => {
  for (const text of HTTP) {
    for (let length = 0; length < text.length; length++)
      t.not(isHttp1(bytes(text.slice(0, length))), false, JSON.stringify(text.slice(0, length)));
  }
  for (const text of OTHER) {
    for (let length = 0; length < text.length; length++)
      t.not(isHttp1(bytes(text.slice(0, length))), true, JSON.stringify(text.slice(0, length)));
  }
});

t.test('it does not wait for ever: a line without an end decides', async t => {
  t.equal(isHttp1(bytes('BREW '.padEnd(40_000, 'a'))), true, 'a request line too long, to be refused as one');
  t.equal(isHttp1(bytes('\r\n'.repeat(20_000))), false);
  t.equal(isHttp1(bytes('A'.repeat(40_000))), false, 'no method is that long');
  t.equal(isHttp1(bytes('QUJD'.repeat(20_000).toLowerCase())), false);
});

t.test('what passed as another protocol is watched until its first line is over', async t => {
  for (const whole of [
    'zzz / HTTP/1.1\r\n',
    '\fzzz\x1f/ HTTP/1.1\r\n',
    '\x0bGET\x1c/\r\n',
    'OPTIONS /\r\n',
  ]) {
    for (let cut = 1; cut < whole.length; cut++) {
      const screen = new RequestLineScreen();
      const passed = screen.passes(bytes(whole.slice(0, cut))) && screen.passes(bytes(whole.slice(cut)));
      t.notOk(passed, `${JSON.stringify(whole)} cut at ${cut}`);
    }
  }
  const screen = new RequestLineScreen();
  t.ok(screen.passes(bytes('PING\r\nGET / HTTP/1.1\r\n')));
  t.ok(screen.done);
  t.ok(screen.passes(bytes('GET / HTTP/1.1\r\n')), 'after that nothing is');
});
