/** Access-log lines for replay, as a sidecar writes them. */
import { accessLogFields, jsonLine } from '../../src/telemetry/access-log.ts';
import { AccessRecord, type ConnectionFacts } from '../../src/telemetry/record.ts';
import { headers, inboundFacts } from '../telemetry/facts.ts';

export const SLEEP = 'spiffe://cluster.local/ns/foo/sa/sleep';

/** What a test says of a line; the rest is an allowed GET / by sleep over mutual TLS. */
export interface Line {
  readonly conn?: Partial<ConnectionFacts>;
  readonly record?: Partial<AccessRecord>;
  readonly headers?: Readonly<Record<string, readonly string[]>>;
}

/** One line of an inbound request. */
export function logLine({ conn = {}, record = {}, headers: sent = {} }: Line = {}): string {
  const facts = inboundFacts({ sourcePrincipal: SLEEP, sourceNamespace: 'foo', ...conn });
  const made = Object.assign(new AccessRecord(facts, 0), {
    method: 'GET',
    path: '/',
    authority: 'a.com',
    status: 200,
    details: 'via_upstream',
    headers: headers(sent),
    ...record,
  });
  return jsonLine(accessLogFields(made, 1));
}

/** A line of a plaintext connection. */
export const PLAINTEXT: Partial<ConnectionFacts> = {
  sourcePrincipal: null,
  sourceNamespace: null,
  destinationPrincipal: null,
  security: 'none',
  tlsVersion: null,
  sni: null,
};

/** An AuthorizationPolicy in namespace foo. */
export function policy(name: string, action: string, rules: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: foo}
spec: {action: ${action}, rules: ${rules}}
---
`;
}
