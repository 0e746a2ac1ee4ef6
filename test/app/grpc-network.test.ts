/** gRPC while the network between the sidecars is cut, stopped or slow, and while either peer restarts. */
import { once } from 'node:events';
import { type Client, status } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { testAuthority } from '../certificates.ts';
import {
  drainStream,
  ECHO,
  type Ended,
  type GrpcApp,
  type GrpcPair,
  grpcClient,
  same,
  startGrpcApp,
  startGrpcPair,
  startInbound,
  unary,
} from '../grpc-peers.ts';
import { type Relay, startRelay } from '../relay.ts';

t.setTimeout(180_000);

const MIB = 1024 * 1024;
/** Attempts until everybody knows that a connection is gone. */
const ATTEMPTS = 50;
const authority = await testAuthority();

interface Stage {
  readonly app: GrpcApp;
  readonly pair: GrpcPair;
  readonly relay: Relay;
  readonly client: Client;
}

async function start(t: Test, policy?: string): Promise<Stage> {
  const app = await startGrpcApp(t);
  let relay: Relay | null = null;
  const pair = await startGrpcPair(t, authority, {
    app: app.port,
    ...(policy !== undefined && { policy }),
    via: async port => {
      relay = await startRelay(t, port);
      return relay.port;
    },
  });
  return { app, pair, relay: relay!, client: grpcClient(t, pair.outbound.ports.outbound) };
}

function ask(client: Client): Promise<Ended> {
  return unary(client, ECHO.Unary, Buffer.from('x'));
}

/** Asks until there is an answer; whatever ends before that has to be UNAVAILABLE. */
async function recovers(t: Test, client: Client): Promise<void> {
  for (let i = 0; i < ATTEMPTS; i++) {
    const { status: end } = await ask(client);
    if (end.code === status.OK) {
      t.pass('the next call is answered');
      return;
    }
    t.equal(end.code, status.UNAVAILABLE, end.details);
  }
  t.fail('no call was answered any more');
}

/** A call of each kind that is under way: what it ends with. */
async function underWay({ app, client }: Stage): Promise<Promise<{ status: { code: number } }>[]> {
  const held = app.held.count;
  const never = unary(client, ECHO.Never, Buffer.from('x'));
  const stuck = client.makeServerStreamRequest(ECHO.Stuck.path, same, same, Buffer.from('x'));
  const both = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
  both.write(Buffer.from('x'));
  await Promise.all([once(stuck, 'data'), once(both, 'data'), app.held.reach(held + 2)]);
  return [never, drainStream(stuck), drainStream(both)];
}

t.test(
  'calls that a cut finds under way are UNAVAILABLE on every side, and the next is answered',
  async t => {
    const stage = await start(t);
    for (let round = 0; round < 3; round++) {
      const calls = await underWay(stage);
      const cancelled = stage.app.cancelled.count;
      stage.relay.cut();
      for (const call of calls) t.equal((await call).status.code, status.UNAVAILABLE);
      await stage.app.cancelled.reach(cancelled + 3);
      await recovers(t, stage.client);
    }
    t.match(await stage.pair.outbound.access.take(l => l.path === ECHO.Stuck.path), {
      response_code: 200,
      response_flags: 'UC',
      grpc_status: 14,
    });
  },
);

t.test('a connection that was cut while nothing was on it is replaced', async t => {
  const stage = await start(t);
  for (let round = 0; round < 5; round++) {
    await recovers(t, stage.client);
    stage.relay.cut();
  }
  await recovers(t, stage.client);
});

t.test('a cut in the middle of large messages', async t => {
  const { client, relay } = await start(t);
  relay.slow = true;
  const large = client.makeServerStreamRequest(ECHO.Scatter.path, same, same, Buffer.from(`8 ${4 * MIB}`));
  const upload = unary(client, ECHO.Unary, Buffer.alloc(40 * MIB));
  const end = drainStream(large, () => relay.cut());
  t.ok((await end).parts.length < 8);
  for (const { code } of [(await end).status, (await upload).status])
    t.ok([status.UNAVAILABLE, status.INTERNAL].includes(code), `status ${code}`);
  relay.slow = false;
  await recovers(t, client);
});

t.test('while the network is away calls are UNAVAILABLE, and answered as soon as it is back', async t => {
  const { client, relay } = await start(t);
  t.equal((await ask(client)).status.code, status.OK);
  relay.away = true;
  const all = await Promise.all(Array.from({ length: 20 }, () => ask(client)));
  t.ok(
    all.every(({ status: end }) => end.code === status.UNAVAILABLE),
    String(all.map(({ status: end }) => end.code)),
  );
  relay.away = false;
  t.equal((await ask(client)).status.code, status.OK);
});

t.test(
  'a network that stands still ends calls by their deadline, and by pings where they are wanted',
  async t => {
    const stage = await start(t, 'connectionPool: {http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}');
    const { client, relay, pair } = stage;
    const calls = await underWay(stage);
    relay.stopped = true;
    const { status: end } = await unary(client, ECHO.Unary, Buffer.from('x'), {
      options: { deadline: Date.now() + 500 },
    });
    t.equal(end.code, status.DEADLINE_EXCEEDED);
    for (const call of calls) t.equal((await call).status.code, status.UNAVAILABLE, 'no pong came');
    relay.stopped = false;
    await recovers(t, client);
    t.equal(pair.outbound.child.exitCode, null);
  },
);

t.test('a slow network carries large messages, and small ones beside them', async t => {
  const { client, relay } = await start(t);
  relay.slow = true;
  const large = Buffer.alloc(8 * MIB, 'slow ');
  let over = false;
  const upload = unary(client, ECHO.Unary, large).finally(() => {
    over = true;
  });
  let beside = 0;
  while (!over) {
    const { status: end } = await ask(client);
    t.equal(end.code, status.OK);
    if (!over) beside++;
  }
  const { status: end, answer } = await upload;
  t.equal(end.code, status.OK);
  t.ok(answer?.equals(large));
  t.ok(beside >= 3, `${beside} calls beside it`);
});

t.test('the sidecar of the server is killed and comes back', async t => {
  const stage = await start(t);
  const { pair, client, app } = stage;
  const { inbound: port } = pair.inbound.ports;
  const calls = await underWay(stage);
  pair.inbound.signal('SIGKILL');
  for (const call of calls) t.equal((await call).status.code, status.UNAVAILABLE);
  await pair.inbound.exited;
  t.equal((await ask(client)).status.code, status.UNAVAILABLE, 'while it is away');
  await startInbound(t, { app: app.port, serverIdentity: pair.serverIdentity, port });
  await recovers(t, client);
});

t.test(
  'the sidecar of the server is stopped: calls under way end well, and the next one finds its successor',
  async t => {
    const { pair, client, app } = await start(t);
    const { inbound: port } = pair.inbound.ports;
    const both = client.makeBidiStreamRequest(ECHO.Both.path, same, same);
    both.write(Buffer.from('before'));
    await once(both, 'data');
    const exited = pair.inbound.stop();
    await pair.inbound.log.take(l => /drain/.test(l.msg));
    both.write(Buffer.from('while it drains'));
    t.equal(String((await once(both, 'data'))[0]), 'while it drains');
    both.end();
    t.equal((await drainStream(both)).status.code, status.OK);
    t.match(await exited, { code: 0 });
    await startInbound(t, { app: app.port, serverIdentity: pair.serverIdentity, port });
    await recovers(t, client);
  },
);

t.test('the server is ended and comes back', async t => {
  const stage = await start(t);
  const calls = await underWay(stage);
  stage.app.stop();
  for (const call of calls) {
    const { code } = (await call).status;
    t.ok([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL].includes(code), `status ${code}`);
  }
  t.equal((await ask(stage.client)).status.code, status.UNAVAILABLE, 'while it is away');
  await startGrpcApp(t, { port: stage.app.port });
  await recovers(t, stage.client);
});

t.test('no call hangs or is answered wrongly however often the network is cut', async t => {
  const { client, relay } = await start(t);
  const codes = new Map<number, number>();
  for (let round = 0; round < 15; round++) {
    const calls = Array.from({ length: 40 }, async (_, i) => {
      const asked = Buffer.alloc(1 + 1_000 * i, `${round} ${i} `);
      const { status: end, answer } = await unary(client, ECHO.Unary, asked);
      codes.set(end.code, (codes.get(end.code) ?? 0) + 1);
      if (end.code === status.OK && !answer?.equals(asked)) t.fail('another answer');
    });
    await Promise.race(calls);
    relay.cut();
    await Promise.all(calls);
  }
  for (const code of codes.keys())
    t.ok([status.OK, status.UNAVAILABLE, status.INTERNAL].includes(code), `status ${code}`);
  await recovers(t, client);
});
