/** What a row of the interop suite is given: a place for its processes to end, and to show what they said. */

export interface Stage {
  teardown(fn: () => unknown): unknown;
  /** What `text` gives is shown when the row fails. */
  show(name: string, text: () => string): void;
}

/** One row of docs/INTEROP.md: who speaks what to whom. */
export interface Row {
  readonly peer: string;
  readonly protocol: string;
  /** Who begins → who answers. */
  readonly direction: string;
  /** What is shown, in a few words; with the three others it tells rows apart. */
  readonly what: string;
  /** @throws Error when it does not work */
  run(stage: Stage): Promise<void>;
}

export const TO_OUTRIDER = 'Envoy → Outrider';
export const TO_ENVOY = 'Outrider → Envoy';

/** The name of its test. */
export function nameOf({ protocol, direction, what }: Row): string {
  return `${direction}, ${protocol}: ${what}`;
}
