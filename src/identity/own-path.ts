/** How long an own chain is good for: until the first of the certificates expires that lead from the leaf to the bundle. */
import type { Link } from './chain.ts';
import { signed } from './trust-path.ts';

/**
 * The certificate on the way from `leaf` to one of `roots` that expires first, the leaf or an intermediate. What else the
 * chain carries does not count, nor does a root: the bundle may hold another.
 */
export function firstToExpire(leaf: Link, intermediates: readonly Link[], roots: readonly Link[]): Link {
  let first = leaf;
  let current = leaf;
  const left = new Set(intermediates);
  while (!roots.some(root => signed(root, current))) {
    const next = [...left].find(candidate => signed(candidate, current));
    if (next === undefined) break;
    left.delete(next);
    if (next.fields.notAfter < first.fields.notAfter) first = next;
    current = next;
  }
  return first;
}
