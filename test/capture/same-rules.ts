/**
 * Run in a network namespace of its own: what nft lists after the netlink backend is what it lists after `nft -f -` of the
 * same rules. `node same-rules.ts RUNS`; a difference is the program's failure.
 */
import { strictEqual } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { SocketAddress } from 'node:net';
import fc from 'fast-check';
import { enforceByNetlink } from '../../src/cli/capture-netlink.ts';
import { nftText } from '../../src/cli/capture-nft.ts';
import type { CaptureRules, Ports } from '../../src/cli/capture-rules.ts';

const port = fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constantFrom(1, 2, 53, 15_008, 65_534, 65_535));
const span = fc
  .tuple(port, port)
  .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
  .chain(([from, to]) => fc.constantFrom([from, from] as const, [from, to] as const));
const ports: fc.Arbitrary<Ports> = fc.array(span, { maxLength: 7 });

const four = fc.tuple(fc.ipV4(), fc.option(fc.integer({ min: 0, max: 32 })));
const groups = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytes =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/.{4}(?!$)/g, '$&:'),
);
const shortened = groups.map(address => new SocketAddress({ address, family: 'ipv6' }).address);
const special = fc.constantFrom('::', '::1', 'fd00::', '1::', '::ffff:10.0.0.1', '64:ff9b::192.0.2.33');
const six = fc.tuple(fc.oneof(groups, shortened, special), fc.option(fc.integer({ min: 0, max: 128 })));
const ranges = fc.array(
  fc.oneof(four, six).map(([address, bits]) => (bits === null ? address : `${address}/${bits}`)),
  { maxLength: 5 },
);
const interfaceName = fc.stringMatching(/^[A-Za-z0-9_.@:][A-Za-z0-9_.@:-]{0,13}[A-Za-z0-9_.@:+-]$/);
const ids = fc.array(fc.integer({ min: 0, max: 4_294_967_294 }), { minLength: 1, maxLength: 3 });

const rules: fc.Arbitrary<CaptureRules> = fc.record({
  mode: fc.constantFrom('redirect', 'tproxy'),
  ipv6: fc.boolean(),
  inboundPort: port,
  outboundPort: port,
  uids: ids,
  gids: ids,
  includeInboundPorts: fc.option(ports),
  excludeInboundPorts: ports,
  includeOutboundPorts: ports,
  excludeOutboundPorts: ports,
  includeOutboundRanges: fc.option(ranges),
  excludeOutboundRanges: ranges,
  excludeInterfaces: fc.array(interfaceName, { maxLength: 3 }),
});

function nft(args: readonly string[], input = ''): string {
  return execFileSync('nft', args, { input, encoding: 'utf8', maxBuffer: 2 ** 26 });
}

/** Other versions of nft may write an expression otherwise, which lists as the same. */
const IS_KNOWN = nft(['--version']).includes('v1.0.6 ');

/** The rules as text, and the expressions that they are in the kernel. */
function listed(): string {
  return nft([...(IS_KNOWN ? ['--debug=netlink'] : []), 'list', 'table', 'inet', 'outrider']);
}

function isSame(wanted: CaptureRules): void {
  nft(['-f', '-'], nftText(wanted));
  const byNft = listed();
  enforceByNetlink(null);
  strictEqual(nft(['list', 'ruleset']), '');
  enforceByNetlink(wanted);
  strictEqual(listed(), byNft);
}

/** More than one message and one attribute hold. */
const EVERY_OTHER: Ports = Array.from({ length: 4_000 }, (_, at) => [2 * at + 1, 2 * at + 1]);

fc.assert(fc.property(rules, isSame), { numRuns: Number(process.argv[2]), endOnFailure: true });
const [base] = fc.sample(rules, 1);
if (base !== undefined)
  isSame({ ...base, includeInboundPorts: EVERY_OTHER, excludeInboundPorts: EVERY_OTHER });
