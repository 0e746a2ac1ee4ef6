/** All outbound destinations of one thread: found by authority, made on first use, kept while the configuration holds. */
import type { ServiceEntry } from '../config/resources.ts';
import { parseAuthority } from './authority.ts';
import { Cluster, type ClusterParts } from './cluster.ts';
import { findService, isDeclared, type RouteSpec, routeSpec } from './route.ts';
import type { Snapshot } from './snapshot.ts';

/** Destinations whose name no ServiceEntry spells out, kept at most: the app chooses them. */
const MAX_PASSTHROUGH = 1_000;

export class Clusters {
  #snapshot: Snapshot;
  #parts: ClusterParts;
  #byAuthority = new Map<string, Cluster | null>();
  /** By authority as written: one look-up a request. */
  #byText = new Map<string, Cluster | null>();
  #clusters = new Map<string, Cluster>();
  #isOwn: (host: string, port: number) => boolean;

  /** `isOwn` tells Outrider's own listeners, which are never a destination (loop). */
  constructor(snapshot: Snapshot, parts: ClusterParts, isOwn: (host: string, port: number) => boolean) {
    this.#snapshot = snapshot;
    this.#parts = parts;
    this.#isOwn = isOwn;
  }

  /** The destination of a request to `authority`, as its Host says; HTTP's port is 80 when none is written. */
  findHttp(authority: string): Cluster | null {
    const known = this.#byText.get(authority);
    if (known !== undefined) return known;
    const { host, port } = parseAuthority(authority);
    const cluster = this.find(host, port, 80);
    // One host has many spellings, and the app chooses.
    if (this.#byText.size > MAX_PASSTHROUGH) this.#byText.clear();
    this.#byText.set(authority, cluster);
    return cluster;
  }

  /**
   * The destination for `host` (lower case) and `port`; null = no route.
   * @param fallback the port of a destination that is passed through, when none is written; null = never pass through
   */
  find(host: string, port: number | null, fallback: number | null): Cluster | null {
    const key = `${host}|${port ?? ''}|${fallback === null}`;
    const known = this.#byAuthority.get(key);
    if (known !== undefined) return known;
    if (this.#byAuthority.size > MAX_PASSTHROUGH) this.#forgetPassthrough();
    const cluster = this.#make(host, port, fallback);
    this.#byAuthority.set(key, cluster);
    return cluster;
  }

  /**
   * The service that the mesh config itself names, or null when a ServiceEntry knows the host but not the port. Where none
   * knows it, its name is looked up, also where the app may reach nothing but what is declared.
   */
  findProvider(service: string, port: number): Cluster | null {
    const host = service.toLowerCase();
    const key = `${host}|${port}|provider`;
    const known = this.#byAuthority.get(key);
    if (known !== undefined) return known;
    const { resources, workload } = this.#snapshot;
    const found = findService(resources, host, port);
    let cluster: Cluster | null = null;
    if (found !== null) cluster = this.#cluster(routeSpec(resources, workload, host, found));
    else if (!isDeclared(resources, host) && !this.#isOwn(host, port)) {
      cluster = this.#cluster(passthrough(host, port));
    }
    this.#byAuthority.set(key, cluster);
    return cluster;
  }

  #make(host: string, port: number | null, fallback: number | null): Cluster | null {
    const { resources, workload } = this.#snapshot;
    const found = findService(resources, host, port);
    if (found !== null) return this.#cluster(routeSpec(resources, workload, host, found));
    // A port that a declared service does not have is a mistake, and plaintext to a mesh service a dangerous one.
    if (fallback === null || isDeclared(resources, host)) return null;
    const sidecar = resources.sidecars.find(
      s => s.outboundTrafficPolicy !== null && selected(s.metadata.namespace, s.selector, this.#snapshot),
    );
    const mode = sidecar?.outboundTrafficPolicy ?? resources.mesh.outboundTrafficPolicy;
    if (mode === 'REGISTRY_ONLY' || host === '' || this.#isOwn(host, port ?? fallback)) return null;
    return this.#cluster(passthrough(host, port ?? fallback));
  }

  #cluster(spec: RouteSpec): Cluster {
    const key = `${spec.host}|${spec.port.number}`;
    let cluster = this.#clusters.get(key);
    if (cluster === undefined) {
      cluster = new Cluster(spec, this.#parts);
      this.#clusters.set(key, cluster);
    }
    return cluster;
  }

  #forgetPassthrough(): void {
    for (const [key, cluster] of this.#clusters) {
      if (cluster.spec.entry.hosts.includes(cluster.spec.host)) continue;
      cluster.close();
      this.#clusters.delete(key);
    }
    this.#byAuthority.clear();
    this.#byText.clear();
  }

  replace(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const cluster of this.#clusters.values()) cluster.close();
    this.#clusters.clear();
    this.#byAuthority.clear();
    this.#byText.clear();
  }

  /**
   * Connections made with the certificates until now are not used again.
   *
   * @param pardon no endpoint stays ejected: what failed for the own certificate says nothing of them
   */
  renew(pardon = false): void {
    for (const cluster of this.#clusters.values()) cluster.renew(pardon);
  }

  sweep(now: number): void {
    for (const cluster of this.#clusters.values()) cluster.sweep(now);
  }
}

const PASSTHROUGH: ServiceEntry = Object.freeze({
  kind: 'ServiceEntry',
  metadata: { namespace: 'unknown', name: 'PassthroughCluster', createdAt: 0, annotations: {} },
  origin: { file: '', line: 0, column: 0 },
  hosts: [],
  addresses: [],
  ports: [],
  location: 'MESH_EXTERNAL',
  resolution: 'DNS',
  endpoints: [],
  subjectAltNames: [],
});

function passthrough(host: string, port: number): RouteSpec {
  return {
    host,
    http: { speaks: 'client', shares: false, fallsBack: false },
    port: { number: port, name: 'passthrough', protocol: 'TCP', targetPort: null },
    entry: PASSTHROUGH,
    policy: null,
    endpoints: [
      { address: host, port, weight: 1, security: { tls: false, why: 'passthrough' }, tunnel: false },
    ],
  };
}

function selected(
  namespace: string,
  selector: Readonly<Record<string, string>> | null,
  snapshot: Snapshot,
): boolean {
  const { workload, resources } = snapshot;
  if (selector === null)
    return namespace === workload.namespace || namespace === resources.mesh.rootNamespace;
  return (
    namespace === workload.namespace &&
    Object.entries(selector).every(([key, value]) => workload.labels[key] === value)
  );
}
