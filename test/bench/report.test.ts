import t from 'tap';
import { growthPercent } from '../../bench/cases/flat.ts';
import { toSvg } from '../../bench/chart.ts';
import { parseOptions } from '../../bench/options.ts';
import { selfTimes } from '../../bench/profile.ts';
import { withResults } from '../../bench/readme.ts';
import { type CaseResult, mediansOf, type Results } from '../../bench/results.ts';
import { percentile } from '../../bench/statistics.ts';
import { short, toMarkdown } from '../../bench/table.ts';
import { judge } from '../../bench/targets.ts';
import { readReport } from '../../bench/wrk.ts';

const H1_IN: CaseResult = {
  name: 'h1-in',
  what: 'mutual TLS in, small replies',
  headlines: [{ metric: 'cpu', unit: 'µs CPU a request' }],
  rateUnit: 'requests',
  peers: [
    { peer: 'outrider', rounds: [], medians: { cpu: 30, rate: 20_000, rss: 101 }, failures: [] },
    { peer: 'nginx', rounds: [], medians: { cpu: 25 }, failures: [] },
    { peer: 'haproxy', rounds: [], medians: { cpu: 20 }, failures: [] },
    { peer: 'envoy', rounds: [], medians: { cpu: 60 }, failures: [] },
  ],
};
const START: CaseResult = {
  name: 'start',
  what: 'start',
  headlines: [{ metric: 'value', unit: 'ms' }],
  rateUnit: 'starts',
  peers: [
    { peer: 'outrider', rounds: [], medians: { value: 150 }, failures: [] },
    { peer: 'envoy', rounds: [], medians: {}, failures: ['no | answer\nmore'] },
  ],
};
const RESULTS: Results = {
  startedAt: '2026-01-02T03:04:05.000Z',
  machine: { cpu: 'A CPU', cores: 2, memoryGb: 8, kernel: 'Linux 6', node: 'v26.10.0', openssl: '3.5.8' },
  peers: [{ name: 'envoy', version: '1.40.0' }],
  plaintextLoad: 'wrk',
  http2Load: 'h2load 1.52.0, for mutual TLS through haproxy',
  strangers: 0.034,
  effort: {
    rounds: 3,
    warmupSeconds: 2,
    seconds: 5,
    connections: 64,
    idleConnections: 2000,
    startRuns: 10,
    flatRequests: 1,
  },
  cases: [H1_IN, START],
};

t.test('medians are taken metric by metric, over the rounds that have a number', async t => {
  t.same(mediansOf([{ cpu: 3, p50: Number.NaN }, { cpu: 1 }, { cpu: 2, rss: 8 }, { cpu: 9 }]), {
    cpu: 2.5,
    rss: 8,
  });
  t.same(mediansOf([]), {});
});

t.test('a percentile is the nearest rank, whatever the order', async t => {
  const values = [5, 1, 4, 2, 3];
  t.equal(percentile(values, 0.5), 3);
  t.equal(percentile(values, 0.99), 5);
  t.same(values, [5, 1, 4, 2, 3]);
});

t.test('a target is met at its limit and missed above it', async t => {
  const verdicts = judge(RESULTS).map(({ name, reason, met }) => [name, reason, met]);
  t.same(verdicts, [
    ['h1-in', '0.6 × envoy 60', true],
    ['h1-in', '1.4 × haproxy 20', false],
    ['start', '150 ms', true],
    ['h1-in', '100 MB', false],
  ]);
});

t.test('a target is not judged without the peer that it is held against', async t => {
  const alone = { ...H1_IN, peers: H1_IN.peers.slice(0, 1) };
  t.same(
    judge({ cases: [alone] }).map(({ reason }) => reason),
    ['100 MB'],
  );
  t.same(judge({ cases: [{ ...H1_IN, peers: H1_IN.peers.slice(1) }] }), []);
});

t.test('the table names the machine, the ratios, the missed targets and the failed cases', async t => {
  const markdown = toMarkdown(RESULTS);
  t.match(markdown, /A CPU, 2 cores.*envoy 1\.40\.0.*3 interleaved rounds.*Other processes took 3 %/);
  t.match(markdown, '| h1-in | envoy | 60 µs CPU a request | – | – | – | – | – | 0.50 |');
  t.match(markdown, '| h1-in | outrider | 30 µs CPU a request | 20,000 requests |');
  t.match(markdown, '| h1-in | 30 µs CPU a request | at most 28 (1.4 × haproxy 20) | **missed** |');
  t.match(markdown, '| start | envoy | failed: no / answer |');
});

t.test('numbers keep three figures', async t => {
  t.same([0.012345, 1.5, 99.96, 1234.5, -0.25].map(short), ['0.0123', '1.5', '100', '1,235', '-0.25']);
});

t.test('the chart has a bar for each number, the longest as long as the scale', async t => {
  const svg = toSvg(RESULTS);
  t.equal(svg.match(/<rect x=/g)?.length, 5);
  const lengths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(found => Number(found[1]));
  t.equal(lengths[0], (lengths[3] ?? 0) / 2);
  t.equal(svg.match(/<text/g)?.length, svg.match(/<\/text>/g)?.length);
});

t.test('the chart draws no bar for a latency below zero', async t => {
  const rate: CaseResult = {
    ...START,
    peers: [{ peer: 'nginx', rounds: [], medians: { value: -1 }, failures: [] }],
  };
  t.match(toSvg({ cases: [rate] }), 'width="0.0"');
  t.match(toSvg({ cases: [] }), '</svg>');
});

t.test('the README keeps everything outside the two comments', async t => {
  const start = '<!-- results:start (written by `npm run bench -- --write-readme`) -->';
  const text = withResults(`before\n${start}\nold\n<!-- results:end -->\nafter\n`, '| new |\n');
  t.equal(text, `before\n${start}\n\n| new |\n\n<!-- results:end -->\nafter\n`);
  t.throws(() => withResults('no comments', 'x'), { message: /comments/ });
});

t.test('the report of wrk is read with its units and its faults', async t => {
  const text = `  Latency Distribution
     50%    1.40ms
     99%  500.00us
  76196 requests in 2.00s, 10.97MB read
  Socket errors: connect 0, read 3, write 0, timeout 0
  Non-2xx or 3xx responses: 12
Requests/sec:  38098.00
`;
  t.same(readReport(text), {
    requests: 76196,
    seconds: 2,
    p50Ms: 1.4,
    p99Ms: 0.5,
    faults: 'Non-2xx or 3xx responses: 12; Socket errors: connect 0, read 3, write 0, timeout 0',
  });
  t.throws(() => readReport('unable to connect'), { message: /no total/ });
});

t.test('growth compares the last quarter with the second', async t => {
  t.equal(growthPercent([500, 100, 105, 150]), 50);
  t.ok(Number.isNaN(growthPercent([1, 2, 3])));
});

t.test('flags name what is wrong with them', async t => {
  t.equal(parseOptions(['--help']), null);
  t.match(parseOptions(['--quick', '--seconds', '9']), { effort: { rounds: 1, seconds: 9 } });
  t.throws(() => parseOptions(['--cases', 'h3-in']), { message: /--cases: "h3-in"/ });
  t.throws(() => parseOptions(['--rounds', '0']), { message: /--rounds: "0"/ });
  t.throws(() => parseOptions(['--fast']), { message: /--fast/ });
});

t.test('a profile adds up self time by function over all threads, without idle time', async t => {
  const frame = (functionName: string, url = '') => ({ functionName, url, lineNumber: 6 });
  const profile = {
    nodes: [
      { id: 1, callFrame: frame('(idle)') },
      { id: 2, callFrame: frame('decide', 'file:///x/decide.ts') },
      { id: 3, callFrame: frame('') },
    ],
    samples: [1, 2, 3, 2],
    timeDeltas: [900, 20, 10, 10],
  };
  t.equal(
    selfTimes([profile, profile]),
    '| self | function |\n| --- | --- |\n| 75.0 % | decide decide.ts:7 |\n| 25.0 % | (anonymous) |',
  );
});
