import t from 'tap';
import type { Counts } from '../../src/telemetry/counts.ts';
import { REQUEST_LABELS, TCP_LABELS } from '../../src/telemetry/labels.ts';
import { AccessRecord } from '../../src/telemetry/record.ts';
import {
  CLOSED,
  DURATION,
  OPENED,
  RECEIVED,
  REQUEST_BYTES,
  RESPONSE_BYTES,
  SENT,
} from '../../src/telemetry/series.ts';
import { inboundFacts, outboundFacts, recorder, request, UNTOUCHABLE } from './facts.ts';

function labelled(names: readonly string[], values: readonly string[] | undefined): Record<string, string> {
  return Object.fromEntries(names.map((name, i) => [name, values?.[i] ?? 'MISSING']));
}

function counter(counts: Counts, family: string, ...labels: string[]): number {
  const found = counts.counters.filter(one => one.family === family && one.labels.join() === labels.join());
  return found.reduce((sum, one) => sum + one.value, 0);
}

t.test('an inbound request counts under its peer and this workload', async t => {
  const { recorder: r } = recorder();
  const record = request(inboundFacts(), { bytesReceived: 3, bytesSent: 260 });
  t.equal(r.finishRequest(record, record.startMs + 7), true);
  const [series] = r.snapshot().requests;
  t.same(labelled(REQUEST_LABELS, series?.labels), {
    reporter: 'destination',
    source_workload: 'unknown',
    source_canonical_service: 'unknown',
    source_canonical_revision: 'latest',
    source_workload_namespace: 'bar',
    source_principal: 'spiffe://cluster.local/ns/bar/sa/sleep',
    source_app: 'unknown',
    source_version: 'unknown',
    source_cluster: 'unknown',
    destination_workload: 'httpbin-v1',
    destination_workload_namespace: 'foo',
    destination_principal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    destination_app: 'httpbin',
    destination_version: 'v1',
    destination_service: 'httpbin.foo.svc.cluster.local',
    destination_canonical_service: 'httpbin',
    destination_canonical_revision: 'v1',
    destination_service_name: 'httpbin',
    destination_service_namespace: 'foo',
    destination_cluster: 'unknown',
    request_protocol: 'http',
    response_code: '200',
    grpc_response_status: '',
    response_flags: '-',
    connection_security_policy: 'mutual_tls',
  });
  t.equal(series?.labels.length, REQUEST_LABELS.length);
  const cells = series!.cells;
  t.equal(cells[0], 1);
  t.equal(cells[DURATION + 3], 1, '7 ms is in the bucket up to 10');
  t.equal(cells[REQUEST_BYTES + 2], 1, '3 bytes are in the bucket up to 5');
  t.equal(cells[RESPONSE_BYTES + 8], 1, '260 bytes are in the bucket up to 500');
  t.equal(cells[RESPONSE_BYTES + 20], 260, 'the sum');
});

t.test('an outbound request counts as the source, which cannot say what the server saw', async t => {
  const { recorder: r } = recorder();
  r.finishRequest(request(outboundFacts(), { requestProtocol: 'grpc', grpcStatus: 5 }));
  t.match(labelled(REQUEST_LABELS, r.snapshot().requests[0]?.labels), {
    reporter: 'source',
    source_workload: 'httpbin-v1',
    source_workload_namespace: 'foo',
    source_canonical_revision: 'v1',
    destination_workload: 'unknown',
    destination_workload_namespace: 'bar',
    destination_service: 'reviews.bar.svc.cluster.local',
    destination_service_name: 'reviews',
    destination_service_namespace: 'bar',
    destination_canonical_service: 'reviews',
    request_protocol: 'grpc',
    grpc_response_status: '5',
    connection_security_policy: 'unknown',
  });
});

t.test('a host outside the cluster is its own service name', async t => {
  const { recorder: r } = recorder();
  r.finishRequest(
    request(outboundFacts({ destinationService: 'api.example.com', destinationNamespace: null })),
  );
  t.match(labelled(REQUEST_LABELS, r.snapshot().requests[0]?.labels), {
    destination_service: 'api.example.com',
    destination_service_name: 'api.example.com',
    destination_service_namespace: 'unknown',
    destination_workload_namespace: 'unknown',
  });
});

t.test('an inbound Host header makes no series', async t => {
  const { recorder: r } = recorder();
  for (let i = 0; i < 10; i++) {
    r.finishRequest(request(inboundFacts({ destinationService: `evil-${i}` }), { authority: `evil-${i}` }));
  }
  const { requests } = r.snapshot();
  t.equal(requests.length, 1);
  t.equal(requests[0]?.cells[0], 10);
});

t.test(
  'status, flag, protocol and gRPC status each make a series, on one connection and over several',
  async t => {
    const { recorder: r } = recorder();
    const kinds: Partial<AccessRecord>[] = [
      {},
      { status: 503, flag: 'UF' },
      { status: 503, flag: 'UC' },
      { status: 0, flag: 'DC' },
      { requestProtocol: 'grpc', grpcStatus: 0 },
      { requestProtocol: 'grpc', grpcStatus: 16 },
      { requestProtocol: 'grpc', grpcStatus: null },
    ];
    for (const conn of [inboundFacts(), inboundFacts()]) {
      for (let round = 0; round < 3; round++) {
        for (const kind of kinds) r.finishRequest(request(conn, kind));
      }
    }
    const { requests } = r.snapshot();
    t.equal(requests.length, kinds.length);
    t.ok(
      requests.every(series => series.cells[0] === 6),
      'two connections, three rounds',
    );
  },
);

t.test('every status there is on one connection counts right', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  for (let round = 0; round < 2; round++) {
    for (let status = 100; status < 600; status++) r.finishRequest(request(conn, { status }));
  }
  const { requests } = r.snapshot();
  t.equal(requests.length, 500);
  t.ok(requests.every(series => series.cells[0] === 2));
});

t.test('a gRPC status that no specification knows counts as it came, and unlike any other', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  for (const grpcStatus of [1, 33, 17, null])
    r.finishRequest(request(conn, { requestProtocol: 'grpc', grpcStatus }));
  const statuses = r
    .snapshot()
    .requests.map(one => labelled(REQUEST_LABELS, one.labels).grpc_response_status);
  t.same(statuses.toSorted(), ['', '1', 'unknown']);
});

t.test('the second finish of a record does nothing', async t => {
  const { recorder: r, lines } = recorder({ accessLog: 'json' });
  let ended = 0;
  const record = request(inboundFacts(), { decision: 'allow', span: { end: () => ended++ } });
  t.equal(r.finishRequest(record), true);
  t.equal(r.finishRequest(record), false);
  t.equal(r.finishConnection(record), false);
  t.equal(r.snapshot().requests[0]?.cells[0], 1);
  t.equal(lines.length, 1);
  t.equal(ended, 1);
});

t.test('with the log off no header is read and no line is written', async t => {
  const { recorder: r, lines } = recorder();
  t.ok(r.finishRequest(request(inboundFacts(), { headers: UNTOUCHABLE })));
  t.same(lines, []);
});

t.test('what is beyond the bound counts under unknown, and is counted as such', async t => {
  const { recorder: r } = recorder({ maxSeries: 3 });
  for (let i = 0; i < 10; i++) {
    const conn = outboundFacts({ destinationService: `h${i}.example.com` });
    r.finishRequest(request(conn));
    r.finishRequest(request(conn, { status: 404 }));
  }
  const counts = r.snapshot();
  t.equal(counts.requests.length, 4, 'three, and the overflow');
  const overflow = counts.requests.find(series => series.labels.every(label => label === 'unknown'));
  t.equal(overflow?.cells[0], 17);
  t.equal(counter(counts, 'outrider_metric_overflow_total'), 17);
  r.openConnection(inboundFacts());
  t.equal(r.snapshot().tcp[0]?.labels[0], 'unknown', 'TCP series are bounded alike');
});

t.test('a TCP connection counts its opening, its bytes as they pass, and its end', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  const record = new AccessRecord(conn);
  record.requestProtocol = 'tcp';
  r.openConnection(conn);
  Object.assign(record, { bytesReceived: 100, bytesSent: 1000 });
  r.progressConnection(record);
  t.same([...r.snapshot().tcp[0]!.cells], [1, 0, 1000, 100]);
  Object.assign(record, { bytesReceived: 150, bytesSent: 1001 });
  t.ok(r.finishConnection(record));
  r.progressConnection(record);
  const [series] = r.snapshot().tcp;
  t.same([...series!.cells], [1, 1, 1001, 150]);
  t.same([OPENED, CLOSED, SENT, RECEIVED], [0, 1, 2, 3]);
  t.match(labelled(TCP_LABELS, series?.labels), { request_protocol: 'tcp', response_flags: '-' });
});

t.test('a refused connection is logged, and closes no TCP connection that was never opened', async t => {
  const { recorder: r, lines } = recorder({ accessLog: 'json' });
  const record = new AccessRecord(inboundFacts({ sourcePrincipal: null, security: 'none' }));
  Object.assign(record, { requestProtocol: 'tcp', protocol: null, flag: 'NR', details: 'mtls_required' });
  t.ok(r.refuseConnection(record));
  t.notOk(r.refuseConnection(record));
  t.notOk(r.finishConnection(record));
  t.same(r.snapshot().tcp, []);
  t.equal(lines.length, 1);
  t.match(JSON.parse(lines[0]!), { response_flags: 'NR', response_code_details: 'mtls_required' });
});

t.test('decisions count by policy, handshakes by reason, connections by direction', async t => {
  const { recorder: r } = recorder();
  r.finishRequest(request(inboundFacts(), { decision: 'deny', policy: 'foo/p', status: 403 }));
  r.finishRequest(request(inboundFacts(), { decision: 'allow', policy: 'foo/p' }));
  r.finishRequest(request(inboundFacts(), { decision: 'allow' }));
  r.policyDecision('foo/p', 'deny');
  r.handshake('inbound', 'success', '');
  r.handshake('inbound', 'failure', 'certificate_expired');
  r.badRequest('obs_fold');
  r.upstreamConnect('outbound', 'ECONNREFUSED');
  r.poolHit();
  r.connectionAccepted('inbound');
  r.connectionAccepted('inbound');
  r.connectionClosed('inbound');
  const counts = r.snapshot();
  t.equal(counter(counts, 'outrider_policy_decisions_total', 'foo/p', 'deny'), 2);
  t.equal(counter(counts, 'outrider_policy_decisions_total', 'foo/p', 'allow'), 1);
  t.equal(counter(counts, 'outrider_policy_decisions_total', '', 'allow'), 1);
  t.equal(counter(counts, 'outrider_tls_handshakes_total', 'inbound', 'success', ''), 1);
  t.equal(counter(counts, 'outrider_tls_handshakes_total', 'inbound', 'failure', 'certificate_expired'), 1);
  t.equal(counter(counts, 'outrider_bad_requests_total', 'obs_fold'), 1);
  t.equal(counter(counts, 'outrider_upstream_connects_total', 'outbound', 'ECONNREFUSED'), 1);
  t.equal(counter(counts, 'outrider_upstream_pool_hits_total'), 1);
  t.same(counts.open, { inbound: 1, outbound: 0 });
});

t.test('what AUDIT and dry-run policies say counts beside the decision, not in it', async t => {
  const { recorder: r } = recorder();
  const dryRun = [
    { policy: 'foo/next', decision: 'deny' as const },
    { policy: 'foo/wide', decision: 'allow' as const },
  ];
  const findings = { audit: ['foo/watch'], dryRun };
  r.finishRequest(request(inboundFacts(), { decision: 'allow', policy: 'foo/p', findings }));
  r.finishConnection(request(inboundFacts(), { decision: 'deny', policy: 'foo/p', findings }));
  const counts = r.snapshot();
  t.equal(counter(counts, 'outrider_policy_audit_matches_total', 'foo/watch'), 2);
  t.equal(counter(counts, 'outrider_policy_dry_run_decisions_total', 'foo/next', 'deny'), 2);
  t.equal(counter(counts, 'outrider_policy_dry_run_decisions_total', 'foo/wide', 'allow'), 2);
  t.equal(counter(counts, 'outrider_policy_dry_run_decisions_total', 'foo/wide', 'deny'), 0);
  t.equal(counter(counts, 'outrider_policy_decisions_total', 'foo/p', 'allow'), 1);
  t.equal(counter(counts, 'outrider_policy_decisions_total', 'foo/p', 'deny'), 1);
  t.equal(counts.counters.filter(one => one.family === 'outrider_policy_decisions_total').length, 2);
});

t.test('names without end do not grow the counters without end', async t => {
  const { recorder: r } = recorder();
  for (let i = 0; i < 3_000; i++) {
    r.policyDecision(`foo/p${i}`, 'deny');
    r.badRequest(`reason-${i}`);
    const findings = { audit: [`foo/a${i}`], dryRun: [{ policy: `foo/d${i}`, decision: 'deny' as const }] };
    r.finishRequest(request(inboundFacts(), { decision: 'deny', policy: `foo/p${i}`, findings }));
  }
  const counts = r.snapshot();
  t.ok(counts.counters.length < 4_100, `${counts.counters.length} counters`);
  t.equal(counter(counts, 'outrider_policy_decisions_total', 'unknown', 'deny'), 4_000);
  t.equal(counter(counts, 'outrider_policy_audit_matches_total', 'unknown'), 2_000);
  t.equal(counter(counts, 'outrider_policy_dry_run_decisions_total', 'unknown', 'deny'), 2_000);
  t.equal(counter(counts, 'outrider_bad_requests_total', 'unknown'), 2_000);
});

t.test('a snapshot is a copy that structuredClone carries', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  r.finishRequest(request(conn));
  const before = structuredClone(r.snapshot());
  r.finishRequest(request(conn));
  t.equal(before.requests[0]?.cells[0], 1);
  t.equal(r.snapshot().requests[0]?.cells[0], 2);
});

t.test('onFinished is given the access log fields even when the log is off', async t => {
  const { recorder: r } = recorder();
  const paths: (string | null)[] = [];
  r.onFinished = fields => paths.push(fields.path);
  r.finishRequest(request(inboundFacts()));
  r.onFinished = null;
  r.finishRequest(request(inboundFacts()));
  t.same(paths, ['/info?x=1']);
});

t.test('the log can be switched while running', async t => {
  const { recorder: r, lines } = recorder();
  r.finishRequest(request(inboundFacts()));
  r.setAccessLog('json');
  r.finishRequest(request(inboundFacts()));
  r.setAccessLog('text');
  r.finishRequest(request(inboundFacts()));
  r.setAccessLog('off');
  r.finishRequest(request(inboundFacts()));
  t.equal(lines.length, 2);
  t.equal(JSON.parse(lines[0]!).response_code, 200);
  t.match(lines[1], /^\[\d{4}-.*Z\] "GET \/info/);
});

t.test(
  'event-loop delay is measured where a worker has a number, and reads zero when nothing stalled',
  async t => {
    const { recorder: r } = recorder({ worker: 2 });
    t.teardown(() => r.close());
    const first = r.snapshot();
    t.equal(first.worker, 2);
    t.same(Object.keys(first.loopDelay ?? {}), ['mean', 'p50', 'p99', 'max']);
    t.ok(Object.values(first.loopDelay ?? {}).every(value => Number.isFinite(value) && value >= 0));
    t.equal(recorder().recorder.snapshot().loopDelay, null);
  },
);
