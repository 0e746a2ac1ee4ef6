/** The line of `replay`. */
import { readLabels, readName, readNonEmpty } from './flag-values.ts';
import { all, one, type Parsed, parse, type Usage, WrongLine } from './flags.ts';

export interface ReplaySettings {
  /** The configuration that the log was written under. */
  readonly before: readonly string[];
  readonly after: readonly string[];
  /** The workload's; null = as each line of the log says. */
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly json: boolean;
  /** Files; `-` = standard input. */
  readonly logs: readonly string[];
}

export const REPLAY_USAGE: Usage = {
  command: 'replay',
  synopsis: 'replay --before PATH --after PATH [--namespace NAME] [--labels K=V,…] [--json] LOG…',
  about:
    "Decides each request of Outrider's JSON access log (- for standard input) under two configurations, with the code that\n" +
    'enforces, and prints each verdict that would be another: grouped, with the policy that changes it. What a log does not\n' +
    'hold, such as most headers, is never guessed: where a verdict hangs on it the line counts as one that cannot be told.\n' +
    'Exit code 1 when a verdict would change, 0 when none would.',
  positionals: 'LOG',
  flags: [
    {
      name: 'before',
      value: 'PATH',
      many: true,
      help: 'the configuration that the log was written under (repeatable)',
    },
    { name: 'after', value: 'PATH', many: true, help: 'the one to compare it with (repeatable)' },
    { name: 'namespace', value: 'NAME', help: "the workload's; default as each line says" },
    { name: 'labels', value: 'K=V,…', help: "the workload's, for selectors" },
    { name: 'json', value: null, help: 'one JSON object a group' },
  ],
};

/** Parses the line of `replay`. */
export function parseReplay(args: readonly string[]): Parsed<ReplaySettings> {
  return parse(REPLAY_USAGE, args, line => {
    const paths = (name: string) =>
      all(line, name).map(text => readNonEmpty(`--${name}`, text, 'a file or a folder'));
    const namespace = one(line, 'namespace');
    const labels = one(line, 'labels');
    for (const name of ['before', 'after']) {
      if (all(line, name).length === 0)
        throw new WrongLine(`--${name} is needed: a file or a folder of manifests`);
    }
    if (line.positionals.length === 0) throw new WrongLine('name at least one LOG; - for standard input');
    return {
      before: paths('before'),
      after: paths('after'),
      namespace: namespace === null ? null : readName('--namespace', namespace),
      labels: labels === null ? {} : readLabels('--labels', labels),
      json: line.values.has('json'),
      logs: line.positionals,
    };
  });
}
