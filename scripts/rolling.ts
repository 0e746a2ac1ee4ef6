/**
 * `npm run rolling [ROUNDS]`: replaces both replicas of a service ROUNDS times (9: every order with every ending) under
 * 1,000 requests/s through two sidecars. Exit code 1 when a request failed or a sidecar did not end by itself.
 */
import { ENDINGS, ORDERS, rollingReplacement } from '../test/rolling/replacement.ts';

const PER_SECOND = Number(process.env.ROLLING_RATE ?? 1_000);
const count = Number(process.argv[2] ?? ORDERS.length * ENDINGS.length);
if (!Number.isInteger(count) || count < 1) throw new Error('how many rounds? a whole number');

const all = ORDERS.flatMap(order => ENDINGS.map(ending => [order, ending] as const));
const rounds = Array.from({ length: count }, (_, number) => all[number % all.length] ?? all[0]).filter(
  round => round !== undefined,
);
const closers: (() => unknown)[] = [];
const teardown = (fn: () => unknown): void => void closers.unshift(fn);
const write = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  const report = await rollingReplacement(
    { teardown },
    { rounds, perSecond: PER_SECOND, slowestMs: 2_000, slowEvery: 50, drainSeconds: 5, onReplaced: write },
  );
  const { requests, failures, seconds, took, slowest, replacements, refused, longestEndMs, exits, told } =
    report;
  const rate = Math.round(requests / seconds);
  write(`${requests} requests in ${Math.round(seconds)} s, ${rate}/s, ${failures} failed`);
  const [median, p99, most] = [took.median, took.p99, took.most].map(Math.round);
  write(`beyond what the app took: median ${median} ms, p99 ${p99} ms, most ${most} ms (${slowest})`);
  write(`${replacements} replacements, the longest end ${Math.round(longestEndMs)} ms`);
  write(`${refused} attempts to connect failed and were made elsewhere`);
  for (const line of told) write(line);
  const clean = exits.every(({ code }) => code !== null);
  process.exitCode = failures === 0 && clean ? 0 : 1;
} finally {
  for (const close of closers) await close();
}
