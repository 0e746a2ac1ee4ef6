import fc from 'fast-check';
import t from 'tap';
import { type AccessLogFields, accessLogFields, jsonLine, textLine } from '../../src/telemetry/access-log.ts';
import { AccessRecord } from '../../src/telemetry/record.ts';
import { headers, inboundFacts, outboundFacts, recorder, request } from './facts.ts';

/** Istio's default JSON keys (istio-semantics, 7.2). */
const ISTIO_KEYS =
  `start_time route_name method path protocol response_code response_flags response_code_details
  connection_termination_details bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent
  request_id authority upstream_host upstream_cluster upstream_local_address downstream_local_address
  downstream_remote_address requested_server_name upstream_transport_failure_reason`.split(/\s+/);
const OUTRIDER_KEYS = `direction source_principal destination_principal connection_security_policy tls_version
  policy_decision policy policy_rule trace_id destination_port destination_namespace`.split(/\s+/);
const FOUND_KEYS = 'request_principal audit dry_run policy_trace'.split(' ');

function full(): AccessRecord {
  return request(inboundFacts(), {
    startMs: 1_000,
    requestId: 'b5a1',
    routeName: 'default',
    details: 'via_upstream',
    bytesReceived: 3,
    bytesSent: 13,
    upstreamHost: '127.0.0.1:8080',
    upstreamCluster: 'inbound|8080||',
    upstreamLocalAddress: '127.0.0.1:40001',
    upstreamStartMs: 1_001,
    upstreamResponseMs: 1_004.9,
    decision: 'allow',
    policy: 'foo/p',
    policyRule: 0,
    headers: headers({
      'user-agent': ['curl/8'],
      'x-forwarded-for': ['1.2.3.4', '5.6.7.8'],
      traceparent: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
    }),
  });
}

t.test('JSON has exactly the keys of Istio and of the contract, in order', async t => {
  const { recorder: r, lines } = recorder({ accessLog: 'json' });
  r.finishRequest(full());
  t.same(Object.keys(JSON.parse(lines[0]!)), [...ISTIO_KEYS, ...OUTRIDER_KEYS]);
  const said = {
    findings: { audit: ['foo/a'], dryRun: [{ policy: 'foo/d', decision: 'deny' as const }] },
    requestPrincipal: 'https://issuer/alice',
    explanation: ['DENY foo/p rule 0: matches everything'],
  };
  r.finishRequest(Object.assign(full(), said));
  t.same(Object.keys(JSON.parse(lines[1]!)), [...ISTIO_KEYS, ...OUTRIDER_KEYS, ...FOUND_KEYS]);
  r.finishRequest(request(outboundFacts()));
  t.notOk('destination_port' in JSON.parse(lines[2]!), 'outbound, Outrider does not know the workload port');
});

t.test('the fields of a request say what happened', async t => {
  const { start_time: start, ...fields } = accessLogFields(full(), 1_007.8);
  t.ok(Math.abs(Date.parse(start) - Date.now()) < 60_000, 'the wall clock, not the monotonic one');
  t.same(fields, {
    route_name: 'default',
    method: 'GET',
    path: '/info?x=1',
    protocol: 'HTTP/1.1',
    response_code: 200,
    response_flags: '-',
    response_code_details: 'via_upstream',
    connection_termination_details: null,
    bytes_received: 3,
    bytes_sent: 13,
    duration: 7,
    upstream_service_time: '3',
    x_forwarded_for: '1.2.3.4,5.6.7.8',
    user_agent: 'curl/8',
    request_id: 'b5a1',
    authority: 'httpbin.foo',
    upstream_host: '127.0.0.1:8080',
    upstream_cluster: 'inbound|8080||',
    upstream_local_address: '127.0.0.1:40001',
    downstream_local_address: '10.0.0.1:8080',
    downstream_remote_address: '10.0.0.9:40000',
    requested_server_name: 'outbound_.80_._.httpbin.foo.svc.cluster.local',
    upstream_transport_failure_reason: null,
    direction: 'inbound',
    source_principal: 'spiffe://cluster.local/ns/bar/sa/sleep',
    destination_principal: 'spiffe://cluster.local/ns/foo/sa/httpbin',
    connection_security_policy: 'mutual_tls',
    tls_version: 'TLSv1.3',
    policy_decision: 'allow',
    policy: 'foo/p',
    policy_rule: 0,
    trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
    destination_port: 8080,
    destination_namespace: 'foo',
    request_principal: undefined,
    audit: undefined,
    dry_run: undefined,
    policy_trace: undefined,
  });
});

t.test('a request that was allowed under the eyes of an AUDIT policy says audit', async t => {
  const findings = { audit: ['foo/watch'], dryRun: [{ policy: 'foo/next', decision: 'deny' as const }] };
  const line = (changes: Partial<AccessRecord>) =>
    accessLogFields(request(inboundFacts(), { findings, ...changes }), 1);
  t.match(line({ decision: 'allow', policy: 'foo/p', policyRule: 2 }), {
    policy_decision: 'audit',
    policy: 'foo/p',
    policy_rule: 2,
    audit: ['foo/watch'],
    dry_run: [{ policy: 'foo/next', decision: 'deny' }],
  });
  t.equal(line({ decision: 'deny' }).policy_decision, 'deny', 'what was denied stays denied');
  const silent = line({ decision: 'allow', findings: { audit: [], dryRun: findings.dryRun } });
  t.match(silent, { policy_decision: 'allow', audit: undefined, dry_run: findings.dryRun });
});

t.test('a token in a query is not in the log, and all else of the path is', t => {
  const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln';
  const PATHS: readonly (readonly [sent: string, logged: string])[] = [
    [`/a?access_token=${jwt}&b=1`, '/a?access_token=(token)&b=1'],
    ['/a?b=1&access_token=opaque-one', '/a?b=1&access_token=(token)'],
    [`/a?custom=${jwt}`, '/a?custom=(token)'],
    [`/a?custom=${jwt.replaceAll('.', '%2E')}&c`, '/a?custom=(token)&c'],
    [`/a?${jwt}`, '/a?(token)'],
    [`/a?x=${jwt}&access_token=${jwt}`, '/a?x=(token)&access_token=(token)'],
    ['/a?csrf_token=1&eye=2', '/a?csrf_token=1&eye=2'],
    ['/a/eyJhbGciOiJ9/token=1', '/a/eyJhbGciOiJ9/token=1'],
    ['/a?b=/token=&c', '/a?b=/token=&c'],
  ];
  for (const [sent, logged] of PATHS)
    t.equal(accessLogFields(request(inboundFacts(), { path: sent }), 1).path, logged);
  t.end();
});

t.test('an explanation is bounded, and its end is what is kept', async t => {
  const trace = (explanation: string[]) =>
    accessLogFields(request(inboundFacts(), { decision: 'deny', explanation }), 1).policy_trace ?? [];
  t.same(trace(['DENY foo/a rule 0: no', 'ALLOW foo/b rule 0: no']), [
    'DENY foo/a rule 0: no',
    'ALLOW foo/b rule 0: no',
  ]);
  t.same(trace([]), []);
  const many = trace(Array.from({ length: 1_000 }, (_, i) => `ALLOW foo/p rule ${i}: ${'x'.repeat(100)}`));
  t.ok(many.join('').length < 8_300);
  t.match(many[0], /^\(9\d\d lines left out\)$/);
  t.match(many.at(-1), /^ALLOW foo\/p rule 999: /);
  const [long = ''] = trace(['y'.repeat(100_000)]);
  t.ok(long.length < 1_100 && long.endsWith('...[cut]'));
});

t.test('a denied request names its policy and rule', async t => {
  const { recorder: r, lines } = recorder({ accessLog: 'json' });
  r.finishRequest(
    request(inboundFacts(), {
      status: 403,
      details: 'rbac_access_denied_matched_policy[ns[foo]-policy[p]-rule[1]]',
      decision: 'deny',
      policy: 'foo/p',
      policyRule: 1,
    }),
  );
  t.match(JSON.parse(lines[0]!), {
    response_code: 403,
    policy_decision: 'deny',
    policy: 'foo/p',
    policy_rule: 1,
  });
});

t.test('text is the default format of Istio, with - for what is absent', async t => {
  const text = textLine({ ...accessLogFields(full(), 1_007.8), start_time: '2026-01-02T03:04:05.678Z' });
  t.equal(
    text,
    '[2026-01-02T03:04:05.678Z] "GET /info?x=1 HTTP/1.1" 200 - via_upstream - "-" 3 13 7 3 "1.2.3.4,5.6.7.8" ' +
      '"curl/8" "b5a1" "httpbin.foo" "127.0.0.1:8080" inbound|8080|| 127.0.0.1:40001 10.0.0.1:8080 10.0.0.9:40000 ' +
      'outbound_.80_._.httpbin.foo.svc.cluster.local default',
  );
});

t.test('a TCP connection has no method, path or protocol', async t => {
  const record = new AccessRecord(inboundFacts({ sni: null }), 0);
  Object.assign(record, {
    requestProtocol: 'tcp',
    protocol: null,
    flag: 'UF',
    transportFailure: 'ECONNREFUSED',
  });
  const fields = accessLogFields(record, 2);
  t.match(fields, { method: null, path: null, protocol: null, response_code: 0, response_flags: 'UF' });
  t.match(textLine(fields), '"- - -" 0 UF - - "ECONNREFUSED" 0 0 2 - "-" "-" "-" "-" "-" - - 10.0.0.1:8080');
});

/** Every field that a peer can write into, holding `value`. */
function forged(value: string): AccessLogFields {
  const record = full();
  Object.assign(record, { method: value, path: value, authority: value, requestId: value });
  Object.assign(record, { details: value, terminationDetails: value, transportFailure: value });
  record.conn = inboundFacts({ sni: value });
  record.headers = headers({ 'user-agent': [value], 'x-forwarded-for': [value] });
  return accessLogFields(record, 2);
}

const PRINTABLE = /^[\x20-\x7e\u00a0-\uffff]*$/;
const FORGERIES = [
  'a"b',
  'a\\',
  '\r\n{"forged":1}',
  '\n[2026',
  '\u0000',
  '\u001b[31m',
  '\u009b31m',
  '\u2028',
  '\ud800',
];

t.test('no value ends its line, its quotes or its field, in either form', async t => {
  for (const [i, value] of FORGERIES.entries()) {
    const fields = forged(value);
    const json = jsonLine(fields);
    t.ok(PRINTABLE.test(json), `JSON ${i}`);
    t.ok(JSON.parse(json).user_agent === value, `JSON ${i} gives the value back`);
    t.ok(/^[\x20-\x7e]*$/.test(textLine(fields)), `text ${i}`);
    t.equal(quotes(textLine(fields)), 14, `text ${i} has as many quotes as ever`);
  }
});

function quotes(text: string): number {
  return text.split('"').length - 1;
}

t.test('whatever a peer sends, JSON reads back as sent and text has its fields in their places', async t => {
  const byte = fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code));
  const spaces = textLine(forged('x')).split(' ').length;
  fc.assert(
    fc.property(fc.string({ unit: byte }), value => {
      const fields = forged(value);
      const json = jsonLine(fields);
      const read = JSON.parse(Buffer.from(json).toString('utf8'));
      const text = textLine(fields);
      const unquoted = text.replace(/ "[^"]*"/g, ' "x"');
      return (
        PRINTABLE.test(json) &&
        read.path === value &&
        read.requested_server_name === value &&
        /^[\x20-\x7e]*$/.test(text) &&
        quotes(text) === 14 &&
        unquoted.split(' ').length === spaces - 2 // "METHOD PATH PROTOCOL" is one field here
      );
    }),
  );
  t.pass();
});

t.test('a space moves no bare field', async t => {
  const text = textLine({ ...forged('a b'), user_agent: null, x_forwarded_for: null });
  t.match(text, ' "a\\x20b a\\x20b HTTP/1.1" 200 - a\\x20b a\\x20b "a b" ');
});

t.test('a value longer than 4096 characters is cut and says so', async t => {
  const fields = forged('x'.repeat(60_000));
  t.equal(fields.path?.length, 4_096 + '...[cut]'.length);
  t.ok(fields.user_agent?.endsWith('x...[cut]'));
});

t.test('a traceparent that is none gives no trace id, and the own trace wins', async t => {
  const record = full();
  record.headers = headers({ traceparent: ['00-"}-x'] });
  t.equal(accessLogFields(record, 1).trace_id, null);
  record.traceId = 'f'.repeat(32);
  t.equal(accessLogFields(record, 1).trace_id, 'f'.repeat(32));
});
