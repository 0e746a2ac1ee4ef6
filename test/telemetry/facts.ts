import { AccessRecord, type ConnectionFacts, type HeaderSource } from '../../src/telemetry/record.ts';
import { Recorder, type RecorderOptions } from '../../src/telemetry/recorder.ts';
import { workloadFacts } from '../../src/telemetry/workload.ts';

/** The workload of these tests: httpbin in namespace foo. */
export const WORKLOAD = workloadFacts({
  name: 'httpbin-v1',
  namespace: 'foo',
  serviceAccount: 'httpbin',
  labels: { app: 'httpbin', version: 'v1' },
  cluster: null,
  domain: 'cluster.local',
});

export function inboundFacts(changes: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    direction: 'inbound',
    sourcePrincipal: 'spiffe://cluster.local/ns/bar/sa/sleep',
    sourceNamespace: 'bar',
    destinationPrincipal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    destinationNamespace: 'foo',
    destinationService: null,
    security: 'mutual_tls',
    tlsVersion: 'TLSv1.3',
    negotiated: null,
    sni: 'outbound_.80_._.httpbin.foo.svc.cluster.local',
    localAddress: '10.0.0.1:8080',
    remoteAddress: '10.0.0.9:40000',
    destinationPort: 8080,
    ...changes,
  };
}

export function outboundFacts(changes: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return inboundFacts({
    direction: 'outbound',
    sourcePrincipal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    sourceNamespace: 'foo',
    destinationPrincipal: 'spiffe://cluster.local/ns/bar/sa/reviews',
    destinationNamespace: 'bar',
    destinationService: 'reviews.bar.svc.cluster.local',
    destinationPort: null,
    ...changes,
  });
}

/** A request that got 200, changed as the test asks. */
export function request(conn: ConnectionFacts, changes: Partial<AccessRecord> = {}): AccessRecord {
  const record = new AccessRecord(conn);
  return Object.assign(
    record,
    { method: 'GET', path: '/info?x=1', authority: 'httpbin.foo', status: 200 },
    changes,
  );
}

/** Headers of a request, by lower-case name. */
export function headers(values: Readonly<Record<string, readonly string[]>>): HeaderSource {
  return { headerValues: name => values[name] ?? [] };
}

/** A header source for where nothing may ask. */
export const UNTOUCHABLE: HeaderSource = {
  headerValues(name) {
    throw new Error(`the header ${name} was read though no log is on`);
  },
};

export function recorder(changes: Partial<RecorderOptions> = {}): { recorder: Recorder; lines: string[] } {
  const lines: string[] = [];
  return {
    recorder: new Recorder({
      workload: WORKLOAD,
      accessLog: 'off',
      writeLine: line => lines.push(line),
      ...changes,
    }),
    lines,
  };
}
