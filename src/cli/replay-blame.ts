/** What changed between two configurations, and which of it changed a verdict. */
import type { AuthorizationPolicy, RequestAuthentication, Resources } from '../config/resources.ts';
import { TOKEN_REFUSED, type Verdict } from './replay-side.ts';

export interface Blame {
  /** `namespace/name` of an AuthorizationPolicy; null = something else did it. */
  readonly policy: string | null;
  /** For a person: `AuthorizationPolicy foo/p (new)`. */
  readonly text: string;
}

type Resource = AuthorizationPolicy | RequestAuthentication;
type How = 'new' | 'changed' | 'removed';

/** Finds what is behind a changed verdict. */
export class Blamer {
  /** Policies that are not the same in both. */
  readonly #changed: ReadonlyMap<string, How>;
  /** RequestAuthentications that are not, for a person; '' = none. */
  readonly #tokenRules: string;
  readonly #meshChanged: boolean;

  constructor(before: Resources, after: Resources) {
    this.#changed = differences(before.authorizationPolicies, after.authorizationPolicies);
    this.#tokenRules = listed(differences(before.requestAuthentications, after.requestAuthentications));
    this.#meshChanged = meshText(before) !== meshText(after);
  }

  /**
   * Of the policies that took part in either verdict the first that is not the same in both; else what else is not, and
   * could have done it; else what the side that denies says.
   */
  blame(before: Verdict, after: Verdict): Blame {
    const denied = after.allow ? before : after;
    const allowed = after.allow ? after : before;
    if (denied.by === TOKEN_REFUSED && this.#tokenRules !== '')
      return { policy: null, text: this.#tokenRules };
    if (denied.by !== '' && denied.policy === null) return { policy: null, text: denied.by };
    const involved = [denied.policy, allowed.policy, ...denied.missed, ...allowed.missed];
    const names = involved.filter(name => name !== null);
    for (const name of names) {
      const how = this.#changed.get(name);
      if (how !== undefined) return { policy: name, text: `AuthorizationPolicy ${name} (${how})` };
    }
    const others = [this.#tokenRules, this.#meshChanged ? 'mesh config' : ''].filter(text => text !== '');
    if (others.length > 0) return { policy: null, text: others.join(' or ') };
    const [name = null] = names;
    return { policy: name, text: name === null ? 'another resource' : `AuthorizationPolicy ${name}` };
  }
}

const MOST_NAMES = 3;

function listed(changed: ReadonlyMap<string, How>): string {
  if (changed.size === 0) return '';
  const names = [...changed].map(([name, how]) => `${name} (${how})`);
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
  return `RequestAuthentication ${names.slice(0, MOST_NAMES).join(', ')}${more}`;
}

function differences(before: readonly Resource[], after: readonly Resource[]): Map<string, How> {
  const old = new Map(before.map(policy => [nameOf(policy), textOf(policy)]));
  const found = new Map<string, How>();
  for (const policy of after) {
    const text = old.get(nameOf(policy));
    if (text === undefined) found.set(nameOf(policy), 'new');
    else if (text !== textOf(policy)) found.set(nameOf(policy), 'changed');
    old.delete(nameOf(policy));
  }
  for (const name of old.keys()) found.set(name, 'removed');
  return found;
}

function nameOf({ metadata }: Resource): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** All but where it is written. */
function textOf({ origin: _, ...resource }: Resource): string {
  return JSON.stringify(resource);
}

function meshText({ mesh: { origin: _, ...mesh } }: Resources): string {
  return JSON.stringify(mesh);
}
