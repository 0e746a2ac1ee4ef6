/** What replay found, counted: verdicts that change and verdicts that cannot be told, by what they have in common. */
import type { Verdict } from './replay-side.ts';

/** Groups that are kept apart; what comes beyond them counts in one of each kind, so that no log is too long. */
const MAX_GROUPS = 5_000;

export type Change = 'allow->deny' | 'deny->allow' | 'unknown';

/** What is said of one line. */
export interface Finding {
  readonly change: Change;
  /** The AuthorizationPolicy that changes it, `namespace/name`; null = something else, or nothing known. */
  readonly policy: string | null;
  /** For a person: what changes it, or what would have to be known. */
  readonly because: string;
  readonly source: string | null;
  /** null on TCP. */
  readonly method: string | null;
  /** The path's shape; null on TCP. */
  readonly path: string | null;
  /** null = cannot be told. */
  readonly verdicts: { readonly before: Verdict; readonly after: Verdict } | null;
}

/** One line of the log. */
export interface Example {
  readonly file: string;
  readonly line: number;
  /** `GET /orders/42`, or `TCP to port 5432`. */
  readonly request: string;
}

export interface Group extends Finding {
  readonly count: number;
  /** The first line of the group. */
  readonly example: Example;
}

/** All groups of one run. */
export class Groups {
  readonly #groups = new Map<string, Group & { count: number }>();
  changed = 0;
  unknown = 0;

  /** Counts one line; `example` is kept if it is the first of its group. */
  add(finding: Finding, example: Example): void {
    if (finding.change === 'unknown') this.unknown++;
    else this.changed++;
    const { change, because, source, method, path } = finding;
    const key = JSON.stringify([change, because, source, method, path]);
    const held = this.#groups.get(key);
    if (held !== undefined) held.count++;
    else if (this.#groups.size < MAX_GROUPS) this.#groups.set(key, { ...finding, count: 1, example });
    else this.#addOther(finding, example);
  }

  /** Most frequent first; changes before what cannot be told. */
  sorted(): readonly Group[] {
    const untold = ({ change }: Group) => Number(change === 'unknown');
    return [...this.#groups.values()].sort((a, b) => untold(a) - untold(b) || b.count - a.count);
  }

  #addOther(finding: Finding, example: Example): void {
    const held = this.#groups.get(finding.change);
    if (held !== undefined) {
      held.count++;
      return;
    }
    const other = {
      policy: null,
      because: 'others, too many to list',
      source: null,
      method: null,
      path: null,
    };
    this.#groups.set(finding.change, { ...finding, ...other, verdicts: null, count: 1, example });
  }
}
