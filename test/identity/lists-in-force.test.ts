/** Which lists are in force after what their sources said, one after the other. */
import t from 'tap';
import { linkOf } from '../../src/identity/chain.ts';
import { authoritiesOf, ListsInForce, type SaidLists } from '../../src/identity/lists-in-force.ts';
import { testAuthority, testCrl, testIdentity, testIntermediate } from '../certificates.ts';

const now = Math.floor(Date.now() / 1_000) * 1_000;
const HOUR_MS = 3_600_000;
const root = await testAuthority();
const intermediate = await testIntermediate(root);
const other = await testAuthority({ name: 'another CA' });
const authorities = authoritiesOf(await testIdentity(intermediate, 'foo/httpbin'));

const ofRoot = await testCrl(root, []);
const ofIntermediate = await testCrl(intermediate, ['01']);
const both = ofRoot + ofIntermediate;
const more = ofRoot + (await testCrl(intermediate, ['01', '02']));
const old = ofRoot + (await testCrl(intermediate, ['01', '02', '03'], { nextUpdate: now - 1_000 }));
const foreign = await testCrl(other, ['01']);

function bytes(text: string): SaidLists {
  return { file: 'crl.pem', bytes: Buffer.from(text) };
}

function none(why: 'gone' | 'missing' | 'dropped'): SaidLists {
  return { file: 'crl.pem', none: why };
}

/** After a good list, what becomes of what is said next. */
const CASES: readonly (readonly [
  says: string,
  said: SaidLists,
  inForce: string | null,
  fault: string | null,
])[] = [
  ['a newer list takes its place', bytes(more), more, null],
  ['half of a list', bytes(more.slice(0, -40)), both, 'bad_crl'],
  ['a certificate', bytes(root.rootPem), both, 'bad_crl'],
  ['nothing in the file', bytes(''), both, 'bad_crl'],
  ['a list for one CA of the two', bytes(ofRoot), both, 'crl_incomplete'],
  ['lists of another CA', bytes(foreign), both, 'crl_incomplete'],
  ['a list that is out of date where the one in force is not', bytes(old), both, 'crl_expired'],
  ['the file is taken away', none('gone'), both, 'crl_missing'],
  ['a file that was named is not there', none('missing'), both, 'crl_missing'],
  ['it is not wanted any more', none('dropped'), null, null],
];

for (const [says, said, inForce, reason] of CASES) {
  t.test(`${says}: ${reason ?? 'in force'}`, async t => {
    const lists = new ListsInForce();
    lists.say('folder', bytes(both));
    t.match(lists.weigh(authorities, now), { ok: true, fault: null });
    t.equal(lists.pem, both);
    lists.say('folder', said);
    const { ok, fault } = lists.weigh(authorities, now);
    t.equal(ok, true, 'certificates are not held up');
    t.equal(fault?.reason ?? null, reason);
    t.equal(lists.pem, inForce);
    lists.say('folder', bytes(more));
    t.match(lists.weigh(authorities, now), { ok: true, fault: null }, 'a good one mends it');
    t.equal(lists.pem, more);
  });
}

t.test('what is wrong at the start holds the identity up until it is right', async t => {
  for (const [said, reason] of [
    [bytes('x'), 'bad_crl'],
    [bytes(ofRoot), 'crl_incomplete'],
    [bytes(old), 'crl_expired'],
    [none('missing'), 'crl_missing'],
  ] as const) {
    const lists = new ListsInForce();
    lists.say('folder', said);
    t.match(lists.weigh(authorities, now), { ok: false, fault: { reason } });
    t.equal(lists.pem, null);
    lists.say('folder', bytes(both));
    t.match(lists.weigh(authorities, now), { ok: true, fault: null });
  }
  const without = new ListsInForce();
  without.say('folder', none('gone'));
  t.match(without.weigh(authorities, now), { ok: true, fault: null }, 'nobody wants lists');
});

t.test('sources add up, and one that is bad leaves the others alone', async t => {
  const lists = new ListsInForce();
  lists.say('folder', bytes(ofIntermediate));
  lists.say('mesh', { file: 'mesh.pem', bytes: Buffer.from(ofRoot) });
  t.match(lists.weigh(authorities, now), { ok: true, fault: null });
  t.equal(lists.pem, ofIntermediate + ofRoot);
  t.match(lists.summaries, [
    { file: 'crl.pem', revoked: 1 },
    { file: 'mesh.pem', revoked: 0 },
  ]);
  lists.say('mesh', { file: 'mesh.pem', bytes: Buffer.from('x') });
  t.match(lists.weigh(authorities, now).fault, { file: 'mesh.pem', reason: 'bad_crl' });
  t.equal(lists.pem, ofIntermediate + ofRoot);
});

t.test('a list in force that goes out of date is told of, and goes on to count', async t => {
  const lists = new ListsInForce();
  lists.say('folder', bytes(ofRoot + (await testCrl(intermediate, ['01'], { nextUpdate: now + HOUR_MS }))));
  t.equal(lists.weigh(authorities, now).fault, null);
  t.equal(lists.nextEnd(now), now + HOUR_MS);
  const { pem } = lists;
  t.match(lists.weigh(authorities, now + HOUR_MS + 1), { ok: true, fault: { reason: 'crl_expired' } });
  t.equal(lists.pem, pem);
});

t.test('lists whose CA left the bundle are let go when their file is', async t => {
  const lists = new ListsInForce();
  lists.say('folder', bytes(both));
  lists.weigh(authorities, now);
  const next = [linkOf(other.rootPem)].filter(link => link !== null);
  lists.say('folder', none('gone'));
  t.match(lists.weigh(next, now), { ok: true, fault: null });
  t.equal(lists.pem, null);
});
