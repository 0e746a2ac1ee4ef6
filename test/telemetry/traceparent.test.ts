import t from 'tap';
import {
  formatTraceParent,
  newSpanId,
  newTraceId,
  parseTraceParent,
} from '../../src/telemetry/traceparent.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

t.test('reads what the recommendation allows', async t => {
  const cases: [string, boolean][] = [
    [`00-${TRACE}-${SPAN}-00`, false],
    [`00-${TRACE}-${SPAN}-01`, true],
    [`00-${TRACE}-${SPAN}-03`, true],
    [`00-${TRACE}-${SPAN}-fe`, false],
    [`01-${TRACE}-${SPAN}-01`, true],
    [`cc-${TRACE}-${SPAN}-01-what-the-future-will-be`, true],
    [`cc-${TRACE}-${SPAN}-01-`, true],
  ];
  for (const [text, sampled] of cases) {
    t.same(parseTraceParent(text), { traceId: TRACE, spanId: SPAN, sampled }, text);
  }
});

t.test('refuses what is malformed', async t => {
  const cases = [
    '',
    '00',
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-01-`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-01 `,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01\n`,
    `00-${TRACE}-${SPAN}-0x`,
    `ff-${TRACE}-${SPAN}-01`,
    `0-${TRACE}-${SPAN}-01`,
    `cc-${TRACE}-${SPAN}-01.more`,
    `cc-${TRACE}-${SPAN}-011`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE}g-${SPAN}-01`,
    `00_${TRACE}_${SPAN}_01`,
  ];
  for (const text of cases) t.equal(parseTraceParent(text), null, JSON.stringify(text));
});

t.test('ids are lower-case hex of their length, and each is new', async t => {
  const traces = Array.from({ length: 1_000 }, newTraceId);
  const spans = Array.from({ length: 1_000 }, newSpanId);
  t.ok(traces.every(id => /^[0-9a-f]{32}$/.test(id)));
  t.ok(spans.every(id => /^[0-9a-f]{16}$/.test(id)));
  t.equal(new Set([...traces, ...spans]).size, 2_000);
  t.equal(new Set(traces.map(id => id.slice(24))).size, 1_000, 'the part that samples is random too');
});

t.test('what is written is read back', async t => {
  for (const sampled of [true, false]) {
    const parts = { traceId: newTraceId(), spanId: newSpanId(), sampled };
    t.same(parseTraceParent(formatTraceParent(parts.traceId, parts.spanId, sampled)), parts);
  }
});
