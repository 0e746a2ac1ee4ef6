import t from 'tap';
import { agreedProtocol } from '../../src/proxy/alpn.ts';

type Row = readonly [string, http: string | null, tcp: string | null, auto: string | null];

/** What is offered, and what a port that is declared http, tcp or not at all agrees to. */
const TABLE: readonly Row[] = [
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
  ['istio-http/1.0 istio http/1.0', 'http/1.0', 'istio', 'http/1.0'],
  ['istio-peer-exchange istio', 'istio', 'istio', 'istio'],
  ['istio-peer-exchange postgresql', 'postgresql', 'postgresql', 'postgresql'],
  ['outrider-h2 istio', 'outrider-h2', 'istio', 'istio'],
  ['http/1.1', 'http/1.1', 'http/1.1', 'http/1.1'],
  ['postgresql', 'postgresql', 'postgresql', 'postgresql'],
  ['istio-peer-exchange', null, null, null],
];

t.test('what a port agrees to of what a client offers', async t => {
  for (const [offer, http, tcp, auto] of TABLE) {
    const offered = offer.split(' ');
    t.equal(agreedProtocol('http', offered), http, `http: ${offer}`);
    t.equal(agreedProtocol('http2', offered), http, `http2: ${offer}`);
    t.equal(agreedProtocol('tcp', offered), tcp, `tcp: ${offer}`);
    t.equal(agreedProtocol('auto', offered), auto, `auto: ${offer}`);
  }
});
