/** One read that brings more requests than are begun in a turn of the event loop. */
import { createServer } from 'node:http';
import t from 'tap';
import { h2Plain } from '../h2-peer.ts';
import { listenUntilEnd } from '../peers.ts';
import { get, lastData, post, reset } from './h2-case.ts';
import { startH2Loop } from './h2-loop.ts';

const MANY = 200;
const ids = Array.from({ length: MANY }, (_, i) => 2 * i + 1);
const request = (id: number): Buffer => Buffer.concat([post(id), lastData(id, `body of ${id}`)]);

const echo = createServer((received, response) => {
  received.pipe(response);
});
const app = await listenUntilEnd(t, echo);

t.test('all are answered, each with its own body', async t => {
  const peer = await h2Plain(t, (await startH2Loop(t, app)).port);
  peer.send(Buffer.concat(ids.map(request)));
  for (const id of ids) await peer.done(id);
  t.same(
    ids.map(id => peer.on(id).body.toString()),
    ids.map(id => `body of ${id}`),
  );
});

t.test('also when their client has sent its end right behind them', async t => {
  const peer = await h2Plain(t, (await startH2Loop(t, app)).port);
  peer.send(Buffer.concat(ids.map(request)));
  peer.socket.end();
  for (const id of ids) await peer.done(id);
  t.same(
    ids.map(id => peer.on(id).body.toString()),
    ids.map(id => `body of ${id}`),
  );
});

t.test('and what is reset in the same read ends alone', async t => {
  const loop = await startH2Loop(t, app);
  const peer = await h2Plain(t, loop.port);
  peer.send(
    Buffer.concat(ids.map(id => (id % 4 === 1 ? request(id) : Buffer.concat([post(id), reset(id)])))),
  );
  for (const id of ids.filter(id => id % 4 === 1)) await peer.done(id);
  t.equal(loop.finished.length, MANY);
});

t.test('another connection is served before all of them have begun', async t => {
  const loop = await startH2Loop(t, app);
  const [greedy, other] = [await h2Plain(t, loop.port), await h2Plain(t, loop.port)];
  await other.settled();
  greedy.send(Buffer.concat(ids.map(request)));
  other.send(get(1));
  await other.done(1);
  for (const id of ids) await greedy.done(id);
  const at = loop.begun.indexOf('GET');
  t.ok(at >= 0 && at < MANY / 2, `it was number ${at} of ${MANY}`);
});

t.test('a stream that is reset before it starts weighs as much as four that are cancelled later', async t => {
  const silent = await listenUntilEnd(t, createServer());
  const loop = await startH2Loop(t, silent);
  const [patient, hasty] = [await h2Plain(t, loop.port), await h2Plain(t, loop.port)];
  const some = ids.slice(0, 150);
  patient.send(...some.map(id => get(id)));
  while (loop.begun.length < some.length) await patient.settled();
  patient.send(...some.map(id => reset(id)));
  await patient.settled();
  t.equal(patient.ended, null);
  hasty.send(Buffer.concat(some.map(id => Buffer.concat([get(id), reset(id)]))));
  await hasty.closed();
  t.same(loop.reasons, ['h2_rapid_reset']);
});

t.test('a stream whose reset comes right behind it is not begun because a turn ends in between', async t => {
  const loop = await startH2Loop(t, app);
  const peer = await h2Plain(t, loop.port);
  await peer.settled();
  peer.send(Buffer.concat(ids.slice(0, 90).map(id => Buffer.concat([get(id), reset(id)]))));
  await peer.settled();
  t.same(loop.begun, []);
});
