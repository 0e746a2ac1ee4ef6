import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { runCapture } from '../../src/cli/capture.ts';
import { type CaptureSettings, parseCapture } from '../../src/cli/capture-flags.ts';
import { temporaryFolder } from '../certificates.ts';

function settings(line: string): CaptureSettings {
  const parsed = parseCapture(line.split(' '));
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.value;
}

function complaint(line: string): string {
  const parsed = parseCapture(line.split(' '));
  return parsed.ok ? 'none' : parsed.message;
}

async function said(line: string): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await runCapture(settings(line), {
    stdout: { write: text => out.push(text) },
    stderr: { write: text => err.push(text) },
  });
  return { code, out: out.join(''), err: err.join('') };
}

/** What was applied in network namespaces and captured there (test/capture). */
function golden(name: string): string {
  return readFileSync(new URL(`./capture/${name}`, import.meta.url), 'utf8');
}

const EVERY_FLAG =
  '--mode redirect --include-inbound-ports 80,8000-8100 --exclude-inbound-ports 8080 ' +
  '--include-outbound-ports 9000 --exclude-outbound-ports 25,6000:6010 ' +
  '--include-outbound-ranges 10.0.0.0/8,fd00::/8 --exclude-outbound-ranges 10.1.0.0/16,fd00:1::/32 ' +
  '--exclude-interfaces eth1,tun+ --uid 2000 --uid 2001 --gid 2000 --inbound-port 16006 --outbound-port 16001';

t.test('rules are printed, the same on every machine', async t => {
  const rows = [
    ['print', 'redirect.iptables'],
    ['print --backend iptables --mode tproxy --ipv6 off', 'tproxy.iptables'],
    ['print --backend nft', 'redirect.nft'],
    ['print --backend nft --mode tproxy --ipv6 off', 'tproxy.nft'],
    [`print ${EVERY_FLAG}`, 'every-flag.iptables'],
    [`print --backend nft ${EVERY_FLAG}`, 'every-flag.nft'],
  ] as const;
  for (const [line, name] of rows) t.same(await said(line), { code: 0, out: golden(name), err: '' }, name);
});

t.test("a pod's annotations say what flags say, and a flag wins over them", async t => {
  const file = `${temporaryFolder(t)}/annotations`;
  const traffic = 'traffic.sidecar.istio.io';
  const lines = [
    'kubernetes.io/config.source="api"',
    'sidecar.istio.io/interceptionMode="TPROXY"',
    `${traffic}/includeInboundPorts="80,8000-8100"`,
    `${traffic}/excludeInboundPorts=""`,
    `${traffic}/includeOutboundPorts="9000"`,
    `${traffic}/excludeOutboundPorts="25"`,
    `${traffic}/includeOutboundIPRanges="*"`,
    `${traffic}/excludeOutboundIPRanges="10.1.0.0/16"`,
    `${traffic}/excludeInterfaces="eth1"`,
    `${traffic}/kubevirtInterfaces="eth2"`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const { rules, warnings } = settings(`print --annotations ${file} --exclude-outbound-ports 26`);
  t.match(rules, {
    mode: 'tproxy',
    includeInboundPorts: [
      [80, 80],
      [8000, 8100],
    ],
    excludeInboundPorts: [],
    includeOutboundPorts: [[9000, 9000]],
    excludeOutboundPorts: [[26, 26]],
    includeOutboundRanges: null,
    excludeOutboundRanges: ['10.1.0.0/16'],
    excludeInterfaces: ['eth1'],
  });
  t.same(warnings, [`the annotation ${traffic}/kubevirtInterfaces is not honoured`]);
  writeFileSync(file, 'sidecar.istio.io/interceptionMode="NONE"\n');
  t.same(await said(`apply --annotations ${file}`), {
    code: 0,
    out: '',
    err: 'outrider: capture: interceptionMode is NONE: nothing is captured\n',
  });
  t.match(settings(`apply --annotations ${file} --mode redirect`).rules, { mode: 'redirect' });
});

t.test('nothing included is nothing captured', async t => {
  const { out } = await said('print --include-inbound-ports= --include-outbound-ranges=');
  t.notMatch(out, /-A ISTIO_INBOUND .*-j ISTIO_IN_REDIRECT/);
  t.notMatch(out, /-A ISTIO_OUTPUT .*-j ISTIO_REDIRECT/);
  const { out: nft } = await said('print --backend nft --include-inbound-ports= --include-outbound-ranges=');
  t.notMatch(nft, /redirect to :15001/);
});

t.test('ports that overlap are one range', async t => {
  const flags = '--exclude-inbound-ports 15020,15008,8080-8090,8085-8099,15090 --exclude-outbound-ports 53';
  const { out } = await said(`print --backend netlink ${flags}`);
  t.match(out, 'tcp dport { 8080-8099, 15008, 15020-15021, 15090 } return');
  t.match(out, 'tcp dport 53 return');
});

t.test('an IPv6 address whose end is written as IPv4 is one that nft reads', async t => {
  const { out } = await said('print --backend nft --exclude-outbound-ranges 64:ff9b::192.0.2.33/96');
  t.match(out, 'ip6 daddr 0064:ff9b:0000:0000:0000:0000:c000:0221/96 return');
});

t.test('a wrong line says what is wrong', async t => {
  const rows = [
    ['--mode redirect', 'name what to do: apply, remove or print'],
    ['start', 'the action must be one of apply, remove, print, not "start"'],
    ['apply remove', 'unexpected "remove"'],
    ['apply --mode none', '--mode must be one of redirect, tproxy'],
    ['apply --backend ebtables', '--backend must be one of auto, iptables, nft, netlink'],
    [
      'apply --exclude-inbound-ports 0',
      '--exclude-inbound-ports must be ports such as 80,8000-8100, not "0"',
    ],
    ['apply --exclude-inbound-ports 9-8', 'must be ports'],
    ['apply --exclude-outbound-ranges 10.0.0.0/33', 'must be addresses or ranges such as 10.0.0.0/8'],
    ['apply --exclude-outbound-ranges fe80::1%eth0', 'must be addresses or ranges'],
    ['apply --exclude-interfaces eth0;reboot', 'must be names of interfaces such as eth1'],
    ['apply --exclude-interfaces=-j', 'must be names of interfaces'],
    ['apply --uid root', '--uid must be a whole number'],
    ['apply --annotations /nowhere', '--annotations: /nowhere cannot be read: ENOENT'],
  ] as const;
  for (const [line, expected] of rows)
    t.ok(complaint(line).includes(expected), `${line}: ${complaint(line)}`);
});
