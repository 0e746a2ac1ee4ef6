import t from 'tap';
import { agreedProtocol, SERVES_HTTP2 } from '../../src/proxy/alpn.ts';

type Row = readonly [string, http: string | null, tcp: string | null, auto: string | null];

/** Without HTTP/2: what is offered, and what a port that is declared http, tcp or not at all agrees to. */
const HTTP1: readonly Row[] = [
  ['istio-http/1.1 istio http/1.1', 'http/1.1', 'http/1.1', 'http/1.1'],
  ['istio-http/1.0 istio http/1.0', 'http/1.0', 'istio', 'http/1.0'],
  ['istio-http/1.1 istio', 'istio-http/1.1', 'istio', 'istio-http/1.1'],
  ['istio', 'istio', 'istio', 'istio'],
  ['istio-peer-exchange istio', 'istio', 'istio', 'istio'],
  ['istio-peer-exchange istio h2', null, 'h2', 'istio'],
  ['istio-h2 istio h2', null, 'h2', null],
  ['istio-h2 istio h2 http/1.1', 'http/1.1', 'h2', 'http/1.1'],
  ['h2 http/1.1', 'http/1.1', 'h2', 'http/1.1'],
  ['h2', null, 'h2', null],
  ['http/1.1', 'http/1.1', 'http/1.1', 'http/1.1'],
  ['postgresql', 'postgresql', 'postgresql', 'postgresql'],
  ['istio-peer-exchange postgresql', 'postgresql', 'postgresql', 'postgresql'],
  ['istio-peer-exchange', null, null, null],
  ['outrider-h2 istio-http/1.1 istio http/1.1', 'http/1.1', 'http/1.1', 'http/1.1'],
  ['outrider-h2 istio', 'istio', 'istio', 'istio'],
  ['outrider-h2', null, null, null],
];

/** And with it. */
const HTTP2: readonly Row[] = [
  ['outrider-h2 istio-http/1.1 istio http/1.1', 'outrider-h2', 'http/1.1', 'outrider-h2'],
  ['istio-http/1.1 outrider-h2', 'outrider-h2', 'istio-http/1.1', 'outrider-h2'],
  ['outrider-h2', 'outrider-h2', null, 'outrider-h2'],
  ['outrider-h2 h2', 'outrider-h2', 'h2', 'outrider-h2'],
  ['istio-h2 istio h2', 'h2', 'h2', 'h2'],
  ['istio-h2 istio h2 http/1.1', 'h2', 'h2', 'http/1.1'],
  ['istio-h2 istio', 'istio-h2', 'istio', 'istio-h2'],
  ['h2', 'h2', 'h2', 'h2'],
  ['h2 http/1.1', 'h2', 'h2', 'http/1.1'],
  ['http/1.1 h2', 'h2', 'h2', 'http/1.1'],
  ['istio-http/1.1 istio http/1.1', 'http/1.1', 'http/1.1', 'http/1.1'],
  ['istio-http/1.1 istio', 'istio-http/1.1', 'istio', 'istio-http/1.1'],
  ['istio-peer-exchange istio h2', 'h2', 'h2', 'istio'],
  ['istio h2 http/1.1', 'h2', 'h2', 'http/1.1'],
  ['istio', 'istio', 'istio', 'istio'],
  ['postgresql', 'postgresql', 'postgresql', 'postgresql'],
  ['istio-peer-exchange', null, null, null],
];

for (const [table, http2] of [
  [HTTP1, false],
  [HTTP2, true],
] as const) {
  t.test(`what a port agrees to of what a client offers, ${http2 ? 'with' : 'without'} HTTP/2`, async t => {
    for (const [offer, http, tcp, auto] of table) {
      const offered = offer.split(' ');
      t.equal(agreedProtocol('http', offered, http2), http, `http: ${offer}`);
      t.equal(agreedProtocol('http2', offered, http2), http, `http2: ${offer}`);
      t.equal(agreedProtocol('tcp', offered, http2), tcp, `tcp: ${offer}`);
      t.equal(agreedProtocol('auto', offered, http2), auto, `auto: ${offer}`);
    }
  });
}

t.test('one constant says whether HTTP/2 is agreed to', async t => {
  t.equal(agreedProtocol('http', ['h2', 'http/1.1']), SERVES_HTTP2 ? 'h2' : 'http/1.1');
});
