/** An explanation for a person: the decision, why in a sentence, every policy considered, and what would change it. */
import type { ExplainAnswer } from '../policy/explain.ts';

/**
 * @param port the workload port that was asked about
 * @returns lines without the last line's end
 */
export function explainProse(answer: ExplainAnswer, port: number | null): string {
  const parts = [
    [headline(answer), why(answer, port)],
    considered(answer),
    remedyOf(answer),
    facts(answer, port),
  ];
  return parts
    .flatMap(part => (part.length === 0 ? [] : ['', ...part]))
    .slice(1)
    .join('\n');
}

function headline(answer: ExplainAnswer): string {
  const { decision, status, grpcStatus } = answer;
  if (decision === 'allow') {
    const asked = (answer.custom ?? []).map(({ provider }) => provider);
    return asked.length === 0 ? 'ALLOW' : `ALLOW if ${list(asked, 'provider', 'and')} allows (assumed)`;
  }
  if (status === undefined) return 'DENY: the connection is closed';
  return grpcStatus === undefined ? `DENY: HTTP ${status}` : `DENY: gRPC status ${grpcStatus}`;
}

/** What a reason of the handshake means; others say it themselves. */
const HANDSHAKE: Readonly<Record<string, string>> = {
  bad_spiffe_id: ': its name is no SPIFFE ID, which is written spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME',
  no_uri_san: ': its certificate has no SPIFFE ID; name one with --principal, or say --plaintext',
  foreign_trust_domain: ": its trust domain is neither the mesh's nor an alias of it",
};

/** One sentence. */
function why(answer: ExplainAnswer, port: number | null): string {
  const { decision, reason = '', policy, rule, mtlsMode } = answer;
  switch (reason) {
    case 'mtls_required':
      return `PeerAuthentication is ${mtlsMode} on port ${port}: without mutual TLS the connection is closed.`;
    case 'mtls_disabled':
      return `PeerAuthentication is ${mtlsMode} on port ${port}: TLS to an HTTP port is closed.`;
    case 'tls_without_istio_alpn':
      return `PeerAuthentication is ${mtlsMode} on port ${port}, an HTTP port: TLS that no sidecar began is closed.`;
    case 'ext_authz_denied':
      return `An external authorizer is assumed to deny it: policy ${policy}, rule ${rule}, asks one.`;
  }
  if (reason.startsWith('bad_request')) return 'It is no request that Outrider takes.';
  if (reason.startsWith('jwt_authn_access_denied')) {
    return `Its token is refused: ${reason.slice(reason.indexOf('{') + 1, -1).replaceAll('_', ' ')}.`;
  }
  if (reason.includes('-deny-due-to-bad-CUSTOM-action')) {
    return `Policy ${policy}, rule ${rule}, wants an external authorizer asked that cannot be.`;
  }
  if (policy !== undefined) {
    return `Policy ${policy}, rule ${rule}, matches and ${decision === 'allow' ? 'allows' : 'denies'} it.`;
  }
  if (answer.trace.length === 0) return 'No policy concerns this workload, so it is allowed.';
  if (decision === 'allow') return 'No policy speaks against it, and no ALLOW policy concerns the workload.';
  if (reason.startsWith('rbac_access_denied')) {
    return 'ALLOW policies concern the workload, and none of their rules matches.';
  }
  return `The client is refused in the TLS handshake${HANDSHAKE[reason] ?? ''}.`;
}

function considered({ trace, audit, dryRun }: ExplainAnswer): string[] {
  if (trace.length === 0) return [];
  const lines = ['Considered, in order:', ...trace.map(line => `  ${line}`)];
  for (const policy of audit) lines.push(`Policy ${policy} is AUDIT: it notes this, and decides nothing.`);
  for (const { policy, decision } of dryRun) {
    lines.push(`Policy ${policy} is under dry-run: it would ${decision} this, and decides nothing.`);
  }
  return lines;
}

/** What a log or a metric would say. */
function facts({ reason, path, mtlsMode }: ExplainAnswer, port: number | null): string[] {
  const lines = [`mutual TLS on port ${port}: ${mtlsMode}`];
  if (path !== undefined) lines.push(`path, as policy sees it: ${path}`);
  if (reason !== undefined) lines.push(`reason: ${reason}`);
  return lines;
}

/** What would have to be true for it to be allowed. */
function remedyOf(answer: ExplainAnswer): string[] {
  const { decision, reason = '', policy, rule, nearest } = answer;
  if (decision === 'allow') return [];
  if (nearest !== undefined) {
    return [
      `To be allowed: policy ${nearest.policy}, rule ${nearest.rule}, comes nearest. It still wants`,
      ...nearest.needs.map(need => `  ${need}`),
    ];
  }
  if (reason === 'mtls_required') return ['It would be let in with a client certificate of the mesh.'];
  if (reason === 'tls_without_istio_alpn') return ['It would be let in from a sidecar, or as plaintext.'];
  if (reason === 'mtls_disabled') return ['It would be let in as plaintext.'];
  if (reason.startsWith('jwt_authn'))
    return ['It would go on with a token that is accepted, or without one.'];
  if (reason.includes('-deny-due-to-bad-CUSTOM-action')) return [];
  if (reason === 'ext_authz_denied') return ['It would go on if the authorizer allowed it.'];
  if (policy !== undefined) return [`It would go on if policy ${policy}, rule ${rule}, did not match.`];
  return [];
}

function list(names: readonly string[], what: string, and: string): string {
  return names.length === 1 ? `${what} ${names[0]}` : names.map(name => `${what} ${name}`).join(` ${and} `);
}
