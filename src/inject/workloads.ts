/** Where the kinds of Kubernetes have their pod template. */
import {
  at,
  isObject,
  type Json,
  type JsonObject,
  type JsonPath,
  objectOf,
  objectsOf,
  textOf,
} from './json-value.ts';

const TEMPLATE: JsonPath = ['spec', 'template'];
const APPS = /^(?:apps|extensions)\//;
const BATCH = /^batch\//;
/** `kind: Job` of another group is another thing, and is not touched. */
const KINDS: Readonly<Record<string, { readonly group: RegExp; readonly template: JsonPath }>> = {
  Pod: { group: /^v1$/, template: [] },
  ReplicationController: { group: /^v1$/, template: TEMPLATE },
  Deployment: { group: APPS, template: TEMPLATE },
  StatefulSet: { group: APPS, template: TEMPLATE },
  DaemonSet: { group: APPS, template: TEMPLATE },
  ReplicaSet: { group: APPS, template: TEMPLATE },
  Job: { group: BATCH, template: TEMPLATE },
  CronJob: { group: BATCH, template: ['spec', 'jobTemplate', ...TEMPLATE] },
};

/** What a pod belongs to, as far as injection asks. */
export interface Owner {
  readonly kind: string;
  /** '' when the manifest names none. */
  readonly namespace: string;
  readonly name: string;
}

/** A pod template in a document. */
export interface Place {
  readonly owner: Owner;
  readonly path: JsonPath;
}

/** The pod templates of a document: its own, or those of the items of a list, lists in lists too. */
export function placesOf(document: Json, path: JsonPath = [], listed: JsonObject = {}): readonly Place[] {
  if (!isObject(document)) return [];
  const resource = { ...listed, ...document };
  const kind = textOf(resource.kind);
  const apiVersion = textOf(resource.apiVersion);
  if (kind.endsWith('List') && Array.isArray(document.items)) {
    // The items of a DeploymentList need not say what they are.
    const common = kind === 'List' ? {} : { kind: kind.slice(0, -'List'.length), apiVersion };
    return document.items.flatMap((item, index) => placesOf(item, [...path, 'items', index], common));
  }
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (!known?.group.test(apiVersion) || !isObject(at(document, known.template))) return [];
  return [{ owner: ownerOf(kind, document), path: [...path, ...known.template] }];
}

function ownerOf(kind: string, document: JsonObject): Owner {
  const metadata = objectOf(document.metadata);
  const namespace = textOf(metadata.namespace);
  if (kind === 'Pod') return podOwner(metadata, namespace);
  return { kind, namespace, name: textOf(metadata.name) };
}

/**
 * What made a pod, by its owner reference and its name: a Deployment for the pods of its ReplicaSets, a CronJob for those
 * of its Jobs.
 * @param namespace of the admission review, which a new pod need not carry itself
 */
export function podOwner(metadata: JsonObject, namespace: string): Owner {
  const controller = objectsOf(metadata.ownerReferences).find(one => one.controller === true);
  if (controller === undefined) {
    const name = textOf(metadata.name) || textOf(metadata.generateName).replace(/-$/, '');
    return { kind: 'Pod', namespace, name };
  }
  const [kind, name] = [textOf(controller.kind), textOf(controller.name)];
  const hash = textOf(objectOf(metadata.labels)['pod-template-hash']);
  if (kind === 'ReplicaSet' && hash !== '' && name.endsWith(`-${hash}`)) {
    return { kind: 'Deployment', namespace, name: name.slice(0, -hash.length - 1) };
  }
  const scheduled = /^(.+)-\d{8,}$/.exec(name)?.[1]; // a CronJob's Job has the minute in its name
  if (kind === 'Job' && scheduled !== undefined) return { kind: 'CronJob', namespace, name: scheduled };
  return { kind, namespace, name };
}
