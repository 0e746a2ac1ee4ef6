/** What holds for TLS connections that are not made here: those of packages that fetch keys and send spans. */
import tls from 'node:tls';
import type { CompliancePolicy } from '../config/settings.ts';
import { groupList, tlsSettings } from './tls-settings.ts';

/** From now on every TLS connection of this thread that says nothing else keeps to the policy. */
export function complyEverywhere(policy: CompliancePolicy | null): void {
  if (policy === null) return;
  const { minVersion, maxVersion, cipherSuites, groups } = tlsSettings(null, policy);
  tls.DEFAULT_MIN_VERSION = minVersion;
  tls.DEFAULT_MAX_VERSION = maxVersion;
  tls.DEFAULT_CIPHERS = cipherSuites.join(':');
  tls.DEFAULT_ECDH_CURVE = groupList(groups);
}
