/** The injection of one pod: whether, with which values, and the pod that comes of it. */
import { INJECT, INTERCEPTION_MODE, type PodAnnotations, readAnnotations, STATUS } from './annotations.ts';
import { type Json, type JsonObject, objectOf, objectsOf, textOf } from './json-value.ts';
import { mergePod } from './merge.ts';
import { type Note, Notes } from './notes.ts';
import { PROBES_VARIABLE, rewriteProbes } from './probes.ts';
import { type PodProxyConfig, readProxyConfig } from './proxy-config.ts';
import { fill, type PlaceValues } from './template.ts';
import type { Owner } from './workloads.ts';

/** What the flags say. */
export interface InjectSettings {
  readonly template: JsonObject;
  readonly image: string;
  readonly imagePullPolicy: string | null;
  /** Of the capture init container, which needs nft or iptables-restore beside Outrider; null = the sidecar's. */
  readonly captureImage: string | null;
  readonly identity: 'csi' | 'spire' | 'secret';
  /** The name of the socket that the SPIFFE CSI driver mounts. */
  readonly spireSocket: string;
  readonly configMap: string | null;
  /** A container instead of a native sidecar, where the pod does not say. */
  readonly classic: boolean;
}

export type Injection =
  | { readonly is: 'injected'; readonly pod: JsonObject; readonly notes: readonly Note[] }
  /** Left as it is. */
  | { readonly is: 'left'; readonly why: string; readonly notes: readonly Note[] }
  /** An annotation or the pod itself is wrong. */
  | { readonly is: 'refused'; readonly notes: readonly Note[] };

const PROXY = 'istio-proxy';
const UID = 1337;
const SYSTEM_NAMESPACES = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage']);
const CONFIG_FOLDER = '/etc/outrider/config';
const YES = new Set(['true', 'yes', 'y', 'on']);
const NO = new Set(['false', 'no', 'n', 'off']);

/** Puts the sidecar beside the app of a pod or pod template. */
export function injectPod(pod: JsonObject, owner: Owner, settings: InjectSettings): Injection {
  const notes = new Notes();
  const why = whyNot(pod, owner, notes);
  if (why !== null) return { is: 'left', why, notes: notes.all };
  const [metadata, spec] = [objectOf(pod.metadata), objectOf(pod.spec)];
  if (objectsOf(spec.containers).length === 0) notes.error(['spec'], 'the pod has no containers');
  const annotations = readAnnotations(metadata, notes);
  const config = readProxyConfig(metadata, notes);
  if (notes.failed) return { is: 'refused', notes: notes.all };
  warnOfApp(spec, notes);
  warnOfGrace(spec, config.drainSeconds, notes);
  const native = annotations.native ?? !settings.classic;
  if (!native && /Job$/.test(owner.kind)) {
    notes.warn(
      ['spec'],
      `a ${owner.kind} with a sidecar that is not native ends only after POST /quitquitquit`,
    );
  }
  const probes = annotations.rewriteProbes ? rewriteProbes(spec, notes) : { spec, asked: {} };
  const values = valuesOf({
    metadata,
    spec,
    owner,
    annotations,
    config,
    native,
    settings,
    asked: probes.asked,
  });
  const sidecar = fill(settings.template, values);
  const merged = mergePod({ ...pod, spec: probes.spec }, sidecar, {
    native,
    first: values.hold === true,
    annotations:
      annotations.interception === null && config.interception !== null
        ? { [INTERCEPTION_MODE]: config.interception }
        : {},
    notes,
  });
  return notes.failed || merged === null
    ? { is: 'refused', notes: notes.all }
    : { is: 'injected', pod: merged, notes: notes.all };
}

/** Why a pod gets no sidecar; null when it gets one. */
function whyNot(pod: JsonObject, owner: Owner, notes: Notes): string | null {
  const [metadata, spec] = [objectOf(pod.metadata), objectOf(pod.spec)];
  if (SYSTEM_NAMESPACES.has(owner.namespace)) return `the namespace ${owner.namespace} is the system's`;
  if (spec.hostNetwork === true) return "hostNetwork: its traffic is the machine's";
  if (objectOf(spec.os).name === 'windows') return 'os: Outrider runs on Linux';
  if (Object.hasOwn(objectOf(metadata.annotations), STATUS)) return `has a sidecar already (${STATUS})`;
  const named = [...objectsOf(spec.containers), ...objectsOf(spec.initContainers)];
  if (named.some(({ name }) => name === PROXY)) return `has a container ${PROXY} already`;
  return wish(metadata, notes);
}

/** The label wins over the annotation; without either the pod is meant. */
function wish(metadata: JsonObject, notes: Notes): string | null {
  for (const field of ['labels', 'annotations']) {
    const value = objectOf(metadata[field])[INJECT];
    if (value === undefined || value === null || value === '') continue;
    const word = String(value).toLowerCase();
    if (YES.has(word)) return null;
    if (!NO.has(word)) {
      notes.warn(
        ['metadata', field, INJECT],
        `${INJECT} must be "true" or "false", not ${JSON.stringify(value)}`,
      );
    }
    return `${field.slice(0, -1)} ${INJECT}: ${word}`;
  }
  return null;
}

function warnOfApp(spec: JsonObject, notes: Notes): void {
  const podUser = objectOf(spec.securityContext).runAsUser;
  if (!Array.isArray(spec.containers)) return;
  for (const [index, container] of spec.containers.entries()) {
    const user = objectOf(objectOf(container).securityContext).runAsUser ?? podUser;
    if (user !== UID) continue;
    const message = `runs as uid ${UID}, which is the sidecar's: its traffic is not captured; give it another`;
    notes.warn(['spec', 'containers', index], message);
  }
}

const GRACE_SECONDS = 30; // Kubernetes' own

/** Whoever drains longer than the pod may take to end is killed in the middle. */
function warnOfGrace(spec: JsonObject, drainSeconds: number | null, notes: Notes): void {
  const { terminationGracePeriodSeconds: said } = spec;
  const grace = typeof said === 'number' ? said : GRACE_SECONDS;
  if (drainSeconds === null || drainSeconds < grace) return;
  const path = typeof said === 'number' ? ['spec', 'terminationGracePeriodSeconds'] : ['spec'];
  notes.warn(path, `the sidecar may drain for ${drainSeconds} s, and the pod is killed after ${grace} s`);
}

interface Known {
  readonly metadata: JsonObject;
  readonly spec: JsonObject;
  readonly owner: Owner;
  readonly annotations: PodAnnotations;
  readonly config: PodProxyConfig;
  readonly native: boolean;
  readonly settings: InjectSettings;
  readonly asked: Readonly<Record<string, JsonObject>>;
}

/** Istio's defaults. */
const RESOURCES = { cpu: '100m', memory: '128Mi', cpuLimit: '2000m', memoryLimit: '1024Mi' };
const READINESS = { readinessInitialDelay: 0, readinessPeriod: 15, readinessFailures: 4 };
const NO_RESOURCES = { cpu: null, memory: null, cpuLimit: null, memoryLimit: null };

function valuesOf(known: Known): PlaceValues {
  const { metadata, spec, owner, annotations, config, native, settings } = known;
  const interception = annotations.interception ?? config.interception ?? 'REDIRECT';
  const transparent = interception === 'TPROXY';
  return {
    image: annotations.image ?? settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    captureImage: settings.captureImage ?? annotations.image ?? settings.image,
    identity: settings.identity,
    spireSocket: settings.identity === 'spire' ? settings.spireSocket : null,
    serviceAccount: textOf(spec.serviceAccountName) || textOf(spec.serviceAccount) || 'default',
    configMap: settings.configMap,
    configFolder: settings.configMap === null ? null : CONFIG_FOLDER,
    native: native || null,
    hold: (!native && config.hold === true) || null,
    capture: interception === 'NONE' ? 'off' : interception.toLowerCase(),
    initCapture: interception !== 'NONE' || null,
    // Kubernetes gives added capabilities to root only.
    user: transparent ? 0 : UID,
    nonRoot: !transparent,
    privilege: transparent ? 'NET_ADMIN' : null,
    logLevel: annotations.logLevel,
    workers: config.workers,
    drainSeconds: config.drainSeconds,
    ...(annotations.resources === null ? RESOURCES : { ...NO_RESOURCES, ...annotations.resources }),
    ...READINESS,
    ...annotations.readiness,
    environment: environmentOf(known),
    canonicalName: canonical(metadata, CANONICAL_NAME, owner.name),
    canonicalRevision: canonical(metadata, CANONICAL_REVISION, 'latest'),
  };
}

function environmentOf({ config, asked }: Known): Json {
  const variables: Record<string, string> = { ...config.environment };
  if (Object.keys(asked).length > 0) variables[PROBES_VARIABLE] = JSON.stringify(asked);
  const list = Object.entries(variables).map(([name, value]) => ({ name, value }));
  return list.length > 0 ? list : null;
}

const CANONICAL_NAME = ['service.istio.io/canonical-name', 'app.kubernetes.io/name', 'app'];
const CANONICAL_REVISION = ['service.istio.io/canonical-revision', 'app.kubernetes.io/version', 'version'];

/** The first of the labels that says something; a label holds 63 characters and ends in a letter or digit. */
function canonical(metadata: JsonObject, labels: readonly string[], otherwise: string): string | null {
  const found = labels.map(name => textOf(objectOf(metadata.labels)[name])).find(text => text !== '');
  return (found ?? otherwise).slice(0, 63).replace(/[^A-Za-z0-9]+$/, '') || null;
}
