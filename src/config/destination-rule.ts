import { refuseDryRun } from './annotations.ts';
import type { FileExists } from './client-tls.ts';
import type { ResourceDocument } from './document.ts';
import { wildcardNameProblem } from './names.ts';
import type { DestinationRule } from './resources.ts';
import type { Section } from './section.ts';
import { readSelector } from './selector.ts';
import { readPortNumber } from './service-port.ts';
import { readTrafficPolicy, refuseEmpty } from './traffic-policy.ts';

/** Reads a DestinationRule (networking.istio.io); null when the report has an error. */
export function readDestinationRule(
  document: ResourceDocument,
  fileExists: FileExists,
): DestinationRule | null {
  const { spec, metadata, origin, report } = document;
  refuseDryRun(document);
  const host = readHost(spec);
  const selector = readSelector(spec, 'workloadSelector');
  const section = spec.section('trafficPolicy');
  const trafficPolicy = section && readTrafficPolicy(section, fileExists);
  const portLevelSettings = section ? readPortLevels(section, fileExists) : [];
  if (section) {
    refuseEmpty(section, 'portLevelSettings', 'tunnel', 'proxyProtocol', 'retryBudget');
    section.notSupported('tunnel', 'proxyProtocol');
    section.notHonoured('retryBudget');
    section.close();
  }
  spec.texts('exportTo');
  spec.notHonoured('subsets', 'exportTo');
  spec.close();
  if (report.failed) return null;
  return { kind: 'DestinationRule', metadata, origin, host, selector, trafficPolicy, portLevelSettings };
}

function readHost(spec: Section): string {
  const host = spec.required('host', 'the host that clients address');
  const problem = host && wildcardNameProblem(host);
  if (problem) spec.error('host', problem);
  return host ?? '';
}

function readPortLevels(policy: Section, fileExists: FileExists): DestinationRule['portLevelSettings'] {
  const taken = new Set<number>();
  return (policy.sections('portLevelSettings') ?? []).flatMap(section => {
    const number = readPort(section);
    const level = readTrafficPolicy(section, fileExists);
    refuseEmpty(section);
    section.close();
    if (number === null) return [];
    if (taken.has(number)) section.error('port', `${number} stands twice; keep one`);
    taken.add(number);
    return [{ port: number, policy: level }];
  });
}

function readPort(section: Section): number | null {
  const port = section.section('port');
  if (!port) {
    if (!section.has('port')) section.fault('needs port: {number: N}');
    return null;
  }
  const number = readPortNumber(port, 'number');
  port.close();
  return number;
}
