import { parseArgs } from 'node:util';
import { nearest } from '../config/nearest.ts';

/** One flag: `--name VALUE`, or a switch when `value` is null. */
export interface Flag {
  readonly name: string;
  /** What stands for the value in the help: `PATH`, `[HOST:]PORT`. */
  readonly value: string | null;
  /** May be given more than once. */
  readonly many?: boolean;
  readonly short?: string;
  readonly help: string;
}

/** A command's line: how it is used, what it does, its flags. */
export interface Usage {
  readonly command: string;
  /** After `outrider`: `check [--json] PATH…`. */
  readonly synopsis: string;
  readonly about: string;
  readonly flags: readonly Flag[];
  /** What may stand on the line besides flags: `PATH`; null = nothing. */
  readonly positionals: string | null;
  /** True when `-- CMD ARG…` may follow. */
  readonly takesCommand?: boolean;
}

/** The value asked for, or what to print and the code to exit with: 0 for help, 2 for a wrong line. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly exitCode: 0 | 2; readonly message: string };

/** A line taken apart: the values of each flag in order, what else stood there, and what came after `--`. */
export interface Line {
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly positionals: readonly string[];
  readonly command: readonly string[] | null;
}

/** A wrong command line; `parse` turns it into a message. Never leaves this layer. */
export class WrongLine extends Error {}

/** Takes the line apart and gives it to `build`; a WrongLine thrown on the way is the message. */
export function parse<T>(usage: Usage, args: readonly string[], build: (line: Line) => T): Parsed<T> {
  try {
    const line = takeApart(usage, args);
    return line ? { ok: true, value: build(line) } : { ok: false, exitCode: 0, message: helpOf(usage) };
  } catch (error) {
    if (!(error instanceof WrongLine)) throw error;
    return { ok: false, exitCode: 2, message: `${usage.command}: ${error.message}` };
  }
}

/** Null when the line asks for help. */
function takeApart(usage: Usage, args: readonly string[]): Line | null {
  const options = Object.fromEntries(
    usage.flags.map(({ name, value, short }) => [
      name,
      { type: value === null ? ('boolean' as const) : ('string' as const), ...(short && { short }) },
    ]),
  );
  const { tokens } = parseArgs({
    args: [...args],
    options: { ...options, help: { type: 'boolean', short: 'h' } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const end = tokens.find(({ kind }) => kind === 'option-terminator')?.index ?? args.length;
  const own = tokens.filter(({ index }) => index < end);
  if (own.some(token => token.kind === 'option' && token.name === 'help')) return null;
  const values = new Map<string, string[]>();
  for (const token of own) if (token.kind === 'option') takeOption(usage, token, values);
  const positionals = own.flatMap(token => (token.kind === 'positional' ? token.value : []));
  const command = end < args.length ? args.slice(end + 1) : null;
  checkRest(usage, positionals, command);
  return { values, positionals, command };
}

/** What parseArgs says of an option. */
interface OptionToken {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function takeOption(
  usage: Usage,
  { name, rawName, value, inlineValue }: OptionToken,
  values: Map<string, string[]>,
): void {
  const flag = usage.flags.find(known => known.name === name);
  if (!flag)
    throw new WrongLine(
      `unknown flag ${rawName}; ${meant(usage, name)}outrider ${usage.command} --help lists them`,
    );
  if (flag.value === null && value !== undefined) throw new WrongLine(`--${name} takes no value`);
  const swallowed = inlineValue === false && value !== undefined && /^-./.test(value); // the next flag
  if (flag.value !== null && (value === undefined || swallowed)) {
    throw new WrongLine(`--${name} needs a value; write --${name}=${flag.value}`);
  }
  const given = values.get(name) ?? [];
  if (given.length > 0 && !flag.many) throw new WrongLine(`--${name} is given twice; keep one`);
  values.set(name, [...given, value ?? '']);
}

function meant({ flags }: Usage, name: string): string {
  const flag = nearest(
    name,
    flags.map(known => known.name),
  );
  return flag === null ? '' : `did you mean --${flag}? `;
}

function checkRest(usage: Usage, positionals: readonly string[], command: readonly string[] | null): void {
  const [first] = positionals;
  if (first !== undefined && usage.positionals === null) {
    const hint = usage.takesCommand ? '; the app to start goes after --' : '';
    throw new WrongLine(`unexpected ${JSON.stringify(first)}${hint}`);
  }
  if (command !== null && !usage.takesCommand) throw new WrongLine('-- is not understood here; remove it');
  if (command?.length === 0) throw new WrongLine('-- must be followed by the command to start');
}

/** The only value of a flag; null when it is not given. */
export function one(line: Line, name: string): string | null {
  return line.values.get(name)?.[0] ?? null;
}

export function all(line: Line, name: string): readonly string[] {
  return line.values.get(name) ?? [];
}

/** The help of one command, for standard output. */
export function helpOf({ synopsis, about, flags }: Usage): string {
  const rows = [...flags, { name: 'help', short: 'h', value: null, help: 'this text' }].map(
    ({ name, value, short, help }) =>
      [`${short ? `-${short}, ` : ''}--${name}${value === null ? '' : ` ${value}`}`, help] as const,
  );
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)));
  const lines = rows.map(([left, help]) => {
    const body = help.split('\n').join(`\n${' '.repeat(width + 4)}`);
    return left.length > width
      ? `  ${left}\n${' '.repeat(width + 4)}${body}`
      : `  ${left.padEnd(width)}  ${body}`;
  });
  return `usage: outrider ${synopsis}\n\n${about}\n\n${lines.join('\n')}\n`;
}
