import t from 'tap';
import { type Counts, CountsLedger, sumCounts } from '../../src/telemetry/counts.ts';
import { REQUEST_MESSAGES } from '../../src/telemetry/series.ts';
import { inboundFacts, outboundFacts, recorder, request } from './facts.ts';

function requests(all: readonly Counts[]): number {
  return sumCounts(all).requests.reduce((sum, series) => sum + (series.cells[0] ?? 0), 0);
}

t.test('series and counters of several workers add up by their labels', async t => {
  const [a, b] = [recorder().recorder, recorder().recorder];
  a.finishRequest(request(inboundFacts(), { bytesSent: 5 }));
  b.finishRequest(request(inboundFacts(), { bytesSent: 7 }));
  b.finishRequest(request(outboundFacts()));
  for (const one of [a, b, b]) one.handshake('inbound', 'success', '');
  a.connectionAccepted('inbound');
  b.connectionAccepted('inbound');
  const [first, second] = [a.snapshot(), b.snapshot()];
  const sum = sumCounts([first, second]);
  t.equal(sum.requests.length, 2);
  t.equal(sum.requests[0]?.cells[0], 2);
  t.equal(sum.requests[0]?.cells[REQUEST_MESSAGES - 1], 12, 'sum of response bytes');
  const handshakes = sum.counters.filter(counter => counter.family === 'outrider_tls_handshakes_total');
  t.match(handshakes, [{ labels: ['inbound', 'success', ''], value: 3 }]);
  t.same(sum.open, { inbound: 2, outbound: 0 });
  t.equal(first.requests[0]?.cells[0], 1, 'what was summed is as it was');
  t.same(sumCounts([]).requests, []);
});

t.test('a worker that dies leaves its counts, and takes its open connections with it', async t => {
  const ledger = new CountsLedger();
  const [a, b] = [recorder().recorder, recorder().recorder];
  const conn = inboundFacts();
  a.finishRequest(request(conn));
  a.finishRequest(request(conn));
  a.connectionAccepted('inbound');
  b.finishRequest(request(conn));
  b.connectionAccepted('inbound');
  ledger.update(1, a.snapshot());
  ledger.update(2, b.snapshot());
  t.equal(requests(ledger.all()), 3);
  t.same(sumCounts(ledger.all()).open, { inbound: 2, outbound: 0 });
  ledger.retire(1);
  t.equal(requests(ledger.all()), 3, 'never backwards');
  t.same(sumCounts(ledger.all()).open, { inbound: 1, outbound: 0 });
  const c = recorder().recorder;
  ledger.update(3, c.snapshot());
  t.equal(requests(ledger.all()), 3);
  c.finishRequest(request(conn));
  ledger.update(3, c.snapshot());
  ledger.retire(2);
  ledger.retire(3);
  ledger.retire(3);
  t.equal(requests(ledger.all()), 4);
  t.equal(ledger.all().length, 1, 'one base however many died');
  t.equal(ledger.all()[0]?.loopDelay, null);
});

t.test('newer counts of a worker replace its older ones', async t => {
  const ledger = new CountsLedger();
  const { recorder: r } = recorder();
  const conn = inboundFacts();
  for (let i = 1; i <= 3; i++) {
    r.finishRequest(request(conn));
    ledger.update(1, r.snapshot());
    t.equal(requests(ledger.all()), i);
  }
});
