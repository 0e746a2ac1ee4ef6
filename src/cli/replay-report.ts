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

const MOST_OF_A_CHANGE = 20;

/** What is found, for a person: a block for each change that has one cause, the requests that it concerns below it. */
export function* blocksText(groups: readonly Group[]): Generator<string> {
  const blocks = new Map<string, Group[]>();
  for (const group of groups) {
    const { change, because, verdicts } = group;
    const key = [change, because, ...(verdicts === null ? [] : bothText(verdicts))].join('\n');
    const block = blocks.get(key);
    if (block === undefined) blocks.set(key, [group]);
    else block.push(group);
  }
  for (const block of [...blocks.values()].sort(changesFirst)) yield blockText(block);
}

function changesFirst(a: readonly Group[], b: readonly Group[]): number {
  const untold = (block: readonly Group[]) => Number(block[0]?.change === 'unknown');
  return untold(a) - untold(b) || total(b) - total(a);
}

function total(block: readonly Group[]): number {
  return block.reduce((sum, { count }) => sum + count, 0);
}

function blockText(block: readonly Group[]): string {
  const { change, because, verdicts } = block[0] as Group;
  const lines = [`${TITLES[change]}  ${total(block)}×  ${change === 'unknown' ? 'without ' : ''}${because}`];
  if (verdicts !== null) lines.push(...bothText(verdicts).map(text => `  ${text}`));
  for (const group of block.slice(0, MOST_OF_A_CHANGE)) {
    const { file, line, request } = group.example;
    lines.push(`  ${String(group.count).padStart(4)}×  ${whatText(group)}`);
    lines.push(`         such as ${file}:${line}: ${legible(request)}`);
  }
  const rest = block.slice(MOST_OF_A_CHANGE);
  if (rest.length > 0) lines.push(`  ${String(total(rest)).padStart(4)}×  others; --json has all of them`);
  return `${lines.join('\n')}\n\n`;
}

function whatText({ source, method, path, example }: Group): string {
  const who = source === null ? 'no identity (plaintext)' : legible(source);
  if (method !== null) return `${who}  ${legible(`${method} ${path}`)}`;
  return example.request.startsWith('TCP') ? `${who}  TCP` : 'various';
}

function bothText({ before, after }: NonNullable<Group['verdicts']>): [before: string, after: string] {
  return [`before: ${verdictText(before)}`, `after:  ${verdictText(after)}`];
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
