import { readAuthorizationPolicy } from './authorization-policy.ts';
import { readDestinationRule } from './destination-rule.ts';
import {
  DEFAULT_NAMESPACE,
  flattenList,
  kindOf,
  openDocument,
  type ResourceDocument,
  readDocument,
  type SectionsOf,
} from './document.ts';
import { canRead, isMeshFile, readManifestFiles } from './files.ts';
import { deepFreeze } from './freeze.ts';
import { isReadable } from './kinds.ts';
import { DEFAULT_MESH, readMeshConfig } from './mesh-config.ts';
import type { MapNode } from './node.ts';
import { overlapWarnings } from './overlaps.ts';
import { readPeerAuthentication } from './peer-authentication.ts';
import type { GivenWorkload } from './policy-scope.ts';
import { policyWarnings } from './policy-warnings.ts';
import { reportInto } from './report.ts';
import { readRequestAuthentication } from './request-authentication.ts';
import type { Fault, MeshConfig, Origin, Resources } from './resources.ts';
import { Section } from './section.ts';
import { readServiceEntry } from './service-entry.ts';
import { readSidecar } from './sidecar.ts';
import { parseYaml } from './yaml.ts';

/** What the files say, or everything that is wrong with them (`faults` holds the warnings too). */
export type Manifests =
  | {
      readonly ok: true;
      readonly digest: string;
      readonly resources: Resources;
      readonly warnings: readonly Fault[];
    }
  | { readonly ok: false; readonly digest: string; readonly faults: readonly Fault[] };

/**
 * Reads and validates every manifest of the paths (files, or folders of them). The result is all or nothing: one error
 * anywhere refuses the whole, so that no policy is ever half in force. Frozen plain data; never throws. `digest` is a
 * hash of the bytes that were read, for `watchManifests`. `workload` is the one that the policies are meant for, for warnings
 * of selectors; else those that the files name.
 */
export function loadManifests(paths: readonly string[], workload?: GivenWorkload): Manifests {
  const faults: Fault[] = [];
  const loader = new Loader(faults);
  const { texts, digest } = readManifestFiles(paths);
  for (const entry of texts) {
    if (entry.ok) loader.readText(entry.file, entry.text);
    else faults.push(fileFault(entry.file, entry.severity, entry.message));
  }
  if (faults.some(({ severity }) => severity === 'error')) return deepFreeze({ ok: false, digest, faults });
  const resources = loader.finish(workload);
  return deepFreeze({ ok: true, digest, resources, warnings: [...faults, ...overlapWarnings(resources)] });
}

type Mutable = { -readonly [K in Exclude<keyof Resources, 'mesh'>]: Resources[K][number][] };

/** Gathers the resources of one load. */
class Loader {
  readonly #faults: Fault[];
  readonly #places = new Map<string, Origin>();
  readonly #sections: SectionsOf = new Map();
  readonly #lists: Mutable = {
    peerAuthentications: [],
    authorizationPolicies: [],
    requestAuthentications: [],
    destinationRules: [],
    serviceEntries: [],
    sidecars: [],
  };
  readonly #workloads: GivenWorkload[] = [];
  #mesh: MeshConfig | null = null;
  #meshOrigin: Origin | null = null;

  constructor(faults: Fault[]) {
    this.#faults = faults;
  }

  /** The resources of files without errors; adds the warnings about policies. */
  finish(workload?: GivenWorkload): Resources {
    const resources = { mesh: this.#mesh ?? DEFAULT_MESH, ...this.#lists };
    const workloads = workload ? [workload] : this.#workloads;
    policyWarnings({ resources, sections: this.#sections, workloads, only: workload !== undefined });
    return resources;
  }

  readText(file: string, text: string): void {
    for (const parsed of parseYaml(text)) {
      if (!parsed.ok) this.#faults.push({ ...fileFault(file, 'error', parsed.message), ...parsed.place });
      else if (parsed.node) {
        for (const node of flattenList(parsed.node, file, this.#faults)) this.#readNode(node, file);
      }
    }
  }

  #readNode(node: MapNode, file: string): void {
    const kind = kindOf(node);
    if (kind === 'MeshConfig' || (isMeshFile(file) && !node.fields.has('kind'))) this.#readMesh(node, file);
    else this.#readResource(node, file);
  }

  #readMesh(node: MapNode, file: string): void {
    const origin = { file, line: node.line, column: node.column };
    const report = reportInto(this.#faults, { file, kind: 'MeshConfig', name: '' });
    if (this.#meshOrigin) {
      report.error(node, `a second mesh config; the first is at ${placeOf(this.#meshOrigin)}; keep one`);
      return;
    }
    this.#meshOrigin = origin;
    this.#mesh = readMeshConfig(node, origin, report);
  }

  #readResource(node: MapNode, file: string): void {
    const open = openDocument(node, file, this.#faults);
    if (open.kind === 'WorkloadEntry') add(this.#workloads, readWorkload(node));
    if (!isReadable(open)) return;
    const document = readDocument(open, this.#sections);
    if (!document) return;
    this.#refuseDuplicate(document);
    this.#keep(document);
  }

  #keep(document: ResourceDocument): void {
    const lists = this.#lists;
    switch (document.kind) {
      case 'PeerAuthentication':
        return add(lists.peerAuthentications, readPeerAuthentication(document));
      case 'AuthorizationPolicy':
        return add(lists.authorizationPolicies, readAuthorizationPolicy(document));
      case 'RequestAuthentication':
        return add(lists.requestAuthentications, readRequestAuthentication(document));
      case 'DestinationRule':
        return add(lists.destinationRules, readDestinationRule(document, canRead));
      case 'ServiceEntry':
        return add(lists.serviceEntries, readServiceEntry(document));
      case 'Sidecar':
        return add(lists.sidecars, readSidecar(document));
    }
  }

  #refuseDuplicate({ kind, metadata, origin, root }: ResourceDocument): void {
    const key = `${kind} ${metadata.namespace}/${metadata.name}`;
    const first = this.#places.get(key);
    if (!first) this.#places.set(key, origin);
    else
      root.report.error(
        root.place,
        `${key} is defined twice; the first is at ${placeOf(first)}; rename or remove one`,
      );
  }
}

/** A WorkloadEntry is passed over, but its labels say what selectors can find. */
function readWorkload(node: MapNode): GivenWorkload | null {
  const entry = new Section(node, '', reportInto([], { file: '', kind: '', name: '' }), 'absent');
  const labels = entry.section('spec')?.textMap('labels');
  if (!labels || labels.size === 0) return null;
  const namespace = entry.section('metadata')?.text('namespace') || DEFAULT_NAMESPACE;
  return { namespace, labels: Object.fromEntries(Array.from(labels, ([key, { value }]) => [key, value])) };
}

function add<T>(list: T[], resource: T | null): void {
  if (resource !== null) list.push(resource);
}

function placeOf({ file, line }: Origin): string {
  return `${file}:${line}`;
}

function fileFault(file: string, severity: Fault['severity'], message: string): Fault {
  return { file, line: 1, column: 1, severity, kind: '', name: '', message };
}
