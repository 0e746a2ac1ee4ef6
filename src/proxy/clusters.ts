/** All outbound destinations of one thread: found by authority, made on first use, kept while the configuration holds. */
import type { ServiceEntry } from '../config/resources.ts';
import type { Address } from '../net/listen.ts';
import { parseAuthority } from './authority.ts';
import { Cluster, type ClusterParts } from './cluster.ts';
import { findService, isDeclared, type RouteOriginal, type RouteSpec, routeSpec } from './route.ts';
import { ServiceAddresses } from './service-addresses.ts';
import type { Snapshot } from './snapshot.ts';

/** Destinations whose name no ServiceEntry spells out, kept at most: the app chooses them. */
const MAX_PASSTHROUGH = 1_000;
/** Stands before the address of a key; no host has it. */
const PINNED = '@';
/** Service ports whose connections may begin with a ClientHello of the app's own. */
const TAKES_TLS = /^(?:TLS|HTTPS|AUTO|TCP)$/;

export class Clusters {
  #snapshot: Snapshot;
  #parts: ClusterParts;
  #byAuthority = new Map<string, Cluster | null>();
  /** By authority as written: one look-up a request. */
  #byText = new Map<string, Cluster | null>();
  #clusters = new Map<string, Cluster>();
  /** Of captured connections: by where they were going, and the host that they name. */
  #byOriginal = new Map<string, Cluster | null>();
  /** Made when the first connection is captured. */
  #addresses: ServiceAddresses | null = null;
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

  /** Whether services on `port` are told apart by the host that a connection names. */
  namesHosts(port: number): boolean {
    return this.#located().isNamed(port);
  }

  /** The service at an address: its own, an endpoint's, or that of a TCP port without any. */
  findAt(to: Address): Cluster | null {
    return this.#original('', to, () => {
      const found = this.#located().find(to.host, to.port);
      if (found === null) return null;
      const host = (found.entry.hosts[0] ?? '').toLowerCase();
      return this.#routed(host, found, { ...to, endpoint: found.endpoint });
    });
  }

  /** The service whose name a ClientHello asks for, on the port that it was going to. */
  findSni(sni: string, to: Address): Cluster | null {
    return this.#original(`sni ${sni}`, to, () => {
      const found = findService(this.#snapshot.resources, sni, to.port);
      if (found === null || !TAKES_TLS.test(found.port.protocol)) return null;
      return this.#routed(sni, found, { ...to, endpoint: false });
    });
  }

  /** Where a request of a captured connection goes: to its Host's service on that port, else to the address's, else on. */
  findHttpAt(authority: string, to: Address): Cluster | null {
    return this.#original(`http ${authority}`, to, () => {
      const { resources } = this.#snapshot;
      const { host } = parseAuthority(authority);
      const found = findService(resources, host, to.port);
      if (found !== null) return this.#routed(host, found, { ...to, endpoint: false });
      return this.findAt(to) ?? (isDeclared(resources, host) ? null : this.passthroughTo(to));
    });
  }

  /** On to where it was going, where the app may reach what nobody declared. */
  passthroughTo({ host, port }: Address): Cluster | null {
    return this.#mayPass() ? this.#cluster(passthrough(host, port)) : null;
  }

  #original(name: string, { host, port }: Address, make: () => Cluster | null): Cluster | null {
    const key = `${host}|${port}|${name}`;
    const known = this.#byOriginal.get(key);
    if (known !== undefined) return known;
    if (this.#byOriginal.size > MAX_PASSTHROUGH) this.#forgetPassthrough();
    const cluster = make();
    this.#byOriginal.set(key, cluster);
    return cluster;
  }

  #located(): ServiceAddresses {
    this.#addresses ??= new ServiceAddresses(this.#snapshot.resources);
    return this.#addresses;
  }

  #routed(host: string, found: NonNullable<ReturnType<typeof findService>>, to: RouteOriginal): Cluster {
    const { resources, workload } = this.#snapshot;
    const pinned = to.endpoint || found.entry.resolution === 'NONE';
    return this.#cluster(routeSpec(resources, workload, host, found, to), pinned ? to : null);
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
    if (!this.#mayPass() || host === '' || this.#isOwn(host, port ?? fallback)) return null;
    return this.#cluster(passthrough(host, port ?? fallback));
  }

  /** outboundTrafficPolicy: the Sidecar's, else the mesh config's. */
  #mayPass(): boolean {
    const { sidecars, mesh } = this.#snapshot.resources;
    const sidecar = sidecars.find(
      s => s.outboundTrafficPolicy !== null && selected(s.metadata.namespace, s.selector, this.#snapshot),
    );
    return (sidecar?.outboundTrafficPolicy ?? mesh.outboundTrafficPolicy) !== 'REGISTRY_ONLY';
  }

  /** @param pinned to one address that the app chose: kept apart, and forgotten when there are many */
  #cluster(spec: RouteSpec, pinned: Address | null = null): Cluster {
    const at = pinned === null ? '' : `${PINNED}${pinned.host}:${pinned.port}`;
    const key = `${spec.host}|${spec.port.number}${at}`;
    let cluster = this.#clusters.get(key);
    if (cluster === undefined) {
      cluster = new Cluster(spec, this.#parts);
      this.#clusters.set(key, cluster);
    }
    return cluster;
  }

  #forgetPassthrough(): void {
    for (const [key, cluster] of this.#clusters) {
      if (cluster.spec.entry.hosts.includes(cluster.spec.host) && !key.includes(PINNED)) continue;
      cluster.close();
      this.#clusters.delete(key);
    }
    this.#byAuthority.clear();
    this.#byText.clear();
    this.#byOriginal.clear();
  }

  replace(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const cluster of this.#clusters.values()) cluster.close();
    this.#clusters.clear();
    this.#byAuthority.clear();
    this.#byText.clear();
    this.#byOriginal.clear();
    this.#addresses = null;
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
