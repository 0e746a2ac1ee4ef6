import t from 'tap';
import { grpcStatusOfHttp, grpcTimeoutMs, isGrpcContent } from '../../src/http/grpc.ts';
import { GrpcMessages } from '../../src/http/grpc-messages.ts';

function message(bytes: number): Buffer {
  const framed = Buffer.alloc(5 + bytes, 0x7f);
  framed[0] = 0;
  framed.writeUInt32BE(bytes, 1);
  return framed;
}

t.test('messages are counted wherever their bytes are cut', async t => {
  const sizes = [0, 1, 4, 5, 6, 300, 0, 0];
  const bytes = Buffer.concat(sizes.map(message));
  for (let size = 1; size <= bytes.length; size++) {
    const messages = new GrpcMessages();
    for (let at = 0; at < bytes.length; at += size) messages.feed(bytes.subarray(at, at + size));
    if (messages.count !== sizes.length || !messages.whole) t.fail(`in pieces of ${size}`);
  }
  for (let cut = 0; cut <= bytes.length; cut++) {
    const messages = new GrpcMessages();
    messages.feed(bytes.subarray(0, cut));
    messages.feed(bytes.subarray(cut));
    if (messages.count !== sizes.length || !messages.whole) t.fail(`cut at ${cut}`);
  }
});

t.test('a message counts when it begins, and is whole when its last byte came', async t => {
  const messages = new GrpcMessages();
  t.ok(messages.whole);
  for (const [byte, whole] of [
    [1, false],
    [0, false],
    [0, false],
    [0, false],
    [1, false],
    [9, true],
  ] as const) {
    messages.feed(Buffer.from([byte]));
    t.same([messages.count, messages.whole], [1, whole]);
  }
});

t.test('a length of four bytes is read as it is', async t => {
  const messages = new GrpcMessages();
  messages.feed(Buffer.from([0, 0xff, 0xff, 0xff, 0xff]));
  messages.feed(Buffer.alloc(1_000));
  t.same([messages.count, messages.whole], [1, false]);
  const cut = new GrpcMessages();
  for (const byte of [0, 0xff, 0xff, 0xff, 0xff, 0, 0]) cut.feed(Buffer.from([byte]));
  t.same([cut.count, cut.whole], [1, false]);
});

t.test('grpc-timeout has at most eight digits and a unit', async t => {
  const table: readonly (readonly [string, number])[] = [
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['3S', 3_000],
    ['250m', 250],
    ['1500u', 1.5],
    ['5000n', 0.005],
    ['99999999m', 99_999_999],
    ['007S', 7_000],
  ];
  for (const [value, ms] of table) t.ok(Math.abs(grpcTimeoutMs(value) - ms) < 1e-9, value);
  for (const value of [
    '',
    'S',
    '0S',
    '1',
    '1s',
    '-1S',
    '+1S',
    '1.5S',
    '100000000m',
    '1 S',
    '1S ',
    '1mm',
    '0x1S',
  ])
    t.equal(grpcTimeoutMs(value), Number.POSITIVE_INFINITY, `${JSON.stringify(value)} sets no limit`);
});

t.test('gRPC-Web is another protocol', async t => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'Application/gRPC;x=1',
    'application/grpc ;x',
  ])
    t.ok(isGrpcContent(type), type);
  for (const type of [
    null,
    undefined,
    '',
    'text/html',
    'application/grpc-web',
    'application/grpc-web-text+proto',
    'application/grpcx',
  ])
    t.notOk(isGrpcContent(type), String(type));
});

t.test('a status of HTTP stands for one of gRPC', async t => {
  const table = {
    200: 2,
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    429: 14,
    500: 2,
    502: 14,
    503: 14,
    504: 14,
    418: 2,
  };
  for (const [status, wanted] of Object.entries(table))
    t.equal(grpcStatusOfHttp(Number(status)), wanted, status);
});
