import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { createServer } from 'node:tls';
import fc from 'fast-check';
import t from 'tap';
import { ClientHelloReader, type Opening } from '../../src/net/client-hello.ts';
import { testAuthority, testIdentity } from '../certificates.ts';
import {
  ALPN,
  alpnBody,
  type Extension,
  extensionsAt,
  inRecords,
  realHello,
  SERVER_NAME,
  serverNameBody,
  withExtensions,
  withoutExtensions,
} from './hellos.ts';

const hello = await realHello({ ALPNProtocols: ['istio-http/1.1', 'istio'], servername: 'A.Example' });
const FACTS = { sni: 'a.example', alpn: ['istio-http/1.1', 'istio'] };

/** All at once. */
function read(bytes: Buffer): Opening | null {
  return new ClientHelloReader().look(bytes);
}

/** One byte more at a time; also how many it took. */
function readSlowly(bytes: Buffer): { opening: Opening | null; after: number } {
  const reader = new ClientHelloReader();
  for (let length = 0; length <= bytes.length; length++) {
    const opening = reader.look(bytes.subarray(0, length));
    if (opening !== null) return { opening, after: length };
  }
  return { opening: null, after: bytes.length };
}

t.test('it says what a TLS server hears of the same client', async t => {
  const authority = await testAuthority();
  const { certChainPem: cert, keyPem: key } = await testIdentity(authority, 'foo/httpbin');
  let offered: string[] = [];
  const server = createServer({
    cert,
    key,
    ALPNCallback: ({ protocols }) => {
      offered = protocols;
      return protocols[0];
    },
  });
  server.on('tlsClientError', () => {});
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const lists = [
    undefined,
    ['istio'],
    ['istio-peer-exchange', 'istio'],
    ['istio-http/1.1', 'istio', 'http/1.1'],
    ['istio-h2', 'istio', 'h2'],
    ['h2', 'http/1.1'],
    ['x', 'ISTIO', '#@!'],
    Array.from({ length: 60 }, (_, at) => `protocol-${at}`.padEnd(at + 20, 'x')),
  ];
  const names = [undefined, 'localhost', 'OUTBOUND_.80_._.Httpbin.foo.svc.cluster.local', 'x'.repeat(255)];
  for (const ALPNProtocols of lists) {
    for (const servername of names) {
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        const bytes = await realHello({
          maxVersion,
          ...(ALPNProtocols && { ALPNProtocols: alpnBody(...ALPNProtocols).subarray(2) }),
          ...(servername !== undefined && { servername }),
        });
        offered = [];
        const heard = once(server, 'heard') as Promise<[string | false]>;
        server.once('connection', raw => raw.resume());
        server.once('tlsClientError', (_, socket) => server.emit('heard', socket.servername ?? false));
        const client = connectTcp(port, '127.0.0.1');
        client.on('error', () => {});
        client.end(bytes);
        const [name] = await heard;
        client.destroy();
        const expected = { sni: name ? name.toLowerCase() : null, alpn: offered };
        t.strictSame(read(bytes), expected, `${ALPNProtocols} ${servername} ${maxVersion}`);
        t.strictSame(expected.sni, servername?.toLowerCase() ?? null);
        t.equal(expected.alpn.length, ALPNProtocols?.length ?? 0);
      }
    }
  }
});

t.test('where it is cut changes nothing: no byte short, and then whole', async t => {
  const { opening, after } = readSlowly(hello);
  t.strictSame(opening, FACTS);
  t.equal(after, hello.length, 'not before its last byte');
  for (let cut = 0; cut <= hello.length; cut++) {
    const reader = new ClientHelloReader();
    const first = reader.look(hello.subarray(0, cut));
    if (cut < hello.length) t.equal(first, null);
    t.strictSame(first ?? reader.look(hello), FACTS);
  }
});

t.test('it may come in several records, of any size, with bytes of the client after it', async t => {
  for (const sizes of [[1], [2], [3, 1, 400], [4], [5], [100], [1, 2, 3, 4, 5, 6, 7], [hello.length]]) {
    const bytes = inRecords(hello, ...sizes);
    t.strictSame(read(bytes), FACTS, `records of ${sizes}`);
    t.strictSame(readSlowly(bytes).opening, FACTS);
    t.strictSame(read(Buffer.concat([bytes, Buffer.from('early data')])), FACTS);
  }
  t.strictSame(read(Buffer.concat([Buffer.from('1603010000', 'hex'), hello])), FACTS, 'after an empty one');
});

const without = (type: number) => (all: Extension[]) => all.filter(extension => extension.type !== type);
const replaced = (type: number, body: Buffer) => (all: Extension[]) => [
  ...without(type)(all),
  { type, body },
];
const added = (type: number, body: Buffer) => (all: Extension[]) => [...all, { type, body }];
const patched = (at: number, value: number) => {
  const bytes = Buffer.from(hello);
  bytes[at] = value;
  return bytes;
};

t.test('a hello may say little', async t => {
  const NOTHING = { sni: null, alpn: [] };
  t.strictSame(read(withoutExtensions(hello)), NOTHING, 'no extensions');
  t.strictSame(read(withExtensions(hello, () => [])), NOTHING, 'an empty list of them');
  t.strictSame(read(withExtensions(hello, without(ALPN))), { ...FACTS, alpn: [] });
  t.strictSame(read(withExtensions(hello, without(SERVER_NAME))), { ...FACTS, sni: null });
  t.strictSame(read(withExtensions(hello, added(0x1a1a, Buffer.from('00', 'hex')))), FACTS, 'GREASE');
  for (const minor of [0, 1, 3, 4, 9, 255])
    t.strictSame(read(patched(2, minor)), FACTS, `version 3.${minor}`);
});

t.test('protocols that cannot be read are none', async t => {
  for (const [says, body] of [
    ['no list', Buffer.alloc(0)],
    ['an empty list', alpnBody()],
    ['an empty name', alpnBody('istio', '')],
    ['a length that is too long', Buffer.concat([Buffer.from('0020', 'hex'), alpnBody('istio').subarray(2)])],
    [
      'a length that is too short',
      Buffer.concat([Buffer.from('0003', 'hex'), alpnBody('istio').subarray(2)]),
    ],
    ['a byte after the list', Buffer.concat([alpnBody('istio'), Buffer.alloc(1)])],
    ['a name that is cut off', Buffer.from('00030569'.concat('73'), 'hex')],
  ] as const) {
    t.strictSame(read(withExtensions(hello, replaced(ALPN, body))), { ...FACTS, alpn: [] }, says);
  }
});

t.test('what is malformed is no TLS, as soon as that is certain', async t => {
  const noSni = (body: Buffer) => withExtensions(hello, replaced(SERVER_NAME, body));
  const shortBy = (at: number, by: number) => {
    const bytes = Buffer.from(hello);
    bytes.writeUInt16BE(bytes.readUInt16BE(at) - by, at);
    return bytes;
  };
  const announced = (length: number) => {
    const bytes = Buffer.from(hello);
    bytes.writeUIntBE(length, 6, 3);
    return bytes;
  };
  for (const [says, bytes] of [
    ['plaintext', Buffer.from('GET / HTTP/1.1\r\n')],
    ['another kind of record', patched(0, 0x15)],
    ['another major version', patched(1, 2)],
    ['a record longer than records are', patched(3, 0x42)],
    ['another message', patched(5, 2)],
    ['a message of 16 MiB', announced(0xffffff)],
    ['a message of one byte more than is taken', announced(2 ** 14 + 1)],
    [
      'a second record of another kind',
      Buffer.concat([inRecords(hello, 20).subarray(0, 25), Buffer.from('17')]),
    ],
    ['33 empty records', Buffer.concat([...Array(33).fill(Buffer.from('1603010000', 'hex')), hello])],
    ['a session id of 33 bytes', patched(43, 33)],
    ['no room for the random', Buffer.from('16030100080100000403030000', 'hex')],
    ['extensions longer than they say', shortBy(extensionsAt(hello), 3)],
    ['the same extension twice', withExtensions(hello, added(ALPN, alpnBody('foo')))],
    ['two server names', withExtensions(hello, added(SERVER_NAME, serverNameBody('b')))],
    ['an unknown extension twice', withExtensions(hello, all => [...all, grease, grease])],
    ['a list of two server names', noSni(serverNameBody('a', 'b'))],
    ['an empty list of server names', noSni(serverNameBody())],
    ['an empty server name', noSni(serverNameBody(''))],
    ['a server name with a NUL', noSni(serverNameBody('a\0b'))],
    ['a server name of 256 bytes', noSni(serverNameBody('a'.repeat(256)))],
    ['a name of another type', noSni(Buffer.from('000401000161', 'hex'))],
  ] as const) {
    t.equal(read(bytes), 'not-tls', says);
    t.equal(readSlowly(bytes).opening, 'not-tls', `${says}, byte by byte`);
  }
  t.equal(
    read(Buffer.concat(Array(32).fill(Buffer.from('1603010000', 'hex')))),
    null,
    '32 empty ones may be',
  );
});
const grease: Extension = { type: 0x9999, body: Buffer.alloc(0) };

t.test('a hello without an end is too large after 16 KiB', async t => {
  const padded = withExtensions(hello, added(21, Buffer.alloc(16_384 - hello.length)));
  t.equal(read(padded.subarray(0, 16_383)), null);
  t.equal(read(padded.subarray(0, 16_384)), 'too-large');
  t.equal(read(padded), 'too-large', 'whatever came with it');
  const large = withExtensions(hello, added(21, Buffer.alloc(16_384 - 4 - hello.length)));
  t.strictSame(read(large), FACTS, 'a little less is read');
  const announced = Buffer.concat([Buffer.from('16030140000100', 'hex'), Buffer.alloc(20_000)]);
  t.equal(read(announced), 'too-large', 'a record that never ends');
});

t.test('whatever is changed in it, the verdict is the same in any pieces, and nothing throws', async t => {
  const bases = [hello, inRecords(hello, 3, 50, 7), withExtensions(hello, added(0x2a2a, Buffer.alloc(3)))];
  const mutant = fc
    .record({
      base: fc.constantFrom(...bases),
      changes: fc.array(fc.tuple(fc.nat(hello.length + 40), fc.integer({ min: 0, max: 255 })), {
        maxLength: 6,
      }),
      end: fc.option(fc.nat(hello.length), { freq: 3 }),
    })
    .map(({ base, changes, end }) => {
      const bytes = Buffer.from(base);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes.subarray(0, end ?? bytes.length);
    });
  const anything = fc.uint8Array({ maxLength: 400 }).map(tail => Buffer.from([0x16, 3, 1, ...tail]));
  fc.assert(
    fc.property(
      fc.oneof(mutant, anything),
      fc.array(fc.nat(hello.length), { maxLength: 8 }),
      (bytes, cuts) => {
        const reader = new ClientHelloReader();
        let opening: Opening | null = null;
        for (const cut of [...cuts.sort((a, b) => a - b), bytes.length])
          opening ??= reader.look(bytes.subarray(0, cut));
        t.strictSame(opening, read(bytes));
      },
    ),
    { numRuns: 3_000 },
  );
});
