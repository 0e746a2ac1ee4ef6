/** What replay prints: a group for a person, a group as JSON, and the line at the end. */
import { printable } from './demo-paper.ts';
import type { Group, Groups } from './replay-groups.ts';
import type { Verdict } from './replay-side.ts';

/** Lines that were read and not compared. */
export interface Counts {
  lines: number;
  same: number;
  /** By why. */
  readonly passedOver: Map<string, number>;
  foreign: number;
}

const TITLES = {
  'allow->deny': 'allow → deny',
  'deny->allow': 'deny → allow',
  unknown: 'cannot be told',
} as const;

/** One group for a person, its end included. */
export function groupText(group: Group): string {
  const { change, count, because, source, method, path, verdicts, example } = group;
  const lines = [`${TITLES[change]}  ${count}×  ${change === 'unknown' ? 'without ' : ''}${because}`];
  const what = method === null ? 'TCP' : legible(`${method} ${path}`);
  lines.push(`  ${source === null ? 'no identity (plaintext)' : legible(source)}  ${what}`);
  if (verdicts !== null) {
    lines.push(`  before: ${verdictText(verdicts.before)}`, `  after:  ${verdictText(verdicts.after)}`);
  }
  lines.push(`  such as ${example.file}:${example.line}: ${legible(example.request)}`);
  return `${lines.join('\n')}\n\n`;
}

function verdictText({ allow, policy, rule, missed, reason, by }: Verdict): string {
  const word = allow ? 'allowed' : 'denied';
  if (by !== '' && policy === null) return `${word} by ${by}: ${reason}`;
  if (policy !== null) return `${word} by ${policy} rule ${rule}${by === '' ? '' : `, ${by}`}`;
  if (missed.length > 0) return `${word}: no rule of ${missed.join(', ')} matches`;
  return `${word}: no policy speaks against it`;
}

/** One group as JSON in one line, without its end. */
export function groupJson({ verdicts, because, ...group }: Group): string {
  const { change, count, policy, source, method, path, example } = group;
  const sides = verdicts && { before: verdictJson(verdicts.before), after: verdictJson(verdicts.after) };
  return JSON.stringify({ change, count, policy, because, source, method, path, ...sides, example });
}

function verdictJson({ allow, policy, rule, reason }: Verdict): object {
  return {
    decision: allow ? 'allow' : 'deny',
    ...(policy !== null && { policy }),
    ...(rule !== null && { rule }),
    ...(reason !== '' && { reason }),
  };
}

/** `1204 lines: 18 would change, 3 cannot be told, 1150 stay the same; …`, without its end. */
export function summaryText({ lines, same, passedOver, foreign }: Counts, groups: Groups): string {
  const parts = [
    `${lines} ${lines === 1 ? 'line' : 'lines'}: ${groups.changed} would change`,
    `${groups.unknown} cannot be told`,
    `${same} would not`,
    ...[...passedOver].map(([why, count]) => `${count} passed over (${why})`),
    ...(foreign > 0 ? [`${foreign} not of Outrider's access log`] : []),
  ];
  return parts.join(', ');
}

/** A byte string of the log as the text it most likely is, without what moves a cursor. */
function legible(text: string): string {
  return printable(/[^\u0000-\u00ff]/.test(text) ? text : Buffer.from(text, 'latin1').toString('utf8'));
}
