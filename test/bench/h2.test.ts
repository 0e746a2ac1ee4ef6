import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import type { AddressInfo, Server } from 'node:net';
import t from 'tap';
import { countTo } from '../../bench/connections.ts';
import { readH2load, readLatencies } from '../../bench/h2load.ts';
import { smallApp, streamApp, unaryApp } from '../../bench/programs/h2-app.ts';
import type { CaseResult } from '../../bench/results.ts';
import { judge } from '../../bench/targets.ts';
import { warmUp } from '../../bench/warm-up.ts';
import { grpcMessage, SMALL_BYTES } from '../../bench/workload.ts';

const REPORT = `progress: 100% of clients started
Application protocol: h2c
Stopped all clients for thread #0

finished in 2.00s, 219384.00 req/s, 17.78MB/s
requests: 438768 total, 438896 started, 438768 done, 438768 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 438768 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 35.57MB (37296424) total, 4.19MB (4388632) headers (space savings 93.51%), 23.85MB (25009776) data
`;

t.test('the report of h2load is read', async t => {
  t.same(readH2load(REPORT), { requests: 438_768, seconds: 2, faults: '' });
  t.equal(readH2load(REPORT.replace('2.00s', '950.00ms')).seconds, 0.95);
});

t.test('a request that failed, or was answered with another status, is a fault in the report', async t => {
  t.match(readH2load(REPORT.replace('1 errored', '').replace('0 errored', '3 errored')).faults, '3 errored');
  t.match(readH2load(REPORT.replace('0 4xx', '12 4xx')).faults, '12 4xx');
  t.match(readH2load(REPORT.replace('0 failed', '1 failed')).faults, '1 failed');
});

t.test('a report without a single answer is no report', async t => {
  const none = REPORT.replaceAll('438768', '0').replace('438896', '0');
  t.throws(() => readH2load(none), { message: /was not answered/ });
  t.throws(() => readH2load('could not connect'), { message: /no total/ });
});

t.test('a peer is warm after enough answers, or after three runs', async t => {
  const runsUntilWarm = async (answers: number) => {
    let runs = 0;
    await warmUp(async () => {
      runs += 1;
      return answers;
    });
    return runs;
  };
  t.same([await runsUntilWarm(30_000), await runsUntilWarm(15_000), await runsUntilWarm(1)], [1, 2, 3]);
});

t.test('latencies are the last column of the log, in microseconds', async t => {
  t.same(readLatencies('1796063122703463\t200\t2000\n1796063122703464\t200\t500\n1\t200\t1000\n'), {
    p50Ms: 1,
    p99Ms: 2,
  });
});

t.test('connections are counted at the server, established only', async t => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:1F90 0100007F:C351 06 00000000:00000000 00:00000000 00000000     0        0 4 1
`;
  t.equal(countTo(table, 8080), 1);
  t.equal(countTo(table, 80), 0);
});

function measured(name: string, cpu: Readonly<Record<string, number>>): CaseResult {
  const peers = (['outrider', 'nginx', 'haproxy', 'envoy'] as const).flatMap(peer => {
    const value = cpu[peer];
    if (value === undefined) return [];
    return [{ peer, rounds: [], medians: { cpu: value }, failures: [] }];
  });
  return { name, what: name, headlines: [{ metric: 'cpu', unit: 'µs' }], rateUnit: 'requests', peers };
}

t.test('HTTP/2 is held against each peer by itself', async t => {
  const cases = [
    measured('h2-in', { outrider: 10, haproxy: 4, envoy: 30 }),
    measured('grpc-stream', { outrider: 1, envoy: 2 }),
    measured('h2-pair', { outrider: 40, nginx: 40, haproxy: 20, envoy: 100 }),
  ];
  t.same(
    judge({ cases }).map(({ name, reason, met }) => [name, reason, met]),
    [
      ['h2-in', '0.35 × envoy 30', true],
      ['h2-in', '2 × haproxy 4', false],
      ['grpc-stream', '0.4 × envoy 2', false],
      ['h2-pair', '0.45 × envoy 100', true],
      ['h2-pair', '1 × nginx 40', true],
      ['h2-pair', '1.7 × haproxy 20', false],
    ],
  );
});

t.test('a case that Outrider failed in every round is a target missed', async t => {
  const { peers, ...one } = measured('h2-in-cleartext', { envoy: 30 });
  const own = { peer: 'outrider', rounds: [], medians: {}, failures: ['does not answer HTTP/2'] } as const;
  t.same(
    judge({ cases: [{ ...one, peers: [own, ...peers] }] }).map(({ value, met }) => [value, met]),
    [[null, false]],
  );
});

t.test('1,000 app connections may take eight between the two', async t => {
  const count = (value: number): CaseResult => ({
    ...measured('h2-pair-1000', {}),
    peers: [{ peer: 'outrider', rounds: [], medians: { value }, failures: [] }],
  });
  t.same(
    [8, 9].flatMap(value => judge({ cases: [count(value)] }).map(({ met }) => met)),
    [true, false],
  );
});

/** Node's own HTTP/2 as the judge of the apps' frames. */
async function withClient(
  server: Server,
  work: (session: ClientHttp2Session) => Promise<void>,
): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    await work(session);
  } finally {
    session.destroy();
    server.close();
    await once(server, 'close');
  }
}

/** Sends a body in one piece, gives what came back. */
async function call(session: ClientHttp2Session, body: Buffer | null) {
  const stream = session.request({ ':method': body ? 'POST' : 'GET', ':path': '/' }, { endStream: !body });
  const told = { status: 0, type: '', body: '', grpcStatus: '' };
  stream.on('response', headers => {
    told.status = Number(headers[':status']);
    told.type = String(headers['content-type']);
  });
  stream.on('trailers', fields => {
    told.grpcStatus = String(fields['grpc-status']);
  });
  stream.setEncoding('latin1');
  stream.on('data', chunk => {
    told.body += chunk;
  });
  if (body) stream.end(body);
  await once(stream, 'end');
  return told;
}

t.test('the small app answers a connection’s first request and the later ones alike', async t => {
  await withClient(smallApp(), async session => {
    const answer = { status: 200, type: 'text/plain', body: 'o'.repeat(SMALL_BYTES), grpcStatus: '' };
    for (const body of [null, Buffer.from('body'), null]) t.same(await call(session, body), answer);
  });
});

t.test('the unary app answers a call with a message and its status', async t => {
  await withClient(unaryApp(), async session => {
    const body = grpcMessage().toString('latin1');
    const answer = { status: 200, type: 'application/grpc', body, grpcStatus: '0' };
    const calls = Array.from({ length: 20 }, () => call(session, grpcMessage()));
    for (const told of await Promise.all(calls)) t.same(told, answer);
  });
});

t.test('the stream app sends back more than every window holds', async t => {
  await withClient(streamApp(), async session => {
    const body = Buffer.alloc(1_000_000, 'm');
    const told = await call(session, body);
    t.equal(told.body.length, body.length);
    t.equal(told.grpcStatus, '0');
  });
});
