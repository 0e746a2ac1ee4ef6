import t from 'tap';
import { parseListenFds } from '../../src/config/listen-fds.ts';

const OWN = { pid: 40, ppid: 39 };
const GIVEN = { LISTEN_PID: '40', LISTEN_FDS: '2', LISTEN_FDNAMES: 'inbound:outbound' };
const BOTH = [
  { descriptor: 3, name: 'inbound' },
  { descriptor: 4, name: 'outbound' },
];
const UNNAMED = BOTH.map(({ descriptor }) => ({ descriptor, name: 'unknown' }));

for (const [what, environment, expected] of [
  ['descriptors from 3 on, with their names', {}, BOTH],
  ['without names', { LISTEN_FDNAMES: undefined }, UNNAMED],
  ['with fewer names', { LISTEN_FDNAMES: 'inbound' }, [BOTH[0], UNNAMED[1]]],
  ['none', { LISTEN_FDS: '0' }, []],
  ['another process', { LISTEN_PID: '41' }, []],
  ['nobody', { LISTEN_PID: undefined }, []],
  ["the parent's, not passed on", { LISTEN_PID: '39' }, []],
  ["the parent's, passed on", { LISTEN_PID: '39', OUTRIDER_LISTEN_PARENT: '39' }, BOTH],
  ['passed on to another', { LISTEN_PID: '38', OUTRIDER_LISTEN_PARENT: '38' }, []],
] as const)
  t.test(what, async t => t.same(parseListenFds({ ...GIVEN, ...environment }, OWN), expected));

t.test('a count that is no number', async t => {
  for (const LISTEN_FDS of ['', '-1', '1.5', '0x2', '99999'])
    t.throws(() => parseListenFds({ ...GIVEN, LISTEN_FDS }, OWN), { message: /^LISTEN_FDS is '/ });
});
