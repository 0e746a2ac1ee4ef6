/** Environment variables by name; the one place that reads them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The process's environment as it is now. */
export function readEnvironment(): Environment {
  return process.env;
}

/** The variable behind a flag of `run`: `drain-seconds` → OUTRIDER_DRAIN_SECONDS. An empty one counts as unset. */
export function flagVariable(environment: Environment, flag: string): string | null {
  return environment[variableName(flag)] || null;
}

export function variableName(flag: string): string {
  return `OUTRIDER_${flag.toUpperCase().replaceAll('-', '_')}`;
}
