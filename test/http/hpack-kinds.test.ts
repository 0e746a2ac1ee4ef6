/** Names and values of HTTP/2: which kind a name is, what is none. */
import t from 'tap';
import {
  CONNECTION,
  CONTENT_LENGTH,
  FIELD_CHAR,
  HOST,
  PLAIN,
  TCHAR,
  TE,
  XFCC,
} from '../../src/http/fields.ts';
import {
  AUTHORITY,
  AUTHORIZATION,
  COOKIE,
  GRPC_STATUS,
  isFieldValue,
  kindOf,
  MALFORMED,
  METHOD,
  nameFault,
  PATH,
  PROTOCOL,
  SCHEME,
  STATUS,
  UNKNOWN_PSEUDO,
  valueFault,
} from '../../src/http/h2-field-kind.ts';

t.test('a name has its kind', async t => {
  for (const [name, kind] of [
    [':method', METHOD],
    [':scheme', SCHEME],
    [':authority', AUTHORITY],
    [':path', PATH],
    [':protocol', PROTOCOL],
    [':status', STATUS],
    [':', UNKNOWN_PSEUDO],
    [':Path', UNKNOWN_PSEUDO],
    [':path ', UNKNOWN_PSEUDO],
    ['cookie', COOKIE],
    ['grpc-status', GRPC_STATUS],
    ['authorization', AUTHORIZATION],
    ['accept', PLAIN],
    ['accept-lang', PLAIN],
    ['accept-charse', PLAIN],
    ['host', HOST],
    ['te', TE],
    ['connection', CONNECTION],
    ['content-length', CONTENT_LENGTH],
    ['x_forwarded-client_cert', XFCC],
    ['', MALFORMED],
    ['Host', MALFORMED],
    ['cookiE', MALFORMED],
    ['a b', MALFORMED],
    ['a:', MALFORMED],
    ['\xe9', MALFORMED],
    ['\u0161', MALFORMED],
  ] as const) {
    t.equal(kindOf(name), kind, JSON.stringify(name));
  }
});

t.test('every byte that is no tchar, and every upper-case letter, makes a name malformed', async t => {
  for (let c = 0; c < 256; c++) {
    const byte = String.fromCharCode(c);
    const fine = TCHAR[c] === 1 && byte === byte.toLowerCase();
    t.equal(kindOf(`a${byte}b`), fine ? PLAIN : MALFORMED, `0x${c.toString(16)}`);
  }
});

t.test(
  'every byte that is no field character, and white space at an end, makes a value malformed',
  async t => {
    for (let c = 0; c < 256; c++) {
      const byte = String.fromCharCode(c);
      const inside = FIELD_CHAR[c] === 1;
      const outside = inside && c !== 0x20 && c !== 0x09;
      t.equal(isFieldValue(`a${byte}b`), inside, `inside 0x${c.toString(16)}`);
      for (const value of [byte, `${byte}a`, `a${byte}`]) {
        t.equal(isFieldValue(value), outside, JSON.stringify(value));
      }
    }
    t.equal(isFieldValue(''), true);
  },
);

t.test('a fault is named', async t => {
  t.same(['', 'aB', 'a\0', 'a\xe9'].map(nameFault), [
    'empty header name',
    'upper case in a header name',
    'invalid character in a header name',
    'invalid character in a header name',
  ]);
  t.same(['a\0b', 'a\rb', 'a\n', 'a\x7f', ' a', 'a\t'].map(valueFault), [
    'NUL byte',
    'bare CR',
    'bare LF',
    'control character in a header value',
    'white space around a header value',
    'white space around a header value',
  ]);
});
