import t from 'tap';
import { CountsLedger } from '../../src/telemetry/counts.ts';
import { CONNECTION_LABELS, REQUEST_LABELS } from '../../src/telemetry/labels.ts';
import { type MetricsInput, renderMetrics } from '../../src/telemetry/metrics.ts';
import { inboundFacts, outboundFacts, recorder, request } from './facts.ts';

function input(changes: Partial<MetricsInput> = {}): MetricsInput {
  return {
    counts: [],
    process: { version: '0.1.0', startedAt: 1_700_000_000_000, workers: 2, workerRestarts: 1 },
    identity: {
      id: 'spiffe://cluster.local/ns/foo/sa/httpbin',
      notBefore: 1_700_000_000_000,
      notAfter: 1_700_086_400_000,
      generation: 3,
      chain: [
        { subject: '', serial: 'AA', notBefore: 1_700_000_000_000, notAfter: 1_700_086_400_000 },
        { subject: 'CN=lower', serial: 'BB', notBefore: 1_600_000_000_000, notAfter: 1_800_000_000_000 },
      ],
      roots: [1, 2, 2].map(serial => ({
        subject: 'CN=root',
        serial: `0${serial}`,
        notBefore: 1_500_000_000_000,
        notAfter: 1_900_000_000_000 + serial * 1_000,
      })),
    },
    certificates: { reloads: 3, failures: { key_mismatch: 2 } },
    config: { reloads: 4, failures: 1, lastReloadSuccessful: false, generation: 4 },
    ...changes,
  };
}

/** name → value of the samples that have all these labels. */
function samples(text: string, name: string, labels: Readonly<Record<string, string>> = {}): number[] {
  return text
    .split('\n')
    .filter(line => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter(line => Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`)))
    .map(line => Number(line.slice(line.lastIndexOf(' ') + 1)));
}

t.test('workers are summed, each series once, with all labels of Istio in order', async t => {
  const workers = [recorder().recorder, recorder().recorder];
  for (const r of workers) {
    const record = request(inboundFacts(), { bytesReceived: 1, bytesSent: 100 });
    r.finishRequest(record, record.startMs + 30);
  }
  const text = await renderMetrics(input({ counts: workers.map(r => r.snapshot()) }));
  const lines = text.split('\n').filter(line => line.startsWith('istio_requests_total{'));
  t.equal(lines.length, 1);
  t.match(lines[0], / 2$/);
  const names = [...lines[0]!.matchAll(/([a-z_]+)="/g)].map(match => match[1]);
  t.same(names, REQUEST_LABELS);
  t.match(text, '# TYPE istio_requests_total counter');
});

t.test('messages of gRPC are summed over how their calls ended, and only of gRPC', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  const grpc = { requestProtocol: 'grpc', requestMessages: 2, responseMessages: 5 } as const;
  for (const grpcStatus of [0, 4, 14]) r.finishRequest(request(conn, { ...grpc, grpcStatus }));
  r.finishRequest(request(inboundFacts({ sourcePrincipal: null }), { ...grpc, grpcStatus: 0 }));
  r.finishRequest(request(conn));
  const text = await renderMetrics(input({ counts: [r.snapshot()] }));
  t.same(samples(text, 'istio_request_messages_total'), [6, 2]);
  t.same(samples(text, 'istio_response_messages_total'), [15, 5]);
  const line = text.split('\n').find(found => found.startsWith('istio_request_messages_total{'))!;
  const names = [...line.matchAll(/([a-z_]+)="/g)].map(match => match[1]);
  t.same(names, CONNECTION_LABELS);
  const { recorder: plain } = recorder();
  plain.finishRequest(request(conn));
  t.notMatch(await renderMetrics(input({ counts: [plain.snapshot()] })), 'messages_total');
});

t.test('histograms have the buckets of Istio, cumulative, with sum and count', async t => {
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  for (const ms of [0.5, 0.6, 30, 4_000_000]) {
    const record = request(conn, { startMs: 0, bytesSent: 100 });
    r.finishRequest(record, ms);
  }
  const text = await renderMetrics(input({ counts: [r.snapshot()] }));
  const buckets = [...text.matchAll(/istio_request_duration_milliseconds_bucket\{le="([^"]+)".* (\d+)\n/g)];
  t.same(
    buckets.map(match => match[1]),
    '0.5,1,5,10,25,50,100,250,500,1000,2500,5000,10000,30000,60000,300000,600000,1800000,3600000,+Inf'.split(
      ',',
    ),
  );
  t.same(
    buckets.map(match => Number(match[2])),
    [1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4],
  );
  t.same(samples(text, 'istio_request_duration_milliseconds_count'), [4]);
  t.same(samples(text, 'istio_request_duration_milliseconds_sum'), [4_000_031.1]);
  t.same(samples(text, 'istio_response_bytes_sum'), [400]);
  t.same(samples(text, 'istio_request_bytes_bucket', { le: '0.5' }), [4]);
  t.match(text, '# TYPE istio_request_duration_milliseconds histogram');
});

t.test('TCP connections have their four counters', async t => {
  const { recorder: r } = recorder();
  const record = request(inboundFacts(), { requestProtocol: 'tcp', bytesSent: 5, bytesReceived: 6 });
  r.openConnection(record.conn);
  r.openConnection(record.conn);
  r.finishConnection(record);
  const text = await renderMetrics(input({ counts: [r.snapshot()] }));
  const labels = { request_protocol: 'tcp', response_flags: '-', reporter: 'destination' };
  t.same(samples(text, 'istio_tcp_connections_opened_total', labels), [2]);
  t.same(samples(text, 'istio_tcp_connections_closed_total', labels), [1]);
  t.same(samples(text, 'istio_tcp_sent_bytes_total', labels), [5]);
  t.same(samples(text, 'istio_tcp_received_bytes_total', labels), [6]);
});

t.test('what Istio has no name for is under outrider_', async t => {
  const { recorder: r } = recorder({ worker: 1, droppedLines: () => 7 });
  t.teardown(() => r.close());
  r.handshake('inbound', 'failure', 'certificate_expired');
  r.policyDecision('foo/p', 'deny');
  r.connectionAccepted('outbound');
  const text = await renderMetrics(input({ counts: [r.snapshot()] }));
  const expected: [string, Record<string, string>, number][] = [
    [
      'outrider_tls_handshakes_total',
      { direction: 'inbound', result: 'failure', reason: 'certificate_expired' },
      1,
    ],
    ['outrider_policy_decisions_total', { policy: 'foo/p', decision: 'deny' }, 1],
    ['outrider_connections_open', { direction: 'outbound' }, 1],
    ['outrider_connections_open', { direction: 'inbound' }, 0],
    [
      'outrider_certificate_expiry_seconds',
      { kind: 'leaf', id: 'spiffe://cluster.local/ns/foo/sa/httpbin' },
      1_700_086_400,
    ],
    ['outrider_certificate_expiry_seconds', { kind: 'intermediate', subject: 'CN=lower' }, 1_800_000_000],
    ['outrider_certificate_expiry_seconds', { kind: 'root', serial: '01' }, 1_900_000_001],
    ['outrider_certificate_expiry_seconds', { kind: 'root', serial: '02' }, 1_900_000_002],
    ['outrider_certificate_not_before_seconds', { kind: 'intermediate', serial: 'BB' }, 1_600_000_000],
    ['outrider_certificate_reloads_total', {}, 3],
    ['outrider_certificate_reload_failures_total', { reason: 'key_mismatch' }, 2],
    ['outrider_config_reloads_total', { result: 'failure' }, 1],
    ['outrider_config_last_reload_successful', {}, 0],
    ['outrider_workers', {}, 2],
    ['outrider_worker_restarts_total', {}, 1],
    ['outrider_access_log_dropped_total', {}, 7],
    ['outrider_build_info', { version: '0.1.0' }, 1],
  ];
  for (const [name, labels, value] of expected) t.same(samples(text, name, labels), [value], name);
  t.equal(samples(text, 'outrider_event_loop_delay_seconds', { worker: '1' }).length, 4);
});

t.test('before an identity is loaded there is no expiry to alarm anyone', async t => {
  const text = await renderMetrics(input({ identity: null }));
  t.same(samples(text, 'outrider_certificate_expiry_seconds'), []);
  t.notMatch(text, 'outrider_certificate_expiry_seconds', 'not even its type');
});

t.test('a peer cannot forge a line through a label', async t => {
  const { recorder: r } = recorder();
  r.finishRequest(request(outboundFacts({ destinationService: 'a"} 1\nforged_metric{b="\\' })));
  const text = await renderMetrics(input({ counts: [r.snapshot()] }));
  t.notMatch(text, /^forged_metric/m);
  t.match(text, 'destination_service="a\\"} 1\\nforged_metric{b=\\"\\\\"');
  t.ok(
    text
      .split('\n')
      .every(line =>
        /^(?:#.*|[a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? [-+.e\dInfNa]+)?$/.test(line),
      ),
  );
});

t.test('a scrape after a worker died shows no less', async t => {
  const ledger = new CountsLedger();
  const { recorder: r } = recorder({ worker: 0 });
  t.teardown(() => r.close());
  r.finishRequest(request(inboundFacts()));
  ledger.update(1, r.snapshot());
  ledger.retire(1);
  ledger.update(2, recorder().recorder.snapshot());
  const text = await renderMetrics(input({ counts: ledger.all() }));
  t.same(samples(text, 'istio_requests_total'), [1]);
  t.same(samples(text, 'outrider_event_loop_delay_seconds'), [], 'the dead have no event loop');
});
