/** What changed between two configurations, and which of it changed a verdict. */
import type { AuthorizationPolicy, Resources } from '../config/resources.ts';
import type { Verdict } from './replay-side.ts';

export interface Blame {
  /** `namespace/name` of an AuthorizationPolicy; null = something else did it. */
  readonly policy: string | null;
  /** For a person: `AuthorizationPolicy foo/p (new)`. */
  readonly text: string;
}

/** Finds what is behind a changed verdict. */
export class Blamer {
  /** Policies that are not the same in both. */
  readonly #changed: ReadonlyMap<string, 'new' | 'changed' | 'removed'>;
  readonly #meshChanged: boolean;

  constructor(before: Resources, after: Resources) {
    this.#changed = differences(before.authorizationPolicies, after.authorizationPolicies);
    this.#meshChanged = meshText(before) !== meshText(after);
  }

  /** Of the policies that took part in either verdict the first that is not the same in both; else what the side that denies says. */
  blame(before: Verdict, after: Verdict): Blame {
    const denied = after.allow ? before : after;
    const allowed = after.allow ? after : before;
    if (denied.by !== '' && denied.policy === null) return { policy: null, text: denied.by };
    const involved = [denied.policy, allowed.policy, ...denied.missed, ...allowed.missed];
    const names = involved.filter(name => name !== null);
    for (const name of names) {
      const how = this.#changed.get(name);
      if (how !== undefined) return { policy: name, text: `AuthorizationPolicy ${name} (${how})` };
    }
    if (this.#meshChanged) return { policy: null, text: 'mesh config' };
    const [name = null] = names;
    return { policy: name, text: name === null ? 'another resource' : `AuthorizationPolicy ${name}` };
  }
}

function differences(
  before: readonly AuthorizationPolicy[],
  after: readonly AuthorizationPolicy[],
): Map<string, 'new' | 'changed' | 'removed'> {
  const old = new Map(before.map(policy => [nameOf(policy), textOf(policy)]));
  const found = new Map<string, 'new' | 'changed' | 'removed'>();
  for (const policy of after) {
    const text = old.get(nameOf(policy));
    if (text === undefined) found.set(nameOf(policy), 'new');
    else if (text !== textOf(policy)) found.set(nameOf(policy), 'changed');
    old.delete(nameOf(policy));
  }
  for (const name of old.keys()) found.set(name, 'removed');
  return found;
}

function nameOf({ metadata }: AuthorizationPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** All but where it is written. */
function textOf({ origin: _, ...policy }: AuthorizationPolicy): string {
  return JSON.stringify(policy);
}

function meshText({ mesh: { origin: _, ...mesh } }: Resources): string {
  return JSON.stringify(mesh);
}
