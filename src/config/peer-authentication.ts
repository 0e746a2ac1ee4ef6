import { refuseDryRun } from './annotations.ts';
import type { ResourceDocument } from './document.ts';
import { quote } from './quote.ts';
import type { MtlsMode, PeerAuthentication } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';

const MODES = ['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT'] as const;

/** Reads a PeerAuthentication (security.istio.io); null when the report has an error. */
export function readPeerAuthentication(document: ResourceDocument): PeerAuthentication | null {
  const { spec, metadata, origin, report, sections } = document;
  refuseDryRun(document);
  const selector = readSelector(spec, 'selector');
  const mtls = spec.section('mtls');
  const mode = mtls && readMode(mtls);
  const ports = readPorts(spec, selector !== null);
  spec.close();
  if (report.failed) return null;
  const policy: PeerAuthentication = { kind: 'PeerAuthentication', metadata, origin, selector, mode, ports };
  sections.set(policy, spec);
  return policy;
}

/** A mode; null for UNSET and absent. */
function readMode(section: Section): MtlsMode | null {
  const mode = section.choice('mode', MODES);
  section.close();
  return mode === 'UNSET' ? null : mode;
}

/** `portLevelMtls`: workload ports, sorted. */
function readPorts(spec: Section, selected: boolean): PeerAuthentication['ports'] {
  const section = spec.section('portLevelMtls');
  if (!section) return [];
  const names = section.names();
  if (names.length === 0) spec.error('portLevelMtls', 'has no port; name at least one or remove the field');
  else if (!selected)
    spec.error('portLevelMtls', 'needs a selector with matchLabels: ports belong to a workload');
  const ports = names.flatMap(name => {
    const level = section.section(name);
    const mode = level && readMode(level);
    if (/^[1-9][0-9]*$/.test(name) && Number(name) <= 65_535) return [{ port: Number(name), mode }];
    section.report.error(
      section.keyOf(name),
      `${section.path}: ${quote(name)} is not a port from 1 to 65535`,
    );
    return [];
  });
  return ports.sort((a, b) => a.port - b.port);
}
