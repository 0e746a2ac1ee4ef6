import { refuseReserved } from './annotations.ts';
import { type ConfigNode, describe, type MapNode } from './node.ts';
import { quote } from './quote.ts';
import { type Report, reportInto, type Subject } from './report.ts';
import type { Fault, Metadata, Origin } from './resources.ts';
import { Section, sectionOf } from './section.ts';

/** A Kubernetes-style document of which only the kind has been read. */
export interface OpenDocument {
  /** '' when absent or not a string. */
  readonly kind: string;
  /** `security.istio.io/v1`; '' when absent. */
  readonly apiVersion: string;
  readonly node: MapNode;
  readonly file: string;
  readonly root: Section;
  readonly report: Report;
}

/** The section that each part of a resource was read from: what knows places once the resource is whole. */
export type SectionsOf = Map<object, Section>;

/** A document ready for the reader of its kind. */
export interface ResourceDocument extends OpenDocument {
  readonly metadata: Metadata;
  readonly origin: Origin;
  /** An empty section when the document has no spec, which Istio reads as `spec: {}`. */
  readonly spec: Section;
  readonly sections: SectionsOf;
}

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
/** Where a resource is whose metadata names no namespace. */
export const DEFAULT_NAMESPACE = 'default';

/** The mappings of a document: itself, or the items of a `kind: List` (one level, as kubectl writes it). */
export function flattenList(node: ConfigNode, file: string, faults: Fault[]): readonly MapNode[] {
  const report = reportInto(faults, { file, kind: '', name: '' });
  if (node.is !== 'map') {
    report.error(node, `must be a mapping with apiVersion, kind, metadata and spec, not ${describe(node)}`);
    return [];
  }
  if (kindOf(node) !== 'List') return [node];
  const items = node.fields.get('items')?.value;
  if (items?.is !== 'list') {
    report.error(items ?? node, 'items: a List has its resources under items');
    return [];
  }
  return items.items.flatMap(item => {
    if (item.is === 'map') return [item];
    report.error(item, `items: must hold mappings, not ${describe(item)}`);
    return [];
  });
}

/** The `kind` as written; '' when absent or not a string. */
export function kindOf(node: MapNode): string {
  const kind = node.fields.get('kind')?.value;
  return kind?.is === 'scalar' && typeof kind.value === 'string' ? kind.value : '';
}

/** Opens a document: enough to tell whether Outrider reads its kind. */
export function openDocument(node: MapNode, file: string, faults: Fault[]): OpenDocument {
  const subject = subjectOf(node, file);
  const report = reportInto(faults, subject);
  const root = new Section(node, '', report);
  root.text('kind');
  return { kind: subject.kind, apiVersion: root.text('apiVersion') ?? '', node, file, root, report };
}

/** Reads what all kinds share. Null after an error that leaves nothing to go on. */
export function readDocument(open: OpenDocument, sections: SectionsOf): ResourceDocument | null {
  const { node, root, report, file } = open;
  const metadata = readMetadata(node, root, report);
  const spec = node.fields.has('spec') ? root.section('spec') : emptySpec(root);
  root.section('status');
  root.close();
  if (!spec || !metadata) return null;
  return { ...open, metadata, origin: { file, line: node.line, column: node.column }, spec, sections };
}

function subjectOf(node: MapNode, file: string): Subject {
  const metadata = node.fields.get('metadata')?.value;
  const word = (name: string): string => {
    const value = metadata?.is === 'map' ? metadata.fields.get(name)?.value : undefined;
    return value?.is === 'scalar' && typeof value.value === 'string' ? value.value : '';
  };
  const name = word('name');
  return { file, kind: kindOf(node), name: name && `${word('namespace') || DEFAULT_NAMESPACE}/${name}` };
}

function emptySpec({ place, report }: Section): Section {
  return new Section({ is: 'map', fields: new Map(), ...place }, 'spec', report);
}

/** Kubernetes' own fields (uid, managedFields, generation …) are passed over in silence: dumps are full of them. */
function readMetadata(node: MapNode, root: Section, report: Report): Metadata | null {
  root.section('metadata');
  const written = node.fields.get('metadata')?.value;
  const metadata = written?.is === 'map' ? sectionOf(written, 'metadata', report, 'absent') : null;
  if (!metadata) {
    if (!report.failed) report.error(root.place, 'metadata: is missing; give the resource a metadata.name');
    return null;
  }
  const name = metadata.text('name');
  if (!name) {
    if (!report.failed) metadata.error('name', 'is missing; give the resource a name');
    return null;
  }
  const namespace = metadata.text('namespace') || DEFAULT_NAMESPACE;
  for (const [field, value] of [
    ['name', name],
    ['namespace', namespace],
  ] as const) {
    if (/[^a-zA-Z0-9._-]/.test(value)) metadata.error(field, `${quote(value)} is not a Kubernetes name`);
  }
  const annotations = readAnnotations(metadata);
  refuseReserved(metadata, annotations);
  metadata.textMap('labels');
  return { namespace, name, createdAt: readCreation(metadata), annotations };
}

/** kubectl's copy of the whole resource is left out: it may hold keys, and annotations are shown. */
function readAnnotations(metadata: Section): Readonly<Record<string, string>> {
  const entries = [...(metadata.textMap('annotations') ?? [])].filter(([key]) => key !== LAST_APPLIED);
  return Object.fromEntries(entries.map(([key, { value }]) => [key, value]));
}

/** RFC 3339, as Kubernetes writes it. */
function readCreation(metadata: Section): number {
  const text = metadata.text('creationTimestamp');
  if (text === null) return 0;
  const time = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  metadata.error('creationTimestamp', `${quote(text)} is not a time such as 2026-01-31T12:00:00Z`);
  return 0;
}
