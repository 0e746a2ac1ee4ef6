/**
 * The HTTP/2 table (h2-cases-*.ts: what each row sends and which reaction is right). First against node:http2, which
 * judges the table.
 */
import { createServer } from 'node:http2';
import t, { type Test } from 'tap';
import { listenUntilEnd } from '../peers.ts';
import { CaseApp, type H2Route, runH2Case } from './h2-case-runner.ts';
import { FIELD_CASES } from './h2-cases-messages.ts';
import { CASES, plainRoute } from './h2-rows.ts';

t.setTimeout(180_000);

/** Rows that node:http2 (nghttp2 1.70) does not do, and why the table stands. */
const NODE_DEVIATES: Readonly<Record<string, string>> = {
  'stream-lower': 'takes frames of a stream that was skipped for late ones, and drops them',
  'priority-stream-0': 'does not look at PRIORITY any more',
  'ping-ack-of-nothing': 'ends the connection with INTERNAL_ERROR; RFC 9113 6.7 asks for nothing',
  'length-too-much': 'ends the connection with INTERNAL_ERROR, where RFC 9113 8.1.1 asks for a stream error',
  'length-too-much-later': 'the same',
  'length-zero-and-content': 'the same',
  ...Object.fromEntries(
    FIELD_CASES.filter(({ id }) => /^field-(?:name-(?!upper)|value-)/.test(id))
      .filter(({ expect }) => 'kind' in expect && expect.kind === 'malformed')
      .map(({ id }) => [id, 'drops the field and takes the request']),
  ),
  'scheme-other': 'RFC 9113 allows other schemes; here no one speaks for them',
  'path-high': 'RFC 3986 has no such character',
  'authority-unlike-host':
    'RFC 9113 8.3.1 leaves the check to whoever cares; policy decides by the authority',
};

t.test('every row has a name of its own', async t => {
  t.equal(new Set(CASES.map(({ id }) => id)).size, CASES.length);
  t.ok(CASES.length > 200, `${CASES.length}`);
});

t.test('node:http2 does what the table says, but where it is known not to', async t => {
  const app = new CaseApp();
  const server = createServer({ settings: { maxConcurrentStreams: 256 } }, app.onRequest);
  server.on('sessionError', () => {});
  const port = await listenUntilEnd(t, server);
  await passAll(t, plainRoute(port, app), NODE_DEVIATES);
});

async function passAll(
  t: Test,
  route: H2Route,
  deviations: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const row of CASES) {
    const known = deviations[row.id];
    const faults = await runH2Case(route, row, known === undefined ? {} : { patienceMs: 500 });
    if (known === undefined) t.same(faults, [], row.id);
    else t.not(faults.length, 0, `${row.id}: ${known}`);
  }
}
