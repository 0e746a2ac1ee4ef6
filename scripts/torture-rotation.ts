/**
 * `npm run torture:rotation [ROTATIONS]`: 1,000 rotations of the certificates in every hostile way under HTTP and TCP load.
 * Exit code 1 when a request failed, a connection saw a certificate that was not in force, or memory grew.
 */
import { torture } from '../test/rotation-torture.ts';

const MAX_GROWTH_MIB = 10;
const rotations = Number(process.argv[2] ?? 1_000);
if (!Number.isInteger(rotations) || rotations < 1) throw new Error('how many rotations? a whole number');

const closers: (() => unknown)[] = [];
const teardown = (fn: () => unknown): void => void closers.unshift(fn);
const write = (line: string): void => void process.stdout.write(`${line}\n`);

try {
  const report = await torture(
    { teardown },
    {
      rotations,
      onRotation: (done, memory) => {
        if (done % 50 === 0)
          write(`${done} rotations, ${memory.map(mib => `${Math.round(mib)} MiB`).join(', ')}`);
      },
    },
  );
  const { failed, wrong, growth, refused, ...counts } = report;
  const { requests, handshakes, resumed, seen, restarts, milliseconds } = counts;
  write(
    `${rotations} rotations in ${Math.round(milliseconds / 1000)} s, ${seen} certificates seen by new connections`,
  );
  write(`${requests} requests and messages, ${failed.length} failed`);
  write(`${handshakes} handshakes, ${resumed} of them resumed, ${wrong.length} on a wrong certificate`);
  write(
    `refused on the way: ${
      Object.entries(refused)
        .map(entry => entry.join(' '))
        .join(', ') || 'nothing'
    }`,
  );
  write(
    `resident memory grew by ${growth.map(mib => (mib === null ? 'too few to say' : `${mib.toFixed(1)} MiB`)).join(', ')}`,
  );
  if (restarts > 0) write(`${restarts} threads died`);
  for (const miss of [...failed, ...wrong.map(serial => `wrong certificate ${serial}`)].slice(0, 40))
    write(miss);
  const flat = growth.every(mib => mib === null || mib <= MAX_GROWTH_MIB);
  process.exitCode = failed.length + wrong.length + restarts === 0 && flat ? 0 : 1;
} finally {
  for (const close of closers) await close();
}
