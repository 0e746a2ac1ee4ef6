import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { setLogWriter } from '../../src/telemetry/log.ts';
import { startTracing } from '../../src/telemetry/trace.ts';
import { parseTraceParent } from '../../src/telemetry/traceparent.ts';
import { headers, inboundFacts, outboundFacts, recorder, request } from './facts.ts';

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  status: { code?: number };
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const SERVER = 2;
const CLIENT = 3;

/** A collector on a real port; `status` is what it answers. */
async function collector(t: Test, status = 200): Promise<{ url: string; spans: Span[]; services: string[] }> {
  const spans: Span[] = [];
  const services: string[] = [];
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    for (const resource of JSON.parse(Buffer.concat(chunks).toString()).resourceSpans) {
      services.push(attributesOf(resource.resource)['service.name'] as string);
      spans.push(...resource.scopeSpans.flatMap((scope: { spans: Span[] }) => scope.spans));
    }
    res.writeHead(status, { 'content-type': 'application/json' }).end('{}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, spans, services };
}

function attributesOf(of: Pick<Span, 'attributes'>): Record<string, unknown> {
  return Object.fromEntries(of.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}

t.test('an inbound request is a SERVER span under its caller, an outbound one a CLIENT span', async t => {
  const { url, spans, services } = await collector(t);
  const tracer = await startTracing({ url, samplingPercent: 0 }, 'httpbin.foo');
  const { recorder: r } = recorder();
  const inbound = request(inboundFacts(), {
    path: '/info?x=1&access_token=secret',
    requestId: 'b5a1',
    headers: headers({ 'user-agent': ['curl/8'] }),
    policy: 'foo/p',
    decision: 'allow',
  });
  const traced = tracer.begin(inbound, `00-${TRACE}-${SPAN}-01`);
  t.equal(traced?.newTrace, false);
  t.match(parseTraceParent(traced!.traceparent), { traceId: TRACE, sampled: true });
  t.equal(inbound.traceId, TRACE);
  r.finishRequest(inbound);
  const outbound = request(outboundFacts(), {
    method: 'POST',
    path: '/reviews?id=1&token=secret',
    authority: 'reviews.bar:9080',
    status: 503,
    flag: 'UF',
    upstreamHost: '10.0.0.5:9080',
    upstreamCluster: 'outbound|9080||reviews.bar.svc.cluster.local',
  });
  const second = tracer.begin(outbound, traced!.traceparent);
  r.finishRequest(outbound);
  await tracer.shutdown();

  t.same(services, ['httpbin.foo']);
  t.equal(spans.length, 2);
  const [server, client] = spans;
  t.match(server, { traceId: TRACE, parentSpanId: SPAN, kind: SERVER, name: 'GET' });
  t.equal(server?.spanId, parseTraceParent(traced!.traceparent)?.spanId);
  t.match(attributesOf(server!), {
    'http.request.method': 'GET',
    'url.scheme': 'https',
    'url.path': '/info',
    'url.query': 'x=1&access_token=(token)',
    'server.address': 'httpbin.foo',
    'network.protocol.version': '1.1',
    'network.peer.address': '10.0.0.9',
    'client.address': '10.0.0.9',
    'user_agent.original': 'curl/8',
    'http.response.status_code': 200,
    'outrider.source_principal': 'spiffe://cluster.local/ns/bar/sa/sleep',
    'outrider.policy': 'foo/p',
    'outrider.request_id': 'b5a1',
  });
  t.equal(server?.status.code ?? 0, 0);
  t.match(client, {
    traceId: TRACE,
    parentSpanId: server?.spanId,
    kind: CLIENT,
    name: 'POST',
    status: { code: 2 },
  });
  t.equal(client?.spanId, parseTraceParent(second!.traceparent)?.spanId);
  t.match(attributesOf(client!), {
    'url.full': 'https://reviews.bar:9080/reviews?id=1&token=(token)',
    'server.address': 'reviews.bar',
    'server.port': 9080,
    'network.peer.address': '10.0.0.5',
    'network.peer.port': 9080,
    'http.response.status_code': 503,
    'error.type': 'UF',
  });
  const start = Number(BigInt(server!.startTimeUnixNano) / 1_000_000n);
  t.ok(Math.abs(start - Date.now()) < 60_000, 'the wall clock');
  t.ok(BigInt(server!.endTimeUnixNano) >= BigInt(server!.startTimeUnixNano));
});

t.test('a caller decision stands; without one, the share of new traces is sampled', async t => {
  const { url, spans } = await collector(t);
  const { recorder: r } = recorder();
  const run = async (samplingPercent: number, parent: string | null): Promise<string[]> => {
    const tracer = await startTracing({ url, samplingPercent }, 'w');
    const ids: string[] = [];
    for (let i = 0; i < 50; i++) {
      const record = request(inboundFacts());
      ids.push(tracer.begin(record, parent)!.traceparent);
      r.finishRequest(record);
    }
    await tracer.shutdown();
    return ids;
  };
  const count = async (samplingPercent: number, parent: string | null): Promise<number> => {
    spans.length = 0;
    const ids = await run(samplingPercent, parent);
    const sampled = ids.filter(id => id.endsWith('-01')).length;
    t.equal(spans.length, sampled, 'the header says what was done');
    t.equal(new Set(ids).size, 50, 'each request has a span id of its own');
    return sampled;
  };
  t.equal(await count(100, `00-${TRACE}-${SPAN}-00`), 0);
  t.equal(await count(0, `00-${TRACE}-${SPAN}-01`), 50);
  t.equal(await count(0, null), 0);
  t.equal(await count(100, null), 50);
  const half = await count(50, null);
  t.ok(half > 0 && half < 50, `${half} of 50`);
});

t.test('a malformed traceparent starts a new trace and says that tracestate is to go', async t => {
  const { url, spans } = await collector(t);
  const tracer = await startTracing({ url, samplingPercent: 100 }, 'w');
  const record = request(inboundFacts());
  const traced = tracer.begin(record, `00-${'0'.repeat(32)}-${SPAN}-01`);
  t.equal(traced?.newTrace, true);
  t.not(record.traceId, '0'.repeat(32));
  recorder().recorder.finishRequest(record);
  await tracer.shutdown();
  t.equal(spans[0]?.traceId, record.traceId);
  t.notOk(spans[0]?.parentSpanId, 'a root');
});

t.test('a method of the peer own making does not name a span', async t => {
  const { url, spans } = await collector(t);
  const tracer = await startTracing({ url, samplingPercent: 100 }, 'w');
  const record = request(inboundFacts(), { method: 'BREW', status: 0, flag: 'DC' });
  tracer.begin(record, null);
  recorder().recorder.finishRequest(record);
  await tracer.shutdown();
  t.match(spans[0], { name: 'HTTP', status: { code: 2 } });
  t.match(attributesOf(spans[0]!), {
    'http.request.method': '_OTHER',
    'http.request.method_original': 'BREW',
    'error.type': 'DC',
  });
});

t.test('a collector that refuses is logged, once, and shutdown ends all the same', async t => {
  const { url } = await collector(t, 400);
  const lines: string[] = [];
  setLogWriter(line => lines.push(line));
  const tracer = await startTracing({ url, samplingPercent: 100 }, 'w');
  const record = request(inboundFacts());
  tracer.begin(record, null);
  recorder().recorder.finishRequest(record);
  await tracer.shutdown();
  t.equal(lines.length, 1);
  t.match(JSON.parse(lines[0]!), { level: 'warn', msg: 'spans not exported', url });
  t.equal(tracer.begin(request(inboundFacts()), null), null, 'nothing begins after shutdown');
});

t.test('a collector that never answers does not hold up shutdown', async t => {
  const server = createServer(() => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  setLogWriter(() => {});
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`;
  const tracer = await startTracing({ url, samplingPercent: 100 }, 'w');
  const record = request(inboundFacts());
  tracer.begin(record, null);
  recorder().recorder.finishRequest(record);
  await tracer.shutdown();
  t.pass();
});

t.test('nothing of OpenTelemetry or prom-client is loaded until it is asked for', async t => {
  const src = new URL('../../src/telemetry/', import.meta.url).href;
  const code = `
    import { registerHooks } from 'node:module';
    import { readdirSync } from 'node:fs';
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    for (const file of readdirSync(new URL(${JSON.stringify(src)}))) await import(${JSON.stringify(src)} + file);
    const before = loaded.filter(url => /@opentelemetry|prom-client/.test(url));
    const { startTracing } = await import(${JSON.stringify(src)} + 'trace.ts');
    const tracer = await startTracing({ url: 'http://127.0.0.1:9/v1/traces', samplingPercent: 100 }, 'w');
    const after = loaded.filter(url => /@opentelemetry/.test(url)).length;
    await tracer.shutdown();
    console.log(JSON.stringify({ sources: loaded.filter(url => url.startsWith(${JSON.stringify(src)})).length, before, after }));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  const { sources, before, after } = JSON.parse(stdout);
  t.ok(sources > 10, `${sources} sources were loaded`);
  t.same(before, []);
  t.ok(after > 0, 'and the check sees it when it is');
});
