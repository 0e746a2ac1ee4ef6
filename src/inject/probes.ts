/**
 * The kubelet knows no mutual TLS. So the probes and hooks of the app that it makes over the network go to the sidecar's
 * telemetry port, which asks the app on localhost; what they were stands in a variable of the sidecar, as Istio has it.
 */
import {
  isObject,
  type Json,
  type JsonObject,
  type JsonPath,
  objectOf,
  objectsOf,
  textOf,
} from './json-value.ts';
import type { Notes } from './notes.ts';

/** Of the sidecar's container: path → what was asked, JSON. */
export const PROBES_VARIABLE = 'ISTIO_KUBE_APP_PROBERS';
const TELEMETRY_PORT = 15_020;

/** Where a container has what the kubelet asks, and under which path the sidecar answers it. */
const ASKED: readonly {
  readonly at: readonly [string, ...string[]];
  readonly path: (name: string) => string;
}[] = [
  { at: ['startupProbe'], path: name => `/app-health/${name}/startupz` },
  { at: ['readinessProbe'], path: name => `/app-health/${name}/readyz` },
  { at: ['livenessProbe'], path: name => `/app-health/${name}/livez` },
  { at: ['lifecycle', 'postStart'], path: name => `/app-lifecycle/${name}/poststartz` },
  { at: ['lifecycle', 'preStop'], path: name => `/app-lifecycle/${name}/prestopz` },
];
const LOOPBACK = new Set(['localhost', '127.0.0.1', '::1']);

export interface RewrittenProbes {
  readonly spec: JsonObject;
  /** Path → what was asked; empty when there is nothing to rewrite. */
  readonly asked: Readonly<Record<string, JsonObject>>;
}

/** Rewrites the probes of every container that has some. What must stay as it is goes to the notes. */
export function rewriteProbes(spec: JsonObject, notes: Notes): RewrittenProbes {
  const asked: Record<string, JsonObject> = {};
  const rewritten: Record<string, Json> = { ...spec };
  for (const field of ['containers', 'initContainers']) {
    const containers = spec[field];
    if (!Array.isArray(containers)) continue;
    rewritten[field] = containers.map((container: Json, index) =>
      isObject(container)
        ? rewriteContainer(container, { path: ['spec', field, index], notes, asked })
        : container,
    );
  }
  return { spec: rewritten, asked };
}

interface Rewriting {
  readonly path: JsonPath;
  readonly notes: Notes;
  readonly asked: Record<string, JsonObject>;
}

function rewriteContainer(container: JsonObject, { path, notes, asked }: Rewriting): JsonObject {
  let result = container;
  const name = textOf(container.name);
  for (const { at, path: pathOf } of ASKED) {
    const [field, hook] = at;
    const handler = hook === undefined ? container[field] : objectOf(container[field])[hook];
    if (!isObject(handler)) continue;
    const question = questionOf(handler, container, { path: [...path, ...at], notes });
    if (question === null) continue;
    asked[pathOf(name)] = question;
    const replaced = askSidecar(handler, pathOf(name));
    const value = hook === undefined ? replaced : { ...objectOf(result[field]), [hook]: replaced };
    result = { ...result, [field]: value };
  }
  return result;
}

/** What the sidecar is to ask; null when the kubelet asks nothing over the network, or must go on asking it itself. */
function questionOf(
  handler: JsonObject,
  container: JsonObject,
  { path, notes }: Pick<Rewriting, 'path' | 'notes'>,
): JsonObject | null {
  const kind = ['httpGet', 'tcpSocket', 'grpc'].find(one => isObject(handler[one]));
  if (kind === undefined) return null;
  const { host, ...action } = objectOf(handler[kind]);
  if (textOf(host) !== '' && !LOOPBACK.has(textOf(host))) {
    notes.warn([...path, kind, 'host'], `asks ${textOf(host)} and not this pod; it is left as it is`);
    return null;
  }
  const port = portOf(action.port, container);
  if (port === null) {
    notes.warn(
      [...path, kind],
      `its port ${JSON.stringify(action.port)} is none of the container's; it is left as it is`,
    );
    return null;
  }
  const { timeoutSeconds } = handler;
  return { [kind]: { ...action, port }, ...(typeof timeoutSeconds === 'number' && { timeoutSeconds }) };
}

/** A number, or the name of one of the container's ports. */
function portOf(port: Json | undefined, container: JsonObject): number | null {
  if (typeof port === 'number') return port;
  const named = objectsOf(container.ports).find(one => one.name === port && port !== undefined);
  if (typeof named?.containerPort === 'number') return named.containerPort;
  return typeof port === 'string' && /^\d{1,5}$/.test(port) ? Number(port) : null;
}

/** The handler as the kubelet gets it. Over HTTP always; headers stay, because the sidecar hands them on. */
function askSidecar(handler: JsonObject, path: string): JsonObject {
  const { tcpSocket: _tcp, grpc: _grpc, httpGet, ...rest } = handler;
  const { host: _host, scheme: _scheme, ...kept } = objectOf(httpGet);
  return { ...rest, httpGet: { ...kept, path, port: TELEMETRY_PORT } };
}
