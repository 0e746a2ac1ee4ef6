/**
 * `outrider capture`: writes the rules, puts them in force, takes them away. By the tools where they are (no shell: they
 * read standard input), else by itself.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { CLIENT_MARK, CLIENT_TABLE } from '../net/client-mark.ts';
import { Unavailable } from '../net/netlink-socket.ts';
import {
  addMarkedRoute,
  type MarkedRoute,
  removeMarkedRoute,
  routingCommands,
} from '../net/route-netlink.ts';
import type { CaptureSettings } from './capture-flags.ts';
import { enforceByNetlink } from './capture-netlink.ts';
import { nftText } from './capture-nft.ts';
import { FAMILIES, type Family, iptablesText } from './capture-rules.ts';

interface Output {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
}

const TIMEOUT_MS = 30_000; // another that holds the lock of iptables is waited for as long
const LOCK_SECONDS = '20';
/** Where system tools are when PATH does not have them. */
const FOLDERS = ['', '/usr/sbin/', '/sbin/'];

/** @returns the exit code */
export async function runCapture(settings: CaptureSettings, { stdout, stderr }: Output): Promise<number> {
  const { action, backend, rules } = settings;
  for (const warning of settings.warnings) stderr.write(`outrider: capture: ${warning}\n`);
  if (rules === null && action !== 'remove') {
    stderr.write('outrider: capture: interceptionMode is NONE: nothing is captured\n');
    return 0;
  }
  const wanted = rules === null || action === 'remove' ? null : { ...rules, ipv6: wantsIpv6(settings) };
  if (action === 'print') {
    if (backend === 'nft' || backend === 'netlink')
      stdout.write(`${nftText(wanted)}${FAMILIES.map(f => routingText(wanted, f)).join('')}`);
    else
      stdout.write(
        printed(family => iptablesText(wanted, family) + routingText(wanted, family), wanted?.ipv6 ?? true),
      );
    return 0;
  }
  try {
    await enforce(settings, wanted);
    const left = enforceRouting(settings, wanted);
    if (left !== null) stderr.write(`outrider: capture: ${left}\n`);
    return 0;
  } catch (error) {
    stderr.write(`outrider: capture: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

/** Neither tool makes routes: what a person with `ip` would do, as comments that both leave alone. */
function routingText(wanted: Wanted, family: Family): string {
  if (wanted?.mode !== 'tproxy' || (family.version === 6 && !wanted.ipv6)) return '';
  return routingCommands(routeOf(family))
    .map(command => `# ${command}\n`)
    .join('');
}

function routeOf({ version }: Family): MarkedRoute {
  return { family: version, mark: CLIENT_MARK, table: CLIENT_TABLE };
}

/**
 * Makes the routes of TPROXY, or takes them away. Connections are captured without them, too.
 * @returns what is not as it should be; null when all is
 */
function enforceRouting({ action, ipv6 }: CaptureSettings, wanted: Wanted): string | null {
  const keeps = wanted?.mode === 'tproxy';
  const both = wanted?.ipv6 ?? (ipv6 !== 'off' && hasIpv6());
  try {
    for (const family of FAMILIES) {
      if (family.version === 6 && !both) continue;
      if (keeps) addMarkedRoute(routeOf(family));
      else removeMarkedRoute(routeOf(family));
    }
    return null;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (keeps) return `the app will not see the client's address: ${reason}`;
    return action === 'remove' ? `routes that TPROXY made are left: ${reason}` : null;
  }
}

function wantsIpv6({ action, ipv6 }: CaptureSettings): boolean {
  if (ipv6 !== 'auto') return ipv6 === 'on';
  // What is printed is the same on every machine.
  return action === 'print' || hasIpv6();
}

function hasIpv6(): boolean {
  try {
    return readFileSync('/proc/net/if_inet6', 'utf8') !== '';
  } catch {
    return false;
  }
}

function printed(textOf: (family: Family) => string, ipv6: boolean): string {
  return FAMILIES.filter(({ version }) => version === 4 || ipv6)
    .map(family => `# ${tool(family, 'restore')} --noflush\n${textOf(family)}`)
    .join('');
}

function tool({ version }: Family, what: 'restore' | 'save'): string {
  return `${version === 4 ? 'iptables' : 'ip6tables'}-${what}`;
}

async function enforce({ backend, ipv6 }: CaptureSettings, wanted: Wanted): Promise<void> {
  const ways = {
    iptables: () => withIptables(wanted, wanted?.ipv6 ?? (ipv6 !== 'off' && hasIpv6())),
    nft: async () => {
      await run('nft', ['-f', '-'], nftText(wanted));
    },
    netlink: async () => enforceByNetlink(wanted),
  };
  if (backend !== 'auto') return ways[backend]();
  const withoutIptables = await missingFor(ways.iptables);
  // Applied by any, they are removed by all; nft and netlink make one table.
  if (withoutIptables === null && wanted !== null) return;
  if ((await missingFor(ways.nft)) === null) return;
  const withoutNetlink = await missingFor(ways.netlink);
  if (withoutNetlink === null || withoutIptables === null) return;
  throw new Error(`neither iptables-restore nor nft is installed, and ${withoutNetlink}`);
}

/** What the attempt says that it lacks; null = it is done. */
async function missingFor(attempt: () => Promise<void>): Promise<string | null> {
  try {
    await attempt();
    return null;
  } catch (error) {
    if (error instanceof Missing || error instanceof Unavailable) return error.message;
    throw error;
  }
}

type Wanted = Parameters<typeof nftText>[0];

async function withIptables(wanted: Wanted, ipv6: boolean): Promise<void> {
  for (const family of FAMILIES) {
    if (family.version === 6 && !ipv6) continue;
    const saved = {
      nat: await run(tool(family, 'save'), ['-t', 'nat'], ''),
      mangle: await run(tool(family, 'save'), ['-t', 'mangle'], ''),
    };
    const text = iptablesText(wanted, family, saved);
    if (text !== '') await run(tool(family, 'restore'), ['--noflush', '--wait', LOCK_SECONDS], text);
  }
}

/** The tool is not installed. */
class Missing extends Error {}

/** Runs a tool with `input`; @returns what it printed. @throws Missing, or an Error of one line that says what went wrong */
async function run(name: string, args: readonly string[], input: string): Promise<string> {
  for (const folder of FOLDERS) {
    const outcome = await attempt(`${folder}${name}`, args, input);
    if (typeof outcome === 'string') return outcome;
    if (outcome !== null) throw outcome;
  }
  throw new Missing(`${name} is not installed`);
}

/** null = it is not there. */
function attempt(path: string, args: readonly string[], input: string): Promise<string | Error | null> {
  return new Promise(resolve => {
    const child = execFile(path, [...args], { timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (error.code === 'ENOENT') resolve(null);
      else resolve(new Error(`${path}: ${reasonOf(stderr) || error.message}${hint(stderr)}`));
    });
    child.stdin?.on('error', () => {}); // it ended before it read all: its own words say why
    child.stdin?.end(input);
  });
}

/** The first line that says something; the tools' advice after it is about themselves. */
function reasonOf(stderr: string): string {
  return (
    stderr
      .split('\n')
      .map(line => line.trim())
      .find(line => line !== '' && !line.startsWith('#')) ?? ''
  );
}

function hint(stderr: string): string {
  return /permission denied|not permitted|must be root/i.test(stderr)
    ? '; needs the capabilities NET_ADMIN and NET_RAW'
    : '';
}
