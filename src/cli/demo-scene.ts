/** How a chapter of the demo is told: who asked whom, what came back, and why. */
import { randomUUID } from 'node:crypto';
import { DECISION_HEADER } from '../policy/decision-header.ts';
import type { AccessLogFields } from '../telemetry/access-log.ts';
import { type Answer, type Asked, type DemoClient, explainAt, lineOf } from './demo-ask.ts';
import type { Mesh } from './demo-mesh.ts';
import type { Paper } from './demo-paper.ts';
import type { DemoSidecar } from './demo-sidecar.ts';

export interface Scene {
  readonly mesh: Mesh;
  readonly paper: Paper;
  readonly client: DemoClient;
  /** What did not go as the story says; empty when all did. */
  readonly surprises: string[];
}

export interface Exchange {
  readonly answer: Answer;
  /** As orders' sidecar logged it. */
  readonly line: AccessLogFields;
}

/** Sends a request through the sidecar of `from` to orders, and waits for what orders' sidecar says of it. */
export async function askOrders(scene: Scene, from: DemoSidecar, asked: Asked): Promise<Exchange> {
  const id = randomUUID();
  const coming = lineOf(scene.mesh.orders, asked, id);
  const answer = await scene.client.through(from, asked, id);
  return { answer, line: await coming };
}

export function asks(scene: Scene, who: string, asked: Asked): void {
  scene.paper.row('asks', `${who}: ${asked.method} ${asked.path}`);
}

/** Status, the body's first line and the time; another status than `wanted` (null = closed) is a surprise. */
export function gets(scene: Scene, answer: Answer, wanted: number | null): void {
  const { status, body, decision, ms } = answer;
  const lead = status === null ? 'closed' : String(status);
  const text = status === null ? ', not one byte' : ` ${body.split('\n', 1)[0]}`;
  scene.paper.row('gets', `${text} (${ms.toFixed(1)} ms)`, lead, status === 200 ? 'good' : 'bad');
  if (decision !== null) scene.paper.row('header', `${DECISION_HEADER}: ${decision}`);
  if (status !== wanted) surprise(scene, `${wanted ?? 'closed'} was meant, ${status ?? 'closed'} came`);
}

/** Says that the story went another way. */
export function surprise(scene: Scene, what: string): void {
  scene.surprises.push(what);
  scene.paper.row('but', '', what, 'bad');
}

/** Who asked, and which policy, rule and clause decided: the access log's word, then what `explain` says of the policy in force. */
export async function why(scene: Scene, asked: Asked, line: AccessLogFields): Promise<void> {
  const { paper, mesh } = scene;
  paper.row('who', `${line.source_principal}, proved over ${line.tls_version}`);
  const clauses = await explainAt(mesh.orders, asked, line.source_principal);
  for (const clause of clauses) paper.row('why', clause);
  paper.row('log', logWords(line));
}

/** The fields of an access-log line that say what was decided. */
export function logWords(line: AccessLogFields): string {
  // The details of a rule's own decision name the same policy and rule once more.
  const details = line.policy_rule === null ? line.response_code_details : null;
  const fields = {
    policy_decision: line.policy_decision,
    policy: line.policy,
    policy_rule: line.policy_rule,
    response_code_details: details,
    upstream_transport_failure_reason: line.upstream_transport_failure_reason,
  };
  const said = Object.entries(fields).filter(([, value]) => value !== null);
  return said.map(([name, value]) => `${name}=${value}`).join(' ');
}
