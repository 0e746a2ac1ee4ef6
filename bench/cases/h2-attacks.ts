/** What another client sees of an attack over HTTP/2: its p99 while it goes on, against that right before and after. */
import { setTimeout as pause } from 'node:timers/promises';
import { ATTACK_NAMES, type AttackName, attackOf } from '../attacks.ts';
import { type Bench, withInstances } from '../bench.ts';
import { type Child, end, nextMessage, startProgram } from '../children.ts';
import { keepApart } from '../cores.ts';
import { memory } from '../measure.ts';
import type { Peer, Role } from '../peers/peer.ts';
import type { AttackerJob, AttackOrder, AttackReport } from '../programs/attacker.ts';
import type { WitnessJob, WitnessOrder, WitnessReport } from '../programs/witness.ts';
import { percentile } from '../statistics.ts';
import type { Case, Metric, Sample } from './case.ts';

const RATE = 200;
const WARM_RATE = 2_000; // code is compiled, and the heap as large as honest work makes it
/** An attacker that may connect without limit is another matter. */
interface Pace {
  /** It is back so many times a second when it is cut off. */
  readonly connections: number;
  /** How long a stall stands, ms, before it is made anew; null = it stays. */
  readonly stallMs: number | null;
  /** From the attack's begin until the other client is measured, ms. */
  readonly onTheWayMs: number;
}
/** Of `--seconds`: under attack, and half of it before and half after without. */
const SHARE = 0.25;
const SETTLE_MS = 1_000;
const WAIT_MS = 30_000; // on a busy machine
const CALM_MS = 50;
const WARM_MS = 500;

export const ATTACK_CASES: readonly Case[] = [
  attackCase('h2-attacks', 'once a second, stalls that stay', {
    connections: 1,
    stallMs: null,
    onTheWayMs: 500,
  }),
  attackCase('h2-attacks-hard', '20 times a second, stalls anew each second', {
    connections: 20,
    stallMs: 1_000,
    onTheWayMs: 50,
  }),
];

function attackCase(name: string, how: string, pace: Pace): Case {
  return {
    name,
    what: `another client's p99 under attacks over HTTP/2, ${how}, against that without; growth of resident memory over them all`,
    headlines: [
      ...ATTACK_NAMES.map(name => ({ metric: metricOf(name), unit: `× p99 under ${name}` })),
      { metric: 'grown', unit: 'MB more resident' },
    ],
    rateUnit: 'requests',
    repeats: true,
    can: peer => peer.name === 'outrider',
    measure: (bench, peer) => measure(bench, peer, pace),
  };
}

/** The metric that says how much longer a request takes at p99 under this attack. */
export function metricOf(name: AttackName): Metric {
  return `under ${name}`;
}

interface Around {
  readonly pace: Pace;
  readonly witness: Child;
  readonly attacker: Child;
}

async function measure(bench: Bench, peer: Peer, pace: Pace): Promise<Sample> {
  const app = startProgram('attacked-app.ts');
  const around = { witness: startProgram('witness.ts'), attacker: startProgram('attacker.ts') };
  try {
    const { port } = (await nextMessage(app, WAIT_MS)) as { port: number };
    const role: Role = { direction: 'inbound', protocol: 'http', cleartext: true, target: port };
    return await withInstances(bench, peer, [role], async ([instance]) => {
      if (!instance) throw new Error('no instance');
      const { child } = instance;
      const { witness, attacker } = around;
      await ready(witness, { port: instance.port } satisfies WitnessJob);
      const { connections, stallMs } = pace;
      const attack: AttackerJob = { port: instance.port, connections, stallMs };
      await ready(attacker, attack);
      keepApart({ proxy: child.pid, witness: witness.pid, app: app.pid, attacker: attacker.pid });
      return await underAll(bench, child.pid, { ...around, pace });
    });
  } finally {
    await Promise.all([app, ...Object.values(around)].map(end));
  }
}

async function ready(child: Child, job: WitnessJob | AttackerJob): Promise<void> {
  child.process.send(job);
  await nextMessage(child, WAIT_MS);
}

/** Quiet, attack, quiet, attack …: each attack is held against the quiet on both its sides. */
async function underAll({ effort }: Bench, pid: number, around: Around): Promise<Sample> {
  const seconds = effort.seconds * SHARE;
  const quiet = () => ask(around.witness, { rate: RATE, seconds: seconds / 2 });
  await ask(around.witness, { rate: WARM_RATE, seconds: effort.warmupSeconds });
  for (const name of ATTACK_NAMES) await warm(name, around);
  const before = memory([pid]).rssMb;
  const ratios: Partial<Record<Metric, number>> = {};
  const calm = [...(await quiet())];
  let last = calm;
  for (const name of ATTACK_NAMES) {
    const attacked = await under(name, seconds, around);
    await pause(CALM_MS);
    const next = [...(await quiet())];
    ratios[metricOf(name)] = percentile(attacked, 0.99) / percentile([...last, ...next], 0.99);
    calm.push(...next);
    last = next;
  }
  await pause(SETTLE_MS);
  const { rssMb, peakMb } = memory([pid]);
  const quietly = { rate: RATE, p50: percentile(calm, 0.5), p99: percentile(calm, 0.99) };
  return { ...ratios, ...quietly, grown: rssMb - before, rss: rssMb, peak: peakMb };
}

/** One connection, whose latencies nobody counts: code that only an attack runs is compiled, as that of honest work is. */
async function warm(name: AttackName, { attacker }: Around): Promise<void> {
  attacker.process.send({ attack: name } satisfies AttackOrder);
  await pause(WARM_MS);
  const reported = nextMessage(attacker, WAIT_MS);
  attacker.process.send({ attack: null } satisfies AttackOrder);
  await reported;
}

async function under(
  name: AttackName,
  seconds: number,
  { witness, attacker, pace }: Around,
): Promise<readonly number[]> {
  attacker.process.send({ attack: name } satisfies AttackOrder);
  await pause(pace.onTheWayMs);
  const latencies = await ask(witness, { rate: RATE, seconds });
  const reported = nextMessage(attacker, WAIT_MS);
  attacker.process.send({ attack: null } satisfies AttackOrder);
  const { connections, cutOff } = (await reported) as AttackReport;
  if (connections === 0 || (cutOff === 0 && attackOf(name).ends))
    throw new Error(`${name}: ${connections} connections, ${cutOff} cut off: no attack that was withstood`);
  return latencies;
}

async function ask(witness: Child, order: WitnessOrder): Promise<readonly number[]> {
  const reported = nextMessage(witness, order.seconds * 1000 + WAIT_MS);
  witness.process.send(order);
  const { latencies, fault } = (await reported) as WitnessReport;
  if (fault !== '') throw new Error(`the witness: ${fault}`);
  return latencies;
}
