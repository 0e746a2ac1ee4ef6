/** The HTTP/2 table through the loop alone: whole, and cut in every way. */
import { createServer } from 'node:http';
import t from 'tap';
import { listenUntilEnd } from '../peers.ts';
import { bytesOf, CaseApp, runH2Case } from './h2-case-runner.ts';
import { dialInMemory, startH2Loop } from './h2-loop.ts';
import { CASES, plainRoute } from './h2-rows.ts';

t.setTimeout(180_000);

/** Byte by byte what is shorter; what is longer says nothing more so. */
const MAX_BYTES = 1_000;

t.test('over a plain connection, whole', async t => {
  const app = new CaseApp();
  const loop = await startH2Loop(t, await listenUntilEnd(t, createServer(app.onRequest)));
  for (const row of CASES) t.same(await runH2Case(plainRoute(loop.port, app), row), [], row.id);
});

for (const cut of [1, 2, 9, 10, 100, 5_000]) {
  t.test(`in pieces of ${cut}`, async t => {
    const app = new CaseApp();
    const loop = await startH2Loop(t, await listenUntilEnd(t, createServer(app.onRequest)));
    const route = { open: async () => dialInMemory(loop), app };
    const rows = CASES.filter(row => bytesOf(row).length < MAX_BYTES * cut);
    for (const row of rows) t.same(await runH2Case(route, row, { cut }), [], row.id);
  });
}

t.test('in two, at every byte', async t => {
  const app = new CaseApp();
  const loop = await startH2Loop(t, await listenUntilEnd(t, createServer(app.onRequest)));
  const route = { open: async () => dialInMemory(loop), app };
  for (const row of CASES.filter((row, i) => i % 8 === 0 && bytesOf(row).length < 200)) {
    const length = Buffer.concat(row.send).length;
    const faults: string[] = [];
    for (let cut = 1; cut < length; cut++) faults.push(...(await runH2Case(route, row, { cut, parts: 2 })));
    t.same(faults.slice(0, 5), [], row.id);
  }
});
