/**
 * Case files brought onto loopback, where clients and apps with real sockets are: 10.0.0.0/8 becomes 127.0.0.0/8, the
 * port that a case is about the app's own, and external authorizers listen on 127.0.0.1. What means the same there is
 * played; the rest has its reason.
 */
import { parseAllDocuments } from 'yaml';
import { parseSpiffeId } from '../../src/identity/spiffe.ts';
import { type Case, type CaseFile, type DescribedRequest, readCase, type Table } from './case-file.ts';

/** A case that can be played. */
export interface Scene {
  /** As it stands in the file. */
  readonly line: string;
  readonly wanted: Case;
  readonly request: DescribedRequest;
}

/** Scenes of one file that one workload can play on one configuration. */
export interface Act {
  readonly file: string;
  readonly manifests: string;
  /** The port that stands in the file for the app's. */
  readonly port: number;
  readonly scenes: readonly Scene[];
}

/** What tells one sidecar from another. */
export interface Role {
  readonly workload: Table['workload'];
  readonly protocol: 'http' | 'tcp';
  readonly trustDomain: string;
}

/** @returns the case as it is on loopback, or why it cannot be there */
export function toLoopback(line: string): Scene | string {
  const wanted = readCase(line);
  const request = JSON.parse(loopbackText(JSON.stringify(wanted.request))) as DescribedRequest;
  const { source, destination, protocol, sni } = request;
  if (protocol !== 'http' && protocol !== 'tcp') return 'HTTP/2 is not spoken yet';
  if (!/^127\./.test(source.ip)) return 'no client on loopback has this address';
  if (!/^127\./.test(destination.ip)) return 'no listener on loopback has this address';
  if (source.principal !== undefined && !parseSpiffeId(source.principal).ok) {
    return 'no certificate holds this principal';
  }
  if (sni !== undefined && source.principal === undefined) return 'a server name without TLS';
  return { line, wanted, request };
}

/** The first case of each table that is allowed and the first that is denied, of those that can be played. */
export function sampleOf({ tables }: CaseFile): readonly { table: Table; scene: Scene }[] {
  return tables.flatMap(table => {
    const scenes = table.cases.map(toLoopback).filter(scene => typeof scene !== 'string');
    const first = (decision: Case['decision']) => scenes.find(({ wanted }) => wanted.decision === decision);
    return [first('allow'), first('deny')]
      .filter(scene => scene !== undefined)
      .map(scene => ({ table, scene }));
  });
}

export interface Cast {
  readonly role: Role;
  readonly acts: readonly Act[];
}

/** The samples of all files, by the sidecar that plays them; those that play for most files come first. */
export function castOf(files: ReadonlyMap<string, CaseFile>): readonly Cast[] {
  const cast = new Map<string, { role: Role; acts: Map<string, Act & { scenes: Scene[] }> }>();
  for (const [file, read] of files) {
    for (const { table, scene } of sampleOf(read)) {
      const role: Role = {
        workload: table.workload,
        protocol: scene.request.protocol as Role['protocol'],
        trustDomain: trustDomainOf(read.manifests),
      };
      const { acts } = entry(cast, JSON.stringify(role), () => ({ role, acts: new Map() }));
      const { port } = scene.request.destination;
      const begun = { file, manifests: read.manifests, port, scenes: [] };
      entry(acts, `${file} ${port}`, () => begun).scenes.push(scene);
    }
  }
  const all = [...cast.values()].map(({ role, acts }) => ({ role, acts: [...acts.values()] }));
  return all.sort((a, b) => b.acts.length - a.acts.length);
}

/**
 * Those without whom a file would lack something: an allowed or a denied case on HTTP or on TCP, or a second workload. A
 * sidecar costs a second.
 */
export function neededOf(cast: readonly Cast[]): readonly Cast[] {
  const played = new Set<string>();
  const workloads = new Map<string, number>();
  return cast.filter(({ role, acts }) => {
    let needed = false;
    for (const { file, scenes } of acts) {
      const kinds = scenes.map(({ wanted }) => `${file} ${role.protocol} ${wanted.decision}`);
      const count = (workloads.get(file) ?? 0) + 1;
      needed ||= count <= 2 || kinds.some(kind => !played.has(kind));
      for (const kind of kinds) played.add(kind);
      workloads.set(file, count);
    }
    return needed;
  });
}

function entry<V>(map: Map<string, V>, key: string, make: () => V): V {
  const found = map.get(key) ?? make();
  map.set(key, found);
  return found;
}

/** Whole addresses and blocks of 10.0.0.0/8; nothing else in a case file looks like them. */
function loopbackText(text: string): string {
  return text.replaceAll(/\b10\.(?=\d+\.\d+\.\d)/g, '127.');
}

function documentsOf(manifests: string): Record<string, unknown>[] {
  const documents = parseAllDocuments(manifests).map(
    document => document.toJS() as Record<string, unknown> | null,
  );
  return documents.filter(document => document !== null); // nothing but a comment
}

function trustDomainOf(manifests: string): string {
  const mesh = documentsOf(manifests).find(({ kind }) => kind === 'MeshConfig');
  return (mesh?.trustDomain as string | undefined) ?? 'cluster.local';
}

export interface Provider {
  readonly name: string;
  readonly kind: 'envoyExtAuthzHttp' | 'envoyExtAuthzGrpc';
}

/** Starts an authorizer and tells its port. */
export type StartProvider = (provider: Provider) => Promise<number>;

/** An act's manifests as they are on loopback, with the app on `app`. */
export async function manifestsOn(app: number, act: Act, start: StartProvider): Promise<string> {
  const documents = documentsOf(loopbackText(act.manifests));
  for (const { extensionProviders } of documents) {
    for (const provider of (extensionProviders ?? []) as Record<
      string,
      { service: string; port: number }
    >[]) {
      const kind = provider.envoyExtAuthzHttp ? 'envoyExtAuthzHttp' : 'envoyExtAuthzGrpc';
      const port = await start({ name: String(provider.name), kind });
      provider[kind] = { ...provider[kind]!, service: '127.0.0.1', port };
    }
  }
  return documents.map(document => JSON.stringify(withPort(document, act.port, app))).join('\n---\n');
}

/** Texts and keys that are this port, as `ports` and `portLevelMtls` have them; leading zeros stay. */
function withPort(value: unknown, from: number, to: number): unknown {
  if (typeof value === 'string')
    return /^\d+$/.test(value) && Number(value) === from ? zerosAnd(value, to) : value;
  if (Array.isArray(value)) return value.map(item => withPort(item, from, to));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(
    entries.map(([key, item]) => [key === `${from}` ? `${to}` : key, withPort(item, from, to)]),
  );
}

function zerosAnd(text: string, port: number): string {
  return /^0*/.exec(text)![0] + port;
}
