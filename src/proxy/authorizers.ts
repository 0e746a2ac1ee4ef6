/** The external authorizers of the mesh config in force, on one thread; made when one is first asked. */

import type { OpenTls } from './cluster.ts';
import type { Clusters } from './clusters.ts';
import { type AuthzResult, ExtAuthz } from './ext-authz.ts';
import type { Snapshot } from './snapshot.ts';

export interface AuthorizersParts {
  readonly clusters: Clusters;
  readonly openTls: OpenTls;
  readonly count: (provider: string, result: AuthzResult) => void;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
}

export class Authorizers {
  #snapshot: Snapshot;
  readonly #parts: AuthorizersParts;
  readonly #made = new Map<string, { readonly authorizer: ExtAuthz; readonly config: string }>();

  constructor(snapshot: Snapshot, parts: AuthorizersParts) {
    this.#snapshot = snapshot;
    this.#parts = parts;
  }

  /** The authorizer of that name; null when the mesh config in force has none. */
  find(name: string): ExtAuthz | null {
    const known = this.#made.get(name);
    if (known !== undefined) return known.authorizer;
    const provider = this.#snapshot.resources.mesh.extensionProviders.find(one => one.name === name);
    if (provider === undefined) return null;
    const { clusters, openTls, count, warn } = this.#parts;
    const cluster = () => clusters.findProvider(provider.service, provider.port);
    const authorizer = new ExtAuthz(provider, { cluster, openTls, count, warn });
    this.#made.set(name, { authorizer, config: JSON.stringify(provider) });
    return authorizer;
  }

  /** Authorizers whose configuration changed or went are closed; what is being asked is still answered. */
  replace(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    const wanted = new Map(
      snapshot.resources.mesh.extensionProviders.map(one => [one.name, JSON.stringify(one)]),
    );
    for (const [name, { authorizer, config }] of this.#made) {
      if (wanted.get(name) === config) continue;
      authorizer.close();
      this.#made.delete(name);
    }
  }

  /** New certificates: connections made with the ones until now are not used again. */
  renew(): void {
    for (const { authorizer } of this.#made.values()) authorizer.renew();
  }

  close(): void {
    for (const { authorizer } of this.#made.values()) authorizer.close();
    this.#made.clear();
  }
}
