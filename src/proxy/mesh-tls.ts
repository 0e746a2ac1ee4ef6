/** What mutual TLS within the mesh may negotiate. */
import type { CompliancePolicy } from '../config/settings.ts';
import { type TlsSettings, tlsSettings } from '../net/tls-settings.ts';
import type { Snapshot } from './snapshot.ts';

export function meshTls({ resources }: Snapshot, policy: CompliancePolicy | null): TlsSettings {
  const { minTlsVersion, tlsCipherSuites, tlsGroups } = resources.mesh;
  return tlsSettings({ minVersion: minTlsVersion, cipherSuites: tlsCipherSuites, groups: tlsGroups }, policy);
}
