// Hot path: decideRequest runs for every request and makes no object, closure or string unless it is asked for a trace.
/** Deciding: once a connection what the connection answers, once a request the rest. CUSTOM, AUDIT, DENY, then ALLOW. */
import { parseAddress } from './address.ts';
import type { ConnectionAttributes, RequestAttributes } from './attributes.ts';
import { type BoundList, type BoundPolicy, type BoundRules, type BoundTrial, bindRules } from './bound.ts';
import type { Authorization } from './compile.ts';
import type { CustomMatch, Decision, DryRun, Findings } from './decision.ts';
import { type ConnectionFacts, identityOf } from './match.ts';
import { holds, type Question } from './question.ts';
import type { Reading } from './reading.ts';
import { passes } from './sieve.ts';
import { lowerCase } from './text.ts';
import type { Marks, Post } from './text-index.ts';
import { traceCustom, traceDecision, traceFindings } from './trace.ts';

export type { CustomMatch, Decision, Findings } from './decision.ts';

/** Policy as it holds on one connection. */
export interface ConnectionPolicy {
  readonly authorization: Authorization;
  readonly facts: ConnectionFacts;
  readonly http: BoundRules;
  /** Bound when first asked for: most connections carry HTTP. */
  tcp: BoundRules | null;
}

/** Evaluates all that depends on the connection only; call it when the peer is known and when policy changes. */
export function bindConnection(
  authorization: Authorization,
  connection: ConnectionAttributes,
): ConnectionPolicy {
  const { principal, sourceIp, destinationIp, destinationPort, sni } = connection;
  const facts: ConnectionFacts = {
    principal,
    identity: identityOf(principal),
    sourceIp,
    source: parseAddress(sourceIp),
    destinationIp,
    destination: parseAddress(destinationIp),
    port: destinationPort,
    // Istio's listener lower-cases it; a name that is not there is an empty one.
    sni: lowerCase(sni ?? ''),
  };
  return { authorization, facts, http: bindRules(authorization.http, facts), tcp: null };
}

/**
 * Decides one request by the DENY and ALLOW policies.
 * @param trace when given, lines for a person are appended: each rule considered and the clause that matched or failed
 */
export function decideRequest(
  policy: ConnectionPolicy,
  request: RequestAttributes,
  trace?: string[],
): Decision {
  const decision = policy.http.constant ?? judge(policy.http, read(policy, request));
  if (trace !== undefined) {
    traceDecision(decision, { rules: policy.authorization.http, facts: policy.facts, request }, trace);
  }
  return decision;
}

/** Decides a connection whose bytes are not HTTP by the DENY and ALLOW policies. */
export function decideConnection(policy: ConnectionPolicy, trace?: string[]): Decision {
  const rules = policy.authorization.tcp;
  const bound = boundFor(policy, null);
  const decision = bound.constant ?? judge(bound, rules.reading);
  if (trace !== undefined) traceDecision(decision, { rules, facts: policy.facts, request: null }, trace);
  return decision;
}

/**
 * The CUSTOM rules that match: of each provider the first, in the order in which providers are asked. The request goes on
 * when all of them allow it; one with `bad` set refuses it at its turn.
 * @param request null on a connection whose bytes are not HTTP
 * @returns null when nobody is to be asked
 */
export function customMatches(
  policy: ConnectionPolicy,
  request: RequestAttributes | null,
  trace?: string[],
): readonly CustomMatch[] | null {
  const { authorization, facts } = policy;
  const rules = request === null ? authorization.tcp : authorization.http;
  if (rules.custom.length === 0) return null;
  const { custom, sieves } = boundFor(policy, request);
  const reading = request === null ? rules.reading : read(policy, request);
  const marks = sieves.custom === null ? null : sieves.custom.mark(reading);
  let matches: CustomMatch[] | null = null;
  for (let i = 0; i < custom.length; i++) {
    const match = firstOf(custom[i] as BoundList<CustomMatch>, reading, marks);
    if (match === null) continue;
    if (matches === null) matches = [match];
    else matches.push(match);
  }
  if (trace !== undefined) traceCustom({ rules, facts, request }, trace);
  return matches;
}

/**
 * What AUDIT policies and policies under dry-run say. They decide nothing: Istio evaluates AUDIT after authentication and
 * before DENY, dry-run beside the policies of the same action.
 *
 * A DENY policy under dry-run has an entry (`deny`) when it matches. The ALLOW policies under dry-run are pooled, as
 * Envoy's shadow rules are: each that matches has an entry (`allow`); when none does, all of them have one (`deny`).
 * @param request null on a connection whose bytes are not HTTP
 * @returns null when there is nothing to say
 */
export function findingsOf(
  policy: ConnectionPolicy,
  request: RequestAttributes | null,
  trace?: string[],
): Findings | null {
  const { authorization, facts } = policy;
  const rules = request === null ? authorization.tcp : authorization.http;
  if (rules.audit.length === 0 && rules.dryRun.length === 0) return null;
  const { audit: audits, trials, sieves } = boundFor(policy, request);
  const reading = request === null ? rules.reading : read(policy, request);
  const marks = sieves.findings === null ? null : sieves.findings.mark(reading);
  const audit = matching(audits, reading, marks);
  const dryRun = trialsOf(trials, reading, marks);
  if (trace !== undefined) traceFindings({ rules, facts, request }, trace);
  return audit === NOBODY && dryRun === NOTHING ? null : { audit, dryRun };
}

const NOBODY: readonly string[] = Object.freeze([]);
const NOTHING: readonly DryRun[] = Object.freeze([]);

function matching(
  policies: readonly BoundPolicy[],
  reading: Reading,
  marks: Marks | null,
): readonly string[] {
  let names: string[] | null = null;
  for (let i = 0; i < policies.length; i++) {
    const { policy, rules } = policies[i] as BoundPolicy;
    if (firstOf(rules, reading, marks) === null) continue;
    if (names === null) names = [policy];
    else names.push(policy);
  }
  return names ?? NOBODY;
}

function trialsOf(trials: readonly BoundTrial[], reading: Reading, marks: Marks | null): readonly DryRun[] {
  let found: DryRun[] | null = null;
  let allowed = false;
  for (let i = 0; i < trials.length; i++) {
    const { rules, matched, unmatched } = trials[i] as BoundTrial;
    if (firstOf(rules, reading, marks) === null) continue;
    if (unmatched !== null) allowed = true;
    if (found === null) found = [matched];
    else found.push(matched);
  }
  if (allowed) return found as DryRun[];
  for (let i = 0; i < trials.length; i++) {
    const { unmatched } = trials[i] as BoundTrial;
    if (unmatched === null) continue;
    if (found === null) found = [unmatched];
    else found.push(unmatched);
  }
  return found ?? NOTHING;
}

function boundFor(policy: ConnectionPolicy, request: RequestAttributes | null): BoundRules {
  if (request !== null) return policy.http;
  policy.tcp ??= bindRules(policy.authorization.tcp, policy.facts);
  return policy.tcp;
}

function read(policy: ConnectionPolicy, request: RequestAttributes): Reading {
  const { reading } = policy.authorization.http;
  reading.take(request, policy.facts);
  return reading;
}

function judge({ deny, allow, otherwise, sieves }: BoundRules, reading: Reading): Decision {
  const marks = sieves.decision === null ? null : sieves.decision.mark(reading);
  return firstOf(deny, reading, marks) ?? firstOf(allow, reading, marks) ?? otherwise;
}

/**
 * What follows from the first rule that holds; null when none does.
 * @param marks those that the sieve lets through; null = all
 */
function firstOf<T>(
  { outcomes, questions, posts }: BoundList<T>,
  reading: Reading,
  marks: Marks | null,
): T | null {
  for (let i = 0; i < posts.length; i++) {
    if (marks !== null && !passes(posts[i] as Post, marks)) continue;
    if (holds(questions[i] as Question, reading)) return outcomes[i] as T;
  }
  return null;
}
