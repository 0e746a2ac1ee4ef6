import type { PortProtocol } from './resources.ts';
import type { WorkloadEndpoint } from './workload-endpoint.ts';

/** Where to listen or connect; `port` 0 takes a free port, `host` is an address or a name without brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Istio's COMPLIANCE_POLICY. */
export type CompliancePolicy = 'fips-140-2' | 'fips-140-3' | 'pqc';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * What the command line and the environment say to `run`: plain data that crosses threads. `null` = they say nothing,
 * and the mesh config, the identity or the machine decides.
 */
export interface RunSettings extends Limits {
  readonly configPaths: readonly string[];
  /** The folder with cert-chain.pem, key.pem and root-cert.pem; null when none was given or found, or none is needed. */
  readonly certsDir: string | null;
  /** The SPIFFE Workload API that the identity comes from; null when it comes from files. */
  readonly workloadApi: WorkloadEndpoint | null;
  /** Which SVID of the Workload API; null takes its first. */
  readonly spiffeId: string | null;
  readonly app: HostPort | null;
  /** How connections come that nobody addressed to Outrider; null = none do. */
  readonly capture: 'redirect' | 'tproxy' | null;
  readonly inbound: HostPort;
  /** null = HBONE is not served. */
  readonly hbone: HostPort | null;
  readonly outbound: HostPort;
  readonly admin: HostPort;
  readonly health: HostPort;
  readonly telemetry: HostPort;
  readonly workers: number | null;
  readonly namespace: string | null;
  readonly serviceAccount: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly protocols: readonly { readonly port: number; readonly protocol: PortProtocol }[];
  readonly accessLog: 'off' | 'text' | 'json' | null;
  /** A development run: what is refused with 401 or 403 says why in a header of the answer. */
  readonly dev: boolean;
  /** The access log says of each denied request which rules were considered. */
  readonly explainDenials: boolean;
  /** Inbound lines of the access log say what TLS negotiated. */
  readonly accessLogTls: boolean;
  /** What TLS may negotiate at most, whatever the mesh config says. */
  readonly compliancePolicy: CompliancePolicy | null;
  /** What holds when a revocation list is out of date and no newer one came. */
  readonly expiredCrl: 'keep' | 'refuse';
  readonly drainSeconds: number | null;
  /** How long an open connection that is not believed or allowed any more may go on; 0 = it is closed at once. */
  readonly revalidationGraceSeconds: number;
  /** Host names that admin answers besides loopback ones. */
  readonly adminHosts: readonly string[];
  readonly logLevel: LogLevel;
  /** How long to wait for the first bytes; 0 = for ever; null = the mesh config's protocolDetectionTimeout. */
  readonly detectTimeoutMs: number | null;
  /** `-- CMD ARG…`; null without. */
  readonly command: readonly string[] | null;
}

/** Limits that protect; times in milliseconds, 0 = off where the flag says so. */
export interface Limits {
  /** Open connections of one worker; more are closed at once. */
  readonly connectionLimit: number;
  readonly headerTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly responseTimeoutMs: number;
}

export const DEFAULT_LIMITS: Limits = Object.freeze({
  connectionLimit: 10_000, // at some 60 KB an idle mutual-TLS connection: 600 MB
  headerTimeoutMs: 10_000, // a header section comes in one round trip; slower is an attack
  handshakeTimeoutMs: 5_000, // slower than any peer, faster than a probe
  idleTimeoutMs: 3_600_000, // Istio's default
  responseTimeoutMs: 0, // Istio's default: none
});

/** The listeners when neither flag nor environment says otherwise: Istio's ports. */
export const DEFAULT_LISTENERS = Object.freeze({
  inbound: Object.freeze({ host: '0.0.0.0', port: 15_006 }),
  outbound: Object.freeze({ host: '127.0.0.1', port: 15_001 }),
  admin: Object.freeze({ host: '127.0.0.1', port: 15_000 }),
  health: Object.freeze({ host: '0.0.0.0', port: 15_021 }),
  telemetry: Object.freeze({ host: '0.0.0.0', port: 15_020 }),
});
