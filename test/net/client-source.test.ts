import t from 'tap';
import { type Bound, ClientSource } from '../../src/net/client-source.ts';
import type { NotBound } from '../../src/net/transparent-socket.ts';

const HOST = '127.0.0.1';
const CLIENT = '192.0.2.1';

interface Made {
  readonly source: ClientSource;
  readonly warned: string[];
  readonly asked: string[];
  bound(client?: string): Promise<Bound>;
}

/** What binding gives, one after the other. */
function made(...outcomes: readonly NotBound[]): Made {
  const warned: string[] = [];
  const asked: string[] = [];
  const left = [...outcomes];
  const source = new ClientSource({
    warn: (_, { reason }) => warned.push(String(reason)),
    bind: ({ address }) => {
      asked.push(address);
      const next = left.shift();
      if (next === undefined) throw new Error('bound once more than thought');
      return next;
    },
  });
  const bound = (client = CLIENT): Promise<Bound> =>
    new Promise(resolve => source.bind(client, HOST, resolve));
  return { source, warned, asked, bound };
}

const EPERM = { code: 'EPERM', why: 'no power' };
const EMFILE = { code: 'EMFILE', why: 'no socket: EMFILE' };

t.test('what is missing is said once, and connections go on without', async t => {
  const { warned, asked, bound } = made(EPERM);
  t.same(await Promise.all([bound(), bound('192.0.2.2'), bound()]), [null, null, null]);
  t.equal(await bound(), null);
  t.same(asked, [CLIENT], 'asked once, and not again for a while');
  t.same(warned, ['no power']);
});

t.test('what is short for a moment fails the connection: it comes from no other address', async t => {
  const { warned, asked, bound } = made(EMFILE, EMFILE);
  t.same(await Promise.all([bound(), bound()]), ['EMFILE', 'EMFILE']);
  t.equal(await bound(), 'EMFILE', 'and is asked for again');
  t.equal(asked.length, 2);
  t.same(warned, []);
});

t.test('a client on this host needs no proof, and proves nothing', async t => {
  const { asked, bound } = made(EMFILE, EPERM);
  t.equal(await bound('127.0.0.1'), 'EMFILE');
  t.equal(await bound(CLIENT), null);
  t.same(asked, ['127.0.0.1', CLIENT]);
});

t.test('an address that nobody can listen on is no place for an app', async t => {
  const { warned, source } = made();
  const bound = await new Promise<Bound>(resolve => source.bind(CLIENT, '192.0.2.9', resolve));
  t.equal(bound, null);
  t.match(warned, [/^no listener on 192\.0\.2\.9: EADDRNOTAVAIL$/]);
});
