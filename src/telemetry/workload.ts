/**
 * The workload as telemetry names it, after Istio's own rules for canonical service and revision
 * (istio/pkg/model/label.go): labels first, the workload's name last.
 */
export interface WorkloadFacts {
  readonly name: string;
  readonly namespace: string;
  readonly app: string | null;
  readonly version: string | null;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  /** Istio's cluster id; null = unknown. */
  readonly cluster: string | null;
  /** FQDN that inbound traffic counts under; null = unknown. Never the Host header, which a peer chooses. */
  readonly service: string | null;
}

/**
 * Names a workload from its labels.
 * @param from.name the workload's own name when it is known; null falls back on labels, then the service account
 * @param from.domain the mesh's DNS domain (Istio's default is `cluster.local`)
 */
export function workloadFacts(from: {
  readonly name: string | null;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly cluster: string | null;
  readonly domain: string;
}): WorkloadFacts {
  const { labels, namespace } = from;
  const app = labels.app ?? labels['app.kubernetes.io/name'] ?? null;
  const version = labels.version ?? labels['app.kubernetes.io/version'] ?? null;
  const name =
    from.name ?? labels['service.istio.io/workload-name'] ?? app ?? (from.serviceAccount || 'unknown');
  const canonical =
    labels['service.istio.io/canonical-name'] ?? labels['app.kubernetes.io/name'] ?? labels.app ?? null;
  return Object.freeze({
    name,
    namespace,
    app,
    version,
    canonicalService: canonical ?? name,
    canonicalRevision:
      labels['service.istio.io/canonical-revision'] ??
      labels['app.kubernetes.io/version'] ??
      labels.version ??
      'latest',
    cluster: from.cluster,
    service: canonical === null ? null : `${canonical}.${namespace}.svc.${from.domain}`,
  });
}
