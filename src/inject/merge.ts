/** The filled template laid into a pod: containers and volumes are added, everything else where the pod says nothing. */
import { STATUS } from './annotations.ts';
import { isList, isObject, type Json, type JsonObject, objectOf, objectsOf, textOf } from './json-value.ts';
import type { Notes } from './notes.ts';

export interface Merging {
  /** Sidecars stay init containers; otherwise those that never end become containers. */
  readonly native: boolean;
  /** Containers of the template stand before those of the pod. */
  readonly first: boolean;
  /** Added to the pod beside the template's. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly notes: Notes;
}

const DEFAULT_CONTAINER = 'kubectl.kubernetes.io/default-container';
const SCRAPE = /^prometheus\.io\//;
const LISTS = ['initContainers', 'containers', 'volumes', 'imagePullSecrets'] as const;
type Lists = Readonly<Record<(typeof LISTS)[number], readonly JsonObject[]>>;

/** The pod with the sidecar; null when a name is taken, which the notes say. */
export function mergePod(pod: JsonObject, sidecar: JsonObject, merging: Merging): JsonObject | null {
  const [spec, addition] = [objectOf(pod.spec), objectOf(sidecar.spec)];
  const added = listsOf(addition, merging.native);
  refuseTaken(spec, added, merging.notes);
  if (merging.notes.failed) return null;
  const { native, first } = merging;
  const lists: [string, readonly JsonObject[], boolean][] = [
    // A sidecar that is not native is not there yet when init containers run: the rules come after them.
    ['initContainers', added.initContainers, native],
    ['containers', added.containers, first],
    ['volumes', added.volumes, false],
    ['imagePullSecrets', added.imagePullSecrets, false],
  ];
  const merged = lists.reduce(
    (into, [field, items, before]) => withItems(into, field, items, before),
    withMissing(spec, without(addition, LISTS)),
  );
  return { ...pod, metadata: mergeMetadata(pod, sidecar, added, merging), spec: merged };
}

function listsOf(addition: JsonObject, native: boolean): Lists {
  const init = objectsOf(addition.initContainers);
  const lasting = native ? [] : init.filter(({ restartPolicy }) => restartPolicy === 'Always');
  return {
    initContainers: init.filter(container => !lasting.includes(container)),
    containers: [
      ...lasting.map(({ restartPolicy: _, ...container }) => container),
      ...objectsOf(addition.containers),
    ],
    volumes: objectsOf(addition.volumes),
    imagePullSecrets: objectsOf(addition.imagePullSecrets),
  };
}

/** Containers share one set of names, volumes another. */
function refuseTaken(spec: JsonObject, added: Lists, notes: Notes): void {
  const groups: readonly (readonly (typeof LISTS)[number][])[] = [
    ['initContainers', 'containers'],
    ['volumes'],
  ];
  for (const fields of groups) {
    const names = new Set(fields.flatMap(field => added[field].map(({ name }) => name)));
    for (const field of fields) {
      for (const [index, item] of (isList(spec[field]) ? spec[field] : []).entries()) {
        const { name } = objectOf(item);
        if (name === undefined || !names.has(name)) continue;
        notes.error(['spec', field, index], `the name ${textOf(name)} is the sidecar's; give it another`);
      }
    }
  }
}

function withItems(
  spec: JsonObject,
  field: string,
  items: readonly JsonObject[],
  before: boolean,
): JsonObject {
  const own = isList(spec[field]) ? spec[field] : [];
  const fresh = items.filter(item => !objectsOf(own).some(({ name }) => name === item.name));
  if (fresh.length === 0) return spec;
  return { ...spec, [field]: before ? [...fresh, ...own] : [...own, ...fresh] };
}

/** Fields of the addition where the object has none, at any depth. */
function withMissing(object: JsonObject, addition: JsonObject): JsonObject {
  const result: Record<string, Json> = { ...object };
  for (const [name, value] of Object.entries(addition)) {
    const own = Object.hasOwn(object, name) ? object[name] : undefined;
    if (own === undefined || own === null) result[name] = value;
    else if (isObject(own) && isObject(value)) result[name] = withMissing(own, value);
  }
  return result;
}

function without(object: JsonObject, fields: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !fields.includes(name)));
}

function mergeMetadata(pod: JsonObject, sidecar: JsonObject, added: Lists, merging: Merging): JsonObject {
  const metadata = objectOf(pod.metadata);
  const own = objectOf(metadata.annotations);
  const { annotations: _, ...template } = objectOf(sidecar.metadata);
  const merged = withMissing(metadata, template);
  const annotations = withMissing(own, {
    ...scrapeOnce(own, objectOf(objectOf(sidecar.metadata).annotations)),
    ...(merging.first && { [DEFAULT_CONTAINER]: firstName(pod) }),
    ...merging.annotations,
    [STATUS]: JSON.stringify({
      initContainers: namesOf(added.initContainers),
      containers: namesOf(added.containers),
      volumes: namesOf(added.volumes),
      imagePullSecrets: added.imagePullSecrets.length > 0 ? namesOf(added.imagePullSecrets) : null,
    }),
  });
  return { ...merged, annotations };
}

/** Who scrapes the app by these annotations goes on doing so: they are taken whole or not at all. */
function scrapeOnce(own: JsonObject, added: JsonObject): JsonObject {
  if (!Object.keys(own).some(name => SCRAPE.test(name))) return added;
  return Object.fromEntries(Object.entries(added).filter(([name]) => !SCRAPE.test(name)));
}

function firstName(pod: JsonObject): string {
  return textOf(objectsOf(objectOf(pod.spec).containers)[0]?.name);
}

function namesOf(items: readonly JsonObject[]): readonly string[] {
  return items.map(({ name }) => textOf(name));
}
