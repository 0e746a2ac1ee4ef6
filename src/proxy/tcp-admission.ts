/** Whether a connection of bytes may reach the app: external authorizers, then policy, on what is in force at the end. */
import { type ConnectionPolicy, customMatches, decideConnection, findingsOf } from '../policy/decide.ts';
import type { CustomMatch } from '../policy/decision.ts';
import { explainTcpDenial } from '../policy/explain-live.ts';
import type { AccessRecord } from '../telemetry/record.ts';
import type { ExtAuthz } from './ext-authz.ts';
import type { AuthzConnection } from './ext-authz-question.ts';

/** A connection as it stands; `policy` is another object once the configuration has changed. */
export interface TcpArrival {
  readonly policy: ConnectionPolicy;
  readonly denials: { readonly explain: boolean };
  readonly authzConnection: AuthzConnection;
  /** Authorizers that said yes to it: the question would be the same. */
  readonly letInBy: Set<ExtAuthz>;
  authorizer(provider: string): ExtAuthz | null;
}

/**
 * Decides, and notes on the record what was said.
 * @param signal the client is gone: the answer means nothing
 * @returns at once when no provider is to be asked; never rejects
 */
export function admitTcp(
  arrival: TcpArrival,
  record: AccessRecord,
  signal: () => AbortSignal,
): boolean | Promise<boolean> {
  return customMatches(arrival.policy, null) === null
    ? mayTcp(arrival, record)
    : askAndDecide(arrival, record, signal());
}

/**
 * The same for one that is open, under another configuration: only providers that did not let it in are asked.
 * @returns null when there are none; never rejects
 */
export function readmitTcp(
  arrival: TcpArrival,
  record: AccessRecord,
  signal: () => AbortSignal,
): Promise<boolean> | null {
  const matches = customMatches(arrival.policy, null) ?? [];
  return matches.every(match => isLetInBy(arrival, match)) ? null : askAndDecide(arrival, record, signal());
}

function isLetInBy(arrival: TcpArrival, match: CustomMatch): boolean {
  const authorizer = match.bad === null ? arrival.authorizer(match.provider) : null;
  return authorizer !== null && arrival.letInBy.has(authorizer);
}

async function askAndDecide(
  arrival: TcpArrival,
  record: AccessRecord,
  signal: AbortSignal,
): Promise<boolean> {
  for (;;) {
    const { policy } = arrival;
    const refusal = await firstRefusal(arrival, customMatches(policy, null) ?? [], signal);
    if (signal.aborted) return false;
    // Providers that only the new configuration names have not been asked.
    if (arrival.policy !== policy) continue;
    if (refusal === null) return mayTcp(arrival, record);
    record.decision = 'deny';
    record.policy = refusal.policy;
    record.policyRule = refusal.rule;
    record.terminationDetails = refusal.decision?.reason ?? 'ext_authz_denied';
    if (arrival.denials.explain) record.explanation = explainTcpDenial(policy);
    return false;
  }
}

async function firstRefusal(
  arrival: TcpArrival,
  matches: readonly CustomMatch[],
  signal: AbortSignal,
): Promise<CustomMatch | null> {
  for (const match of matches) {
    if (isLetInBy(arrival, match)) continue;
    const authorizer = match.bad === null ? arrival.authorizer(match.provider) : null;
    const allowed = (await authorizer?.checkConnection(arrival.authzConnection, signal)) ?? false;
    if (authorizer === null || !allowed) return match;
    arrival.letInBy.add(authorizer);
  }
  return null;
}

/** Asks policy, and notes what it said. */
export function mayTcp(arrival: TcpArrival, record: AccessRecord): boolean {
  record.findings = findingsOf(arrival.policy, null);
  const decision = decideConnection(arrival.policy);
  record.decision = decision.allow ? 'allow' : 'deny';
  record.policy = decision.policy ?? decision.missed;
  record.policyRule = decision.rule;
  if (decision.allow) return true;
  record.terminationDetails = decision.reason;
  if (arrival.denials.explain) record.explanation = explainTcpDenial(arrival.policy);
  return false;
}
