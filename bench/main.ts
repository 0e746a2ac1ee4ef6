/**
 * The hub of `npm run bench`: finds the peers, makes certificates, checks that each peer does the job, measures case by
 * case in interleaved rounds, and writes the table, results/latest.json and results/chart.svg.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bench } from './bench.ts';
import { CASES } from './cases/all.ts';
import type { Case, Sample } from './cases/case.ts';
import { makeIdentities } from './certificates.ts';
import { toSvg } from './chart.ts';
import { endChildrenWithThisProcess, nextMessage, startProgram } from './children.ts';
import { findH2load } from './h2load.ts';
import { thisMachine } from './machine.ts';
import { machineCpuMicros, ownCpuMicros } from './measure.ts';
import { type Options, parseOptions, USAGE } from './options.ts';
import { findEnvoy } from './peers/envoy.ts';
import { findHaproxy } from './peers/haproxy.ts';
import { findNghttpx } from './peers/nghttpx.ts';
import { findNginx } from './peers/nginx.ts';
import { findOutrider } from './peers/outrider.ts';
import { onPath, type Peer, type PeerName } from './peers/peer.ts';
import { verifyPeer } from './peers/verify.ts';
import { profileCase } from './profile.ts';
import type { OriginPorts } from './programs/origin.ts';
import { withResults } from './readme.ts';
import { mediansOf, type Results } from './results.ts';
import { short, toMarkdown } from './table.ts';

const ORIGIN_MS = 10_000;
const README = fileURLToPath(new URL('README.md', import.meta.url));
const RESULTS = fileURLToPath(new URL('results/', import.meta.url));

/** Samples and failures by `case peer`. */
interface Notes {
  readonly samples: Map<string, Sample[]>;
  readonly failures: Map<string, string[]>;
}

async function main(options: Options): Promise<void> {
  endChildrenWithThisProcess();
  const folder = mkdtempSync(join(tmpdir(), 'outrider-bench-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const startedAt = new Date().toISOString();
  const identities = await makeIdentities(join(folder, 'identities'));
  const origin = (await nextMessage(
    startProgram('origin.ts', [identities.server.folder]),
    ORIGIN_MS,
  )) as OriginPorts;
  const wrk = onPath('wrk');
  const bench: Bench = {
    folder: join(folder, 'instances'),
    identities,
    origin,
    wrk,
    h2load: findH2load(),
    front: findHaproxy() ?? findEnvoy(options.envoy),
    proofs: new Map(),
    effort: options.effort,
  };
  mkdirSync(bench.folder);

  const peers = await peersThatWork(bench, options);
  const cases = CASES.filter(one => options.cases.includes(one.name));
  const watch = watchStrangers();
  const notes = await measureAll(bench, cases, peers);
  const strangers = watch();
  const results: Results = {
    startedAt,
    machine: thisMachine(),
    peers: peers.map(({ name, version }) => ({ name, version })),
    http2Load: http2LoadOf(bench),
    plaintextLoad: wrk ? 'wrk' : 'autocannon',
    effort: options.effort,
    strangers,
    cases: cases.map(one => ({
      name: one.name,
      what: one.what,
      headlines: one.headlines,
      rateUnit: one.rateUnit,
      peers: peers.filter(peer => one.can(peer)).map(peer => resultOf(notes, one, peer)),
    })),
  };
  report(results, options);
  if (options.profile) await profileAll(bench, cases, { peers, keepIn: options.out });
}

function http2LoadOf({ h2load, front }: Bench): string | null {
  return h2load && `h2load ${h2load.version}, for mutual TLS through ${front ? front.name : 'nothing'}`;
}

/** Gives a function that says what share of the machine's CPU others have taken since. */
function watchStrangers(): () => number {
  const startedAt = performance.now();
  const others = () => machineCpuMicros() - ownCpuMicros();
  const before = others();
  return () => {
    const available = (performance.now() - startedAt) * 1000 * cpus().length;
    return Math.max(0, others() - before) / available;
  };
}

/** Only a program that runs on Node has a profile to take. */
async function profileAll(
  bench: Bench,
  cases: readonly Case[],
  { peers, keepIn }: { peers: readonly Peer[]; keepIn: string | undefined },
): Promise<void> {
  const outrider = peers.find(peer => peer.name === 'outrider');
  if (!outrider) return;
  for (const one of cases)
    process.stdout.write(`\n${await profileCase(bench, one, { peer: outrider, keepIn })}`);
}

async function peersThatWork(bench: Bench, options: Options): Promise<Peer[]> {
  const find: Readonly<Record<PeerName, () => Peer | null>> = {
    outrider: () => findOutrider(options.outrider),
    nginx: findNginx,
    haproxy: findHaproxy,
    envoy: () => findEnvoy(options.envoy),
    nghttpx: findNghttpx,
  };
  const peers: Peer[] = [];
  for (const name of options.peers) {
    const peer = find[name]();
    const fault = peer ? await verifyPeer(bench, peer).then(() => null, messageOf) : 'not found';
    if (peer && fault === null) peers.push(peer);
    say(fault === null ? `${name} ${peer?.version}: does the job` : `${name}: left out, ${fault}`);
  }
  if (peers.length === 0) throw new Error('no peer to measure');
  return peers;
}

/** Round by round, case by case, peer by peer; each round starts with another peer, so that none is always first. */
async function measureAll(bench: Bench, cases: readonly Case[], peers: readonly Peer[]): Promise<Notes> {
  const notes: Notes = { samples: new Map(), failures: new Map() };
  for (let round = 0; round < bench.effort.rounds; round++) {
    for (const one of cases) {
      if (round > 0 && !one.repeats) continue;
      for (let i = 0; i < peers.length; i++) {
        const peer = peers[(round + i) % peers.length];
        if (peer && one.can(peer)) await measureOne(bench, one, peer, { round, notes });
      }
    }
  }
  return notes;
}

async function measureOne(
  bench: Bench,
  one: Case,
  peer: Peer,
  { round, notes }: { round: number; notes: Notes },
): Promise<void> {
  const key = `${one.name} ${peer.name}`;
  try {
    const sample = await one.measure(bench, peer);
    note(notes.samples, key, sample);
    const numbers = one.headlines.map(({ metric, unit }) => `${short(sample[metric] ?? Number.NaN)} ${unit}`);
    say(`round ${round + 1} ${key}: ${numbers.join(', ')}`);
  } catch (error) {
    note(notes.failures, key, messageOf(error));
    say(`round ${round + 1} ${key}: failed, ${messageOf(error)}`);
  }
}

function resultOf(
  { samples, failures }: Notes,
  one: Case,
  peer: Peer,
): Results['cases'][number]['peers'][number] {
  const key = `${one.name} ${peer.name}`;
  const rounds = samples.get(key) ?? [];
  return { peer: peer.name, rounds, medians: mediansOf(rounds), failures: failures.get(key) ?? [] };
}

function report(results: Results, options: Options): void {
  const markdown = toMarkdown(results);
  const out = options.out ?? RESULTS;
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, 'latest.json'), `${JSON.stringify(results, null, 2)}\n`);
  writeFileSync(join(out, 'chart.svg'), toSvg(results));
  if (options.writeReadme) writeFileSync(README, withResults(readFileSync(README, 'utf8'), markdown));
  process.stdout.write(markdown);
}

function note<T>(notes: Map<string, T[]>, key: string, value: T): void {
  const list = notes.get(key);
  if (list) list.push(value);
  else notes.set(key, [value]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Progress goes to standard error, so that standard output is the table alone. */
function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options) await main(options);
  else process.stdout.write(USAGE);
  process.exit(0);
} catch (error) {
  say(messageOf(error));
  process.exit(1);
}
