import { type FileExists, readClientTls } from './client-tls.ts';
import { parseDuration } from './duration.ts';
import { quote } from './quote.ts';
import type { ConnectionPool, OutlierDetection, TrafficPolicy } from './resources.ts';
import type { Section } from './section.ts';

const MAX_INT32 = 2_147_483_647;
const MAX_UINT32 = 4_294_967_295;
const BALANCERS = [
  'UNSPECIFIED',
  'LEAST_CONN',
  'RANDOM',
  'PASSTHROUGH',
  'ROUND_ROBIN',
  'LEAST_REQUEST',
] as const;
const PARTS = ['tls', 'connectionPool', 'loadBalancer', 'outlierDetection'] as const;

/** Reads what trafficPolicy and its portLevelSettings share; the caller closes the section. */
export function readTrafficPolicy(section: Section, fileExists: FileExists): TrafficPolicy {
  const tls = section.section('tls');
  const pool = section.section('connectionPool');
  const balancer = section.section('loadBalancer');
  const outlier = section.section('outlierDetection');
  return {
    tls: tls && readClientTls(tls, fileExists),
    connectionPool: pool && readConnectionPool(pool),
    loadBalancer: balancer && readLoadBalancer(balancer),
    outlierDetection: outlier && readOutlierDetection(outlier),
  };
}

/** Istio refuses a policy that says nothing. */
export function refuseEmpty(section: Section, ...others: readonly string[]): void {
  if ([...PARTS, ...others].some(name => section.has(name))) return;
  section.fault(`is empty; write one of ${PARTS.join(', ')}`);
}

function readConnectionPool(section: Section): ConnectionPool {
  const tcp = section.section('tcp');
  const http = section.section('http');
  if (!section.has('tcp') && !section.has('http')) section.fault('is empty; write tcp or http');
  const pool: ConnectionPool = {
    maxConnections: limit(tcp, 'maxConnections'),
    connectTimeoutMs: tcp ? readDuration(tcp, 'connectTimeout') : null,
    tcpIdleTimeoutMs: tcp ? readDuration(tcp, 'idleTimeout', 0) : null,
    http1MaxPendingRequests: limit(http, 'http1MaxPendingRequests'),
    maxRequestsPerConnection: limit(http, 'maxRequestsPerConnection'),
    httpIdleTimeoutMs: http ? readDuration(http, 'idleTimeout') : null,
    http2MaxRequests: limit(http, 'http2MaxRequests'),
    maxConcurrentStreams: limit(http, 'maxConcurrentStreams'),
    h2UpgradePolicy: http && readUpgradePolicy(http),
    useClientProtocol: http?.flag('useClientProtocol') ?? false,
    http2KeepAlive: http && readKeepAlive(http),
  };
  tcp?.notHonoured('maxConnectionDuration', 'tcpKeepalive');
  tcp?.close();
  http?.notHonoured('maxRetries');
  http?.close();
  section.close();
  return pool;
}

/** 0 is Istio's "no limit". */
function limit(section: Section | null, field: string): number | null {
  return section?.whole(field, 0, MAX_INT32) || null;
}

function readUpgradePolicy(http: Section): ConnectionPool['h2UpgradePolicy'] {
  const policy = http.choice('h2UpgradePolicy', ['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE']);
  return policy === 'DEFAULT' ? null : policy;
}

/** Istio wants both. */
function readKeepAlive(http: Section): ConnectionPool['http2KeepAlive'] {
  const section = http.section('http2KeepAlive');
  if (section === null) return null;
  const intervalMs = readDuration(section, 'interval');
  const timeoutMs = readDuration(section, 'timeout');
  for (const field of ['interval', 'timeout']) {
    if (!section.isWritten(field)) section.error(field, 'must be set, to a duration such as 10s');
  }
  section.close();
  return intervalMs === null || timeoutMs === null ? null : { intervalMs, timeoutMs };
}

function readLoadBalancer(section: Section): TrafficPolicy['loadBalancer'] {
  const simple = section.choice('simple', BALANCERS);
  section.notHonoured(
    'consistentHash',
    'localityLbSetting',
    'zoneAwareLbSetting',
    'warmupDurationSecs',
    'warmup',
  );
  section.close();
  if (simple === 'LEAST_CONN') return 'LEAST_REQUEST'; // its older name
  if (simple === 'PASSTHROUGH') section.warning('simple', 'PASSTHROUGH is not honoured; it has no effect');
  return simple === 'UNSPECIFIED' || simple === 'PASSTHROUGH' ? null : simple;
}

/** Defaults are Istio's: they hold once the block is there at all. */
function readOutlierDetection(section: Section): OutlierDetection {
  const detection: OutlierDetection = {
    consecutive5xxErrors: section.whole('consecutive5xxErrors', 0, MAX_UINT32) ?? 5,
    consecutiveGatewayErrors: section.whole('consecutiveGatewayErrors', 0, MAX_UINT32) ?? 0,
    intervalMs: readDuration(section, 'interval') ?? 10_000,
    baseEjectionTimeMs: readDuration(section, 'baseEjectionTime') ?? 30_000,
    maxEjectionPercent: section.whole('maxEjectionPercent', 0, 100) ?? 10,
  };
  section.notHonoured('minHealthPercent', 'splitExternalLocalOriginErrors', 'consecutiveLocalOriginFailures');
  section.notHonoured('consecutiveErrors', 'outlierDetectionHttpErrorCodes');
  section.close();
  return detection;
}

/** Milliseconds, whole, at least `min`; 0 passes where `min` is 0 (Istio: no timeout). */
export function readDuration(section: Section, field: string, min: 0 | 1 = 1): number | null {
  const text = section.text(field);
  if (text === null) return null;
  const ms = parseDuration(text);
  if (ms === null) section.error(field, `${quote(text)} is not a duration such as 10s, 500ms or 1h30m`);
  else if (ms < min || !Number.isInteger(ms)) {
    section.error(
      field,
      `${quote(text)} must be a whole number of milliseconds${min === 1 ? ', at least 1ms' : ''}`,
    );
  } else return ms;
  return null;
}
