/** Results as Markdown: one table of medians with ratios, one of targets met and missed. */
import type { CaseResult, PeerResult, Results } from './results.ts';
import { judge } from './targets.ts';

const ABSENT = '–';

/** Both tables, with a line that names the machine and the versions. Ends with a line feed. */
export function toMarkdown(results: Results): string {
  return `${heading(results)}\n\n${medianTable(results)}\n\n${targetTable(results)}\n`;
}

function heading({
  startedAt,
  machine,
  peers,
  effort,
  strangers,
  plaintextLoad,
  http2Load,
}: Results): string {
  const versions = peers.map(peer => `${peer.name} ${peer.version}`).join(', ');
  return [
    `${startedAt.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.kernel};`,
    `bench on Node ${machine.node} (OpenSSL ${machine.openssl}).`,
    `${versions}; one worker each.`,
    `Medians of ${effort.rounds} interleaved ${effort.rounds === 1 ? 'round' : 'rounds'} of ${effort.seconds} s`,
    `after ${effort.warmupSeconds} s of warm-up, ${effort.connections} connections;`,
    `mutual-TLS load by autocannon, plaintext load by ${plaintextLoad}${http2Load ? `; HTTP/2 load by ${http2Load}` : ''}.`,
    `Other processes took ${Math.round(strangers * 100)} % of the machine's CPU meanwhile.`,
  ].join(' ');
}

/** `ratio` is Outrider's number divided by the peer's: below 1, Outrider uses less. */
function medianTable({ cases }: Results): string {
  const head = [
    'case',
    'peer',
    'result',
    'per second',
    'p50 ms',
    'p99 ms',
    'RSS MB',
    'peak MB',
    'Outrider ÷ peer',
  ];
  return markdown(head, cases.flatMap(rowsOf));
}

function rowsOf(one: CaseResult): string[][] {
  const own = one.peers.find(peer => peer.peer === 'outrider');
  return one.headlines.flatMap((headline, index) =>
    one.peers.map(peer => {
      const { medians } = peer;
      const value = medians[headline.metric];
      const more = index === 0; // a second headline repeats the row; its other numbers would be the same
      return [
        one.name,
        peer.peer,
        value === undefined ? failed(peer) : `${short(value)} ${headline.unit}`,
        more && medians.rate !== undefined ? `${short(medians.rate)} ${one.rateUnit}` : ABSENT,
        more ? number(medians.p50) : ABSENT,
        more ? number(medians.p99) : ABSENT,
        more ? number(medians.rss) : ABSENT,
        more ? number(medians.peak) : ABSENT,
        peer === own ? ABSENT : ratio(own?.medians[headline.metric], value),
      ];
    }),
  );
}

function failed(peer: PeerResult): string {
  return peer.failures.length > 0
    ? `failed: ${peer.failures[0]?.split('\n')[0]?.replaceAll('|', '/')}`
    : ABSENT;
}

function targetTable(results: Results): string {
  const verdicts = judge(results);
  if (verdicts.length === 0) return 'No target could be judged: Outrider or the peers were not measured.';
  const rows = verdicts.map(({ name, what, value, limit, reason, met }) => [
    name,
    value === null ? 'failed' : `${short(value)} ${what}`,
    `at most ${short(limit)} (${reason})`,
    met ? 'met' : '**missed**',
  ]);
  return markdown(['case', 'Outrider', 'target', ''], rows);
}

function ratio(own: number | undefined, other: number | undefined): string {
  // A difference of two latencies can be about zero or below it; then a ratio says nothing.
  if (own === undefined || other === undefined || own <= 0 || other <= 0) return ABSENT;
  return (own / other).toFixed(2);
}

function number(value: number | undefined): string {
  return value === undefined ? ABSENT : short(value);
}

/** Three figures that matter, whole above a hundred, thousands apart. */
export function short(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
