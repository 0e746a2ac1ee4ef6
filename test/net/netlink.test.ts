import fc from 'fast-check';
import t from 'tap';
import { exchange, type NetlinkMessage, NLM_F_ACK, refusalText, u32 } from '../../src/net/netlink.ts';
import { type NetlinkSocket, openNetlink, Unavailable } from '../../src/net/netlink-socket.ts';
import { addMarkedRoute } from '../../src/net/route-netlink.ts';

/** A kernel that says these things, one a read. */
function kernel(...answers: readonly (Buffer | null)[]): NetlinkSocket & { readonly sent: Buffer[] } {
  const left = [...answers];
  const sent: Buffer[] = [];
  return {
    sent,
    send: messages => {
      sent.push(messages);
    },
    receive: () => {
      const answer = left.shift();
      if (answer === undefined) throw new Error('read once too often');
      return answer;
    },
    close: () => {},
  };
}

interface Said {
  readonly index: number;
  readonly errno?: number;
  readonly flags?: number;
  /** Of the message that it repeats. */
  readonly repeated?: Buffer;
  readonly words?: Buffer;
}

/** struct nlmsgerr */
function answer({
  index,
  errno = 0,
  flags = 0,
  repeated = Buffer.alloc(0),
  words = Buffer.alloc(0),
}: Said): Buffer {
  const inner = [u32(16 + repeated.length), u32(0), u32(index + 1), u32(0), repeated];
  const body = Buffer.concat([u32((2 ** 32 - errno) % 2 ** 32), ...inner, words]);
  return Buffer.concat([u32(16 + body.length), u32(2 | (flags << 16)), u32(index + 1), u32(0), body]);
}

const ACKNOWLEDGED: NetlinkMessage = { type: 20, flags: NLM_F_ACK, body: Buffer.from('abcde') };
const SILENT: NetlinkMessage = { type: 21, flags: 0, body: Buffer.alloc(0) };

t.test('messages go in one piece, numbered and aligned; the last acknowledgement ends it', t => {
  const socket = kernel(Buffer.concat([answer({ index: 0 }), answer({ index: 2 })]));
  t.equal(exchange(socket, [ACKNOWLEDGED, SILENT, ACKNOWLEDGED, SILENT]), null);
  t.equal(socket.sent.length, 1);
  t.equal(socket.sent[0]?.length, 24 + 16 + 24 + 16);
  t.end();
});

t.test('the first refusal is given, with the place in the message and the words of the kernel', t => {
  const word = Buffer.from('no such thing\0\0\0');
  const words = Buffer.concat([u32((4 + 14) | (1 << 16)), word, u32(8 | (2 << 16)), u32(20)]);
  const said = answer({ index: 1, errno: 95, flags: 0x200, repeated: Buffer.from('12345678'), words });
  const refusal = exchange(kernel(answer({ index: 0 }), said), [ACKNOWLEDGED, ACKNOWLEDGED, ACKNOWLEDGED]);
  t.same(refusal, { index: 1, errno: 95, offset: 20, words: 'no such thing' });
  t.equal(refusal && refusalText(refusal), 'ENOTSUP (no such thing)');
  const capped = answer({ index: 0, errno: 1, flags: 0x100 });
  t.same(exchange(kernel(capped), [ACKNOWLEDGED]), { index: 0, errno: 1, offset: null, words: '' });
  t.end();
});

t.test('an answer that is cut, or none, is a failure', t => {
  t.throws(() => exchange(kernel(null), [ACKNOWLEDGED]), { message: 'the kernel did not answer' });
  for (const length of [17, 20, 35])
    t.throws(() => exchange(kernel(answer({ index: 0 }).subarray(0, length)), [ACKNOWLEDGED]), {
      message: 'the kernel answered in part',
    });
  t.end();
});

t.test('whatever is read, it is an answer, or a failure of one line', t => {
  const valid = answer({
    index: 1,
    errno: 95,
    flags: 0x200,
    words: Buffer.concat([u32(8 | (2 << 16)), u32(20)]),
  });
  const change = fc.tuple(fc.nat(valid.length - 1), fc.nat(255));
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map(any => Buffer.from(any)),
    fc.array(change, { maxLength: 6 }).map(changes => {
      const changed = Buffer.from(valid);
      for (const [at, byte] of changes) changed[at] = byte;
      return changed;
    }),
  );
  fc.assert(
    fc.property(bytes, said => {
      try {
        const refusal = exchange(kernel(said, null), [ACKNOWLEDGED, ACKNOWLEDGED]);
        return refusal === null || refusal.errno > 0;
      } catch (error) {
        return /^the kernel (?:did not answer|answered in part)$/.test((error as Error).message);
      }
    }),
    { numRuns: 3_000 },
  );
  t.end();
});

t.test('a kernel that lacks what is asked for is told apart', { skip: process.platform !== 'linux' }, t => {
  const NOBODYS = 31; // the last number that there may be
  t.throws(() => openNetlink(NOBODYS, 'NETLINK_NOBODY'), {
    constructor: Unavailable,
    message: 'no NETLINK_NOBODY socket: EPROTONOSUPPORT; the kernel is built without it',
  });
  t.end();
});

t.test('a kernel without policy routing is named', t => {
  const socket = kernel(answer({ index: 0, errno: 95, flags: 0x100 }));
  t.throws(() => addMarkedRoute({ family: 6, mark: 1337, table: 133 }, () => socket), {
    message: /^ip -6 rule fwmark 1337 lookup 133: ENOTSUP \(.+\); the kernel has no policy routing \(CONFIG_/,
  });
  t.end();
});
