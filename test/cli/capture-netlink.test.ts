import t from 'tap';
import { type Chain, chainsOf } from '../../src/cli/capture-chains.ts';
import { addressBytes } from '../../src/cli/capture-expressions.ts';
import { enforceByNetlink } from '../../src/cli/capture-netlink.ts';
import type { CaptureRules } from '../../src/cli/capture-rules.ts';
import { u32 } from '../../src/net/netlink.ts';
import type { NetlinkSocket } from '../../src/net/netlink-socket.ts';

const RULES: CaptureRules = {
  mode: 'tproxy',
  ipv6: true,
  inboundPort: 15_006,
  outboundPort: 15_001,
  uids: [1337],
  gids: [1337],
  includeInboundPorts: null,
  excludeInboundPorts: [],
  includeOutboundPorts: [],
  excludeOutboundPorts: [],
  includeOutboundRanges: null,
  excludeOutboundRanges: [],
  excludeInterfaces: [],
};

const [ENOENT, EEXIST, EOPNOTSUPP] = [2, 17, 95];
const NEWRULE = (10 << 8) | 6;

interface Fault {
  readonly errno: number;
  /** The message that is refused, from the batch's first on. */
  at(bytes: Buffer): number;
  /** The expression that is at fault, when the kernel says so. */
  readonly expression?: string;
}

/** A kernel that refuses one message; closed when it is done. */
function refusing({ errno, at, expression }: Fault): NetlinkSocket & { readonly state: { open: boolean } } {
  const state = { open: true };
  let answer: Buffer | null = null;
  return {
    state,
    send: bytes => {
      const sequence = at(bytes);
      const message = messagesIn(bytes)[sequence - 1] ?? Buffer.alloc(0);
      const place = expression === undefined ? -1 : message.indexOf(`${expression}\0`);
      const words = place < 0 ? [] : [u32(8 | (2 << 16)), u32(place - 8)];
      const flags = 0x100 | (words.length > 0 ? 0x200 : 0);
      const repeated = [u32(message.length), u32(0), u32(sequence), u32(0)];
      const body = Buffer.concat([u32(2 ** 32 - errno), ...repeated, ...words]);
      answer = Buffer.concat([u32(16 + body.length), u32(2 | (flags << 16)), u32(sequence), u32(0), body]);
    },
    receive: () => answer,
    close: () => {
      state.open = false;
    },
  };
}

function messagesIn(bytes: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at))
    found.push(bytes.subarray(at, at + bytes.readUInt32LE(at)));
  return found;
}

/** The first rule that has this expression. */
function ruleWith(expression: string): (bytes: Buffer) => number {
  return bytes =>
    1 +
    messagesIn(bytes).findIndex(
      message => message.readUInt16LE(4) === NEWRULE && message.includes(`${expression}\0`),
    );
}

t.test('a kernel without something is told apart from the others, in one line', t => {
  const rows: readonly (readonly [fault: Fault, message: RegExp])[] = [
    [
      { errno: EOPNOTSUPP, at: () => 1 },
      /^netlink: ENOTSUP \([^)]+\); the kernel has no nf_tables \(CONFIG_NF_TABLES\)$/,
    ],
    [
      { errno: EOPNOTSUPP, at: () => 2 },
      /^netlink: table inet outrider: ENOTSUP \([^)]+\); the kernel has no nf_tables for both families \(CONFIG_NF_TABLES_INET\)$/,
    ],
    [
      { errno: ENOENT, at: () => 6 },
      /^netlink: chain outbound of type nat: ENOENT \([^)]+\); the kernel has no nft_chain_nat for both families \(Linux 5\.2\)$/,
    ],
    [
      { errno: ENOENT, at: ruleWith('tproxy'), expression: 'tproxy' },
      /^netlink: the rule 'meta l4proto tcp tproxy to :15006 accept' of chain inbound: ENOENT \([^)]+\); the kernel has no nft_tproxy$/,
    ],
    [
      { errno: ENOENT, at: ruleWith('redir'), expression: 'redir' },
      /^netlink: the rule 'oifname .+ redirect to :15006' of chain outbound: ENOENT \([^)]+\); the kernel has no nft_redir$/,
    ],
    [
      { errno: ENOENT, at: ruleWith('bitwise'), expression: 'bitwise' },
      /^netlink: the rule 'ct state established,related return' of chain inbound: .+; the kernel has no expression bitwise in nf_tables$/,
    ],
    [
      { errno: ENOENT, at: ruleWith('ct') },
      /; the kernel has no module that it takes \(one of nft_ct, nft_redir, nft_tproxy\)$/,
    ],
    [{ errno: EEXIST, at: ruleWith('ct') }, /^netlink: the rule '[^']+' of chain inbound: EEXIST \([^)]+\)$/],
  ];
  for (const [fault, message] of rows) {
    const socket = refusing(fault);
    t.throws(() => enforceByNetlink(RULES, () => socket), { message });
    t.equal(socket.state.open, false, 'closed');
  }
  t.end();
});

t.test('of a rule with very many ports a line has the beginning', t => {
  const ports = Array.from({ length: 1_000 }, (_, at) => [at + 1, at + 1] as const);
  const socket = refusing({ errno: EEXIST, at: ruleWith('lookup') });
  t.throws(() => enforceByNetlink({ ...RULES, excludeInboundPorts: ports }, () => socket), {
    message: /^netlink: the rule 'tcp dport \{ 15008, .{50,120}…' of chain inbound: EEXIST/,
  });
  t.end();
});

t.test('a kernel without nf_tables has nothing to remove', t => {
  t.doesNotThrow(() => enforceByNetlink(null, () => refusing({ errno: EOPNOTSUPP, at: () => 1 })));
  t.throws(() => enforceByNetlink(null, () => refusing({ errno: 1, at: () => 1 })), {
    message: /^netlink: EPERM \([^)]+\); needs the capabilities NET_ADMIN and NET_RAW$/,
  });
  t.end();
});

t.test('only TPROXY marks, and gives answers their way back', t => {
  const names = (chains: readonly Chain[]): string[] => chains.map(({ name }) => name);
  t.same(names(chainsOf(RULES)), ['inbound', 'outbound', 'answers']);
  t.same(names(chainsOf({ ...RULES, mode: 'redirect' })), ['inbound', 'outbound']);
  t.notMatch(JSON.stringify(chainsOf({ ...RULES, mode: 'redirect' })), 'mark');
  t.end();
});

t.test('an address is its bytes in whatever spelling', t => {
  const rows = [
    ['10.0.0.1', '0a000001'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['1::', '00010000000000000000000000000000'],
    ['fd00:1::2:3', 'fd000001000000000000000000020003'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['::ffff:1.2.3.4', '00000000000000000000ffff01020304'],
    ['1:2:3:4:5:6:1.2.3.4', '00010002000300040005000601020304'],
  ] as const;
  for (const [address, bytes] of rows) t.equal(addressBytes(address).toString('hex'), bytes, address);
  t.end();
});
