/** What policies ask for and a log does not hold, and the values that are tried in its place. */
import type { AuthorizationPolicy, Resources } from '../config/resources.ts';
import { wireText } from '../policy/attributes.ts';
import { Comparisons } from './replay-witness.ts';

/** More objects than these for one claim are not tried. */
const MAX_OBJECTS = 256;

/** The values to try for each unknown; null = too many to try them all. */
export interface Unknowns {
  /** Lines of a header by lower-case name. */
  readonly headers: ReadonlyMap<string, readonly (readonly string[])[] | null>;
  /** Claims of the token's first level; undefined = it has none. */
  readonly claims: ReadonlyMap<string, readonly unknown[] | null>;
}

interface Collected {
  readonly headers: Map<string, Comparisons>;
  /** First level → the names below it, as JSON → comparisons. */
  readonly claims: Map<string, Map<string, Comparisons>>;
}

/** Collects what every policy of all configurations compares. */
export function unknownsOf(all: readonly Resources[]): Unknowns {
  const found: Collected = { headers: new Map(), claims: new Map() };
  for (const { authorizationPolicies, requestAuthentications } of all) {
    for (const policy of authorizationPolicies) collect(policy, found);
    for (const { jwtRules } of requestAuthentications) {
      for (const { issuer } of jwtRules) claim(found, ['iss'], [issuer]);
    }
  }
  return {
    headers: new Map([...found.headers].map(([name, one]) => [name, headerValues(one)])),
    claims: new Map([...found.claims].map(([name, paths]) => [name, claimValues(name, paths)])),
  };
}

function collect({ rules }: AuthorizationPolicy, found: Collected): void {
  for (const { from, when } of rules) {
    for (const { requestPrincipals, notRequestPrincipals } of from ?? []) {
      principals(found, [...(requestPrincipals ?? []), ...(notRequestPrincipals ?? [])]);
    }
    for (const { key, values, notValues } of when) {
      condition(found, key, values);
      condition(found, key, notValues);
    }
  }
}

function condition(found: Collected, key: string, values: readonly string[]): void {
  const header = /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase();
  if (header !== undefined) comparisons(found.headers, header).add(values.map(wireText));
  else if (key === 'request.auth.principal') principals(found, values);
  else if (key === 'request.auth.audiences') claim(found, ['aud'], values);
  else if (key === 'request.auth.presenter') claim(found, ['azp'], values);
  else if (key.startsWith('request.auth.claims[')) {
    claim(
      found,
      [...key.matchAll(/\[([^\]]*)\]/g)].map(([, name = '']) => name),
      values,
    );
  }
}

/** `issuer/subject`, split at the last slash as Istio does: each half is compared by itself. */
function principals(found: Collected, values: readonly string[]): void {
  for (const value of values) {
    const slash = value.lastIndexOf('/');
    claim(found, ['iss'], [slash < 0 ? value : value.slice(0, slash)]);
    claim(found, ['sub'], [slash < 0 ? value : value.slice(slash + 1)]);
  }
}

function claim(found: Collected, [first = '', ...below]: readonly string[], values: readonly string[]): void {
  const paths = found.claims.get(first) ?? new Map<string, Comparisons>();
  found.claims.set(first, paths);
  comparisons(paths, JSON.stringify(below)).add(values);
}

function comparisons(of: Map<string, Comparisons>, name: string): Comparisons {
  const known = of.get(name) ?? new Comparisons();
  of.set(name, known);
  return known;
}

function headerValues(
  compared: Comparisons,
): Unknowns['headers'] extends ReadonlyMap<string, infer T> ? T : never {
  const sets = compared.sets();
  return sets === null ? null : [[], ...sets];
}

/** A claim that Envoy knows as one string, in a token that is accepted. */
const SINGLE_CLAIMS: ReadonlySet<string> = new Set(['iss', 'sub']);

function claimValues(name: string, paths: ReadonlyMap<string, Comparisons>): readonly unknown[] | null {
  let objects: Record<string, unknown>[] = [{}];
  const values: unknown[] = [undefined];
  for (const [path, compared] of paths) {
    const below = JSON.parse(path) as string[];
    const leaves = SINGLE_CLAIMS.has(name) ? compared.texts() : textsAndLists(compared);
    if (leaves === null) return null;
    if (below.length === 0) values.push(...leaves);
    else {
      objects = objects.flatMap(object => [object, ...leaves.map(leaf => placed(object, below, leaf))]);
      if (objects.length > MAX_OBJECTS) return null;
    }
  }
  return objects.length > 1 ? [...values, ...objects] : values;
}

function textsAndLists(compared: Comparisons): unknown[] | null {
  return compared.sets()?.map(texts => (texts.length === 1 ? texts[0] : texts)) ?? null;
}

/** A copy of `object` with `value` where the names lead. */
function placed(
  object: Readonly<Record<string, unknown>>,
  [name = '', ...below]: readonly string[],
  value: unknown,
): Record<string, unknown> {
  if (below.length === 0) return { ...object, [name]: value };
  const inner = object[name];
  const child = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {};
  return { ...object, [name]: placed(child, below, value) };
}
