/** Whether a decision may depend on the server name that the client asked for in its hello. */
import type { Authorization, RuleSet } from './compile.ts';
import type { CompiledRule } from './rule.ts';

/** True where a rule asks for `connection.sni`, also under dry-run, or an external authorizer is told it. */
export function looksAtServerName({ http, tcp }: Authorization): boolean {
  return [http, tcp].some(rules => rules.custom.length > 0 || rulesOf(rules).some(asksForIt));
}

function rulesOf({ audit, deny, allow, dryRun }: RuleSet): readonly CompiledRule[] {
  return [...deny, ...allow, ...[...audit, ...dryRun].flatMap(({ rules }) => rules)];
}

function asksForIt({ groups }: CompiledRule): boolean {
  return groups.flat().some(({ connection }) => connection.some(clause => clause.attribute === 'sni'));
}
