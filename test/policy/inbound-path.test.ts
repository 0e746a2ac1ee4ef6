import t from 'tap';
import type { MtlsMode, PortProtocol } from '../../src/config/resources.ts';
import { inboundPath } from '../../src/policy/inbound-path.ts';

/** What a client may send first; null = no TLS. */
const OPENINGS: Readonly<Record<string, readonly string[] | null>> = {
  plaintext: null,
  'no protocols': [],
  'a browser': ['h2', 'http/1.1'],
  'an Istio word in capitals': ['ISTIO', 'Istio-http/1.1'],
  'a sidecar, TCP': ['istio'],
  'a sidecar, TCP with metadata': ['istio-peer-exchange', 'istio'],
  'a sidecar, HTTP/1.1': ['istio-http/1.1', 'istio', 'http/1.1'],
  'a sidecar, HTTP/1.0': ['istio-http/1.0', 'istio', 'http/1.0'],
  'a sidecar, HTTP/2': ['istio-h2', 'istio', 'h2'],
  'TCP before HTTP': ['istio', 'istio-http/1.1'],
  'Istio after others': ['http/1.1', 'istio-http/1.1'],
};

/** In the order of OPENINGS. `m` = mutual TLS, `p` = as it comes, a word = closed. Checked against Envoy 1.40.0. */
const TABLE: readonly (readonly [PortProtocol, MtlsMode, readonly string[]])[] = [
  ['http', 'STRICT', ['mtls_required', ...Array(10).fill('m http')]],
  ['tcp', 'STRICT', ['mtls_required', ...Array(10).fill('m tcp')]],
  [
    'auto',
    'STRICT',
    [
      'mtls_required',
      ...Array(3).fill('m detect'), // Istio: TCP, whatever the bytes are
      ...Array(2).fill('m tcp-first'), // Istio: TCP
      ...Array(5).fill('m http'),
    ],
  ],
  ['http', 'PERMISSIVE', ['p http', ...Array(3).fill('tls_without_istio_alpn'), ...Array(7).fill('m http')]],
  ['tcp', 'PERMISSIVE', ['p tcp', ...Array(3).fill('p tcp'), ...Array(7).fill('m tcp')]],
  [
    'auto',
    'PERMISSIVE',
    [
      'p detect',
      ...Array(3).fill('p tcp'),
      ...Array(2).fill('m tcp-first'), // Istio: TCP
      ...Array(3).fill('m http'),
      'm tcp-first', // the first word counts
      'm http',
    ],
  ],
  ['http', 'DISABLE', ['p http', ...Array(10).fill('mtls_disabled')]],
  ['tcp', 'DISABLE', ['p tcp', ...Array(10).fill('p tcp')]],
  ['auto', 'DISABLE', ['p detect', ...Array(10).fill('p tcp')]],
];

function wordOf(
  protocol: PortProtocol,
  mode: MtlsMode,
  alpn: readonly string[] | null,
  unwritten = false,
): string {
  const path = inboundPath({ mode, unwritten, protocol, tls: alpn !== null, alpn: alpn ?? [] });
  return path.closed ?? `${path.terminate ? 'm' : 'p'} ${path.serve}`;
}

for (const [protocol, mode, expected] of TABLE) {
  t.test(`what a ${mode} port that is declared ${protocol} does with a connection`, async t => {
    const openings = Object.entries(OPENINGS);
    t.equal(expected.length, openings.length);
    for (const [at, [says, alpn]] of openings.entries()) {
      t.equal(wordOf(protocol, mode, alpn), expected[at], says);
      if (protocol === 'http') t.equal(wordOf('http2', mode, alpn), expected[at], `${says}, HTTP/2`);
    }
  });
}

t.test('whoever is terminated is known, and on a STRICT port nobody else is let in', async t => {
  for (const protocol of ['http', 'http2', 'tcp', 'auto'] as const) {
    for (const alpn of Object.values(OPENINGS)) {
      const path = inboundPath({
        mode: 'STRICT',
        unwritten: false,
        protocol,
        tls: alpn !== null,
        alpn: alpn ?? [],
      });
      t.equal(path.closed ?? path.terminate, alpn === null ? 'mtls_required' : true);
    }
  }
});

t.test('a port whose mode nobody wrote is PERMISSIVE, but all TLS to it is mutual TLS', async t => {
  for (const protocol of ['http', 'http2', 'tcp', 'auto'] as const) {
    for (const [says, alpn] of Object.entries(OPENINGS)) {
      const written = wordOf(protocol, 'PERMISSIVE', alpn);
      const unwritten = wordOf(protocol, 'PERMISSIVE', alpn, true);
      if (alpn === null || written.startsWith('m ')) t.equal(unwritten, written, `${protocol}: ${says}`);
      else t.equal(unwritten, wordOf(protocol, 'STRICT', alpn), `${protocol}: ${says}`);
    }
  }
});
