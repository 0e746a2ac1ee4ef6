import t from 'tap';
import { H1Client } from '../../src/http/h1-client.ts';
import { FakeUpstream } from './http-upstream.ts';

const MEMO = 'outrider-h2';

t.test(
  'while nothing is known, one connection is made and the others wait for what it agrees to',
  async t => {
    const fake = new FakeUpstream();
    const requests = fake.requests(3);
    t.equal(fake.attempts.length, 1);
    t.equal(fake.last.wants, 'http1');
    fake.last.made(MEMO);
    t.same(
      requests.map(({ on }) => on),
      [fake.shared[0], fake.shared[0], fake.shared[0]],
    );
    t.equal(fake.shared[0]?.memo, true);
    t.equal(fake.attempts.length, 1);
  },
);

t.test('a peer that agrees to HTTP/1.1 gets a connection for each request at a time', async t => {
  for (const protocol of ['http/1.1', 'istio', null]) {
    const fake = new FakeUpstream();
    const requests = fake.requests(3);
    fake.last.made(protocol);
    t.ok(requests[0]?.stream instanceof H1Client, 'who waited longest has the first');
    t.equal(fake.attempts.length, 3, 'the others get their own');
    const later = fake.request();
    t.equal(fake.attempts.length, 4, 'nobody waits for another any more');
    fake.last.made(protocol);
    t.ok(later.stream instanceof H1Client);
  }
});

t.test('a connection is opened only when all are full, one at a time', async t => {
  const fake = new FakeUpstream({ room: 2 });
  const requests = fake.requests(2);
  fake.last.made(MEMO);
  const more = fake.requests(3);
  t.equal(fake.attempts.length, 2);
  fake.last.made(MEMO);
  t.same(
    more.map(({ on }) => on === fake.shared[1]),
    [true, true, false],
  );
  t.equal(fake.attempts.length, 3);
  requests[0]?.end();
  t.equal(more[2]?.on, fake.shared[0], 'room that comes before the connection is used');
});

t.test('the oldest with room is filled first, so that the others become idle', async t => {
  const fake = new FakeUpstream({ room: 2 });
  const requests = fake.requests(2);
  fake.last.made(MEMO);
  fake.requests(1);
  fake.last.made(MEMO);
  for (const request of requests) request.end();
  t.equal(fake.request().on, fake.shared[0]);
});

t.test('who waits gets room as soon as the server allows more', async t => {
  const fake = new FakeUpstream({ room: 1 });
  fake.request();
  fake.last.made(MEMO);
  const waiting = fake.request();
  fake.shared[0]?.widen(5);
  t.equal(waiting.on, fake.shared[0]);
});

t.test('when the first connection fails, so does every request that waited for it', async t => {
  const fake = new FakeUpstream();
  const requests = fake.requests(3);
  fake.last.failed('ECONNREFUSED');
  t.same(
    requests.map(({ failure }) => failure),
    Array(3).fill('connect_failed: ECONNREFUSED'),
  );
  t.equal(fake.attempts.length, 1);
  t.equal(fake.upstream.pool.open, 0);
});

t.test('requests that are tried again after it wait for one connection again', async t => {
  const fake = new FakeUpstream();
  const requests = fake.requests(3);
  const again: ReturnType<FakeUpstream['request']>[] = [];
  for (const request of requests) request.onFailure = () => again.push(fake.request());
  fake.last.failed('ECONNREFUSED');
  t.equal(fake.attempts.length, 2);
  fake.last.made(MEMO);
  t.ok(again.every(({ on }) => on === fake.shared[0]));
});

t.test('where others are open, only one request pays for a connection that could not be made', async t => {
  const fake = new FakeUpstream({ room: 1 });
  const first = fake.request();
  fake.last.made(MEMO);
  const waiting = fake.requests(2);
  fake.last.failed('handshake_timeout');
  t.same(
    waiting.map(({ failure }) => failure !== null),
    [true, false],
  );
  first.end();
  t.equal(waiting[1]?.on, fake.shared[0]);
});

t.test('no more wait than may; the one for whom a connection is made does not count', async t => {
  const fake = new FakeUpstream({ limits: { maxPending: 1 } });
  const requests = fake.requests(3);
  t.same(
    requests.map(({ failure }) => failure),
    [null, null, 'overflow: too many pending requests'],
  );
});

t.test('no more connections than may be are opened', async t => {
  const fake = new FakeUpstream({ room: 1, limits: { maxConnections: 2 } });
  const requests = fake.requests(3);
  fake.last.made(MEMO);
  fake.last.made(MEMO);
  t.equal(fake.attempts.length, 2);
  t.equal(requests[2]?.on, null);
  requests[1]?.end();
  t.equal(requests[2]?.on, fake.shared[1]);
});

t.test(
  'a request that needs its own connection has one of HTTP/1.1, beyond the limit if it is the first',
  async t => {
    const fake = new FakeUpstream({ limits: { maxConnections: 1 } });
    fake.request();
    fake.last.made(MEMO);
    const alone = fake.requests(2, 'http1-alone');
    t.equal(fake.attempts.length, 2);
    t.equal(fake.last.wants, 'http1-alone');
    fake.last.made(MEMO);
    t.ok(alone[0]?.stream instanceof H1Client, 'whatever the peer agreed to');
    t.equal(alone[1]?.stream, null);
  },
);

t.test('a connection takes as many requests as it may, and closes when the last is done', async t => {
  const fake = new FakeUpstream({ limits: { maxRequestsPerConnection: 2 } });
  const requests = fake.requests(3);
  fake.last.made(MEMO);
  const [first] = fake.shared;
  t.same([first?.opened, first?.retired, first?.gone], [2, true, false]);
  t.equal(fake.attempts.length, 2, 'another is opened for the third');
  requests[0]?.end();
  requests[1]?.end();
  t.equal(first?.gone, true);
  fake.last.made(MEMO);
  t.equal(requests[2]?.on, fake.shared[1]);
});

t.test('after new certificates nothing new begins on the connections there are', async t => {
  const fake = new FakeUpstream();
  const request = fake.request();
  fake.last.made(MEMO);
  fake.upstream.renew();
  t.same([fake.shared[0]?.retired, fake.shared[0]?.gone], [true, false]);
  const later = fake.request();
  t.equal(fake.attempts.length, 2);
  request.end();
  t.equal(fake.shared[0]?.gone, true);
  fake.last.made(MEMO);
  t.equal(later.on, fake.shared[1]);
});

t.test('a connection that was begun before them serves who waited for it, and nobody else', async t => {
  const fake = new FakeUpstream();
  const waiting = fake.requests(2);
  fake.upstream.renew();
  fake.last.made(MEMO);
  t.ok(waiting.every(({ on }) => on === fake.shared[0]));
  t.equal(fake.shared[0]?.retired, true);
  fake.request();
  t.equal(fake.attempts.length, 2);
});

t.test('renewal with requests in the queue opens another connection for them', async t => {
  const fake = new FakeUpstream({ room: 1, limits: { maxConnections: 1 } });
  fake.request();
  fake.last.made(MEMO);
  const waiting = fake.request();
  fake.upstream.renew();
  t.equal(fake.attempts.length, 2);
  fake.last.made(MEMO);
  t.equal(waiting.on, fake.shared[1]);
});

t.test('a closed upstream ends every connection when its last request is done', async t => {
  const fake = new FakeUpstream();
  const request = fake.request();
  fake.last.made(MEMO);
  fake.upstream.close();
  t.equal(fake.shared[0]?.gone, false);
  request.end();
  t.same([fake.shared[0]?.gone, fake.upstream.pool.open], [true, 0]);
});

t.test('a connection that the server retires is replaced for those that wait', async t => {
  const fake = new FakeUpstream({ room: 2 });
  const [first] = fake.requests(2);
  fake.last.made(MEMO);
  fake.shared[0]?.retire();
  const later = fake.request();
  fake.last.made(MEMO);
  t.equal(later.on, fake.shared[1]);
  t.equal(first?.on?.gone, false);
});

t.test('a connection stands on its peer: watched while it is open, retired with it', async t => {
  const fake = new FakeUpstream();
  const request = fake.request();
  fake.last.made(MEMO);
  const [made] = fake.watched;
  t.equal(made?.direction, 'outbound');
  made?.retire('expired' as never);
  t.same([fake.shared[0]?.retired, fake.shared[0]?.gone], [true, false]);
  fake.request();
  t.equal(fake.attempts.length, 2);
  request.end();
  t.equal(fake.watched.size, 0);
});

t.test('an endpoint that speaks another protocol later is followed, both ways', async t => {
  const fake = new FakeUpstream({ room: 1 });
  fake.request();
  const plain = fake.last.made('http/1.1');
  plain.destroy();
  await new Promise(resolve => plain.once('close', resolve));
  const second = fake.request();
  fake.last.made(MEMO);
  t.equal(second.on, fake.shared[0]);
  const waiting = fake.requests(2);
  t.equal(fake.attempts.length, 3, 'one at a time again');
  fake.last.made('http/1.1');
  t.ok(waiting[0]?.stream instanceof H1Client);
  t.equal(fake.attempts.length, 4);
});

t.test('requests that waited for HTTP/1.1 are served when the endpoint speaks HTTP/2', async t => {
  const fake = new FakeUpstream({ limits: { maxConnections: 1 } });
  fake.request();
  const plain = fake.last.made('http/1.1');
  const waiting = fake.requests(3);
  t.equal(fake.attempts.length, 1);
  plain.destroy();
  await new Promise(resolve => plain.once('close', resolve));
  fake.last.made(MEMO);
  t.ok(waiting.every(({ on }) => on === fake.shared[0]));
});

t.test('HTTP/2 is spoken to whoever agrees to it, to a mark alone, to nothing, and in plaintext', async t => {
  for (const protocol of ['h2', 'istio-h2', 'istio', null, undefined]) {
    const fake = new FakeUpstream({ sharing: { speaks: 'http2' } });
    const request = fake.request('http2');
    fake.last.made(protocol);
    t.equal(request.on?.memo, false, `${protocol}`);
  }
  const fake = new FakeUpstream({ sharing: { speaks: 'http2' } });
  const request = fake.request('http2');
  fake.last.made('http/1.1');
  t.ok(request.stream instanceof H1Client, 'but not to who agrees to HTTP/1.1');
});

t.test('where it is only a wish, it is spoken to who agrees to it', async t => {
  for (const [protocol, http2] of [
    ['h2', true],
    [undefined, true],
    ['istio', false],
    [null, false],
    ['http/1.1', false],
  ] as const) {
    const fake = new FakeUpstream({ sharing: { speaks: 'http2', fallsBack: true } });
    const request = fake.request('http2');
    fake.last.made(protocol);
    t.equal(request.on !== null, http2, `${protocol}`);
  }
});

t.test('a connection without a request for longer than allowed is retired', async t => {
  const fake = new FakeUpstream();
  const request = fake.request();
  fake.last.made(MEMO);
  const [connection] = fake.shared;
  const sweep = (): void => fake.upstream.sweep(fake.clock.now);
  for (const busy of [true, false]) {
    sweep();
    fake.clock.advance(60_001);
    sweep();
    if (!busy) break;
    t.equal(connection?.gone, false, 'not while one is under way');
    request.end();
  }
  t.equal(connection?.gone, true);
});

t.test('a request that goes away leaves the queue', async t => {
  const fake = new FakeUpstream();
  const [first, second] = fake.requests(2);
  if (first === undefined) throw new Error('no request');
  first.gone = true;
  fake.upstream.forget(first);
  fake.last.made(MEMO);
  t.same([first.stream, second?.on], [null, fake.shared[0]]);
});
