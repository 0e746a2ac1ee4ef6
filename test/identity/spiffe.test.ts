import t from 'tap';
import { parseSpiffeId } from '../../src/identity/spiffe.ts';

const LONGEST = `spiffe://td/${'a'.repeat(2048 - 'spiffe://td/'.length)}`;

const ACCEPTED: [uri: string, namespace: string | null, serviceAccount: string | null][] = [
  ['spiffe://cluster.local/ns/foo/sa/sleep', 'foo', 'sleep'],
  ['spiffe://cluster.local/ns/foo.bar/sa/a_b-C.9', 'foo.bar', 'a_b-C.9'],
  ['spiffe://td/workload', null, null],
  ['spiffe://td/ns/foo/sa', null, null],
  ['spiffe://td/ns/foo/sa/sleep/extra', null, null],
  ['spiffe://td/NS/foo/sa/sleep', null, null],
  ['spiffe://td/sa/sleep/ns/foo', null, null],
  ['spiffe://10.0.0.1/x', null, null],
  ['spiffe://a_b-c.d/.../..x/.y', null, null],
  [`spiffe://${'t'.repeat(255)}/x`, null, null],
  [LONGEST, null, null],
];

const REFUSED: [uri: string, reason: string][] = [
  ['', 'not_spiffe_scheme'],
  ['https://td/x', 'not_spiffe_scheme'],
  ['Spiffe://td/x', 'not_spiffe_scheme'],
  ['SPIFFE://td/x', 'not_spiffe_scheme'],
  [' spiffe://td/x', 'not_spiffe_scheme'],
  ['spiffe:/td/x', 'not_spiffe_scheme'],
  ['spiffe://', 'no_trust_domain'],
  ['spiffe:///x', 'no_trust_domain'],
  ['spiffe://TD/x', 'bad_trust_domain'],
  ['spiffe://td:80/x', 'bad_trust_domain'],
  ['spiffe://user@td/x', 'bad_trust_domain'],
  ['spiffe://[::1]/x', 'bad_trust_domain'],
  ['spiffe://t%64/x', 'bad_trust_domain'],
  ['spiffe://td?x=/y', 'bad_trust_domain'],
  ['spiffe://tд/x', 'bad_trust_domain'],
  [`spiffe://${'t'.repeat(256)}/x`, 'bad_trust_domain'],
  ['spiffe://td', 'no_path'],
  ['spiffe://td/', 'no_path'],
  ['spiffe://td//ns', 'bad_path'],
  ['spiffe://td/ns//sa/x', 'bad_path'],
  ['spiffe://td/ns/foo/sa/', 'bad_path'],
  ['spiffe://td/ns//sa/', 'bad_path'],
  ['spiffe://td/a/', 'bad_path'],
  ['spiffe://td/a/../b', 'bad_path'],
  ['spiffe://td/.', 'bad_path'],
  ['spiffe://td/..', 'bad_path'],
  ['spiffe://td/./b', 'bad_path'],
  ['spiffe://td/%61', 'bad_path'],
  ['spiffe://td/a?q', 'bad_path'],
  ['spiffe://td/a#f', 'bad_path'],
  ['spiffe://td/a b', 'bad_path'],
  ['spiffe://td/a\n', 'bad_path'],
  ['spiffe://td/a\0', 'bad_path'],
  ['spiffe://td/a\\b', 'bad_path'],
  ['spiffe://td/é', 'bad_path'],
  [`${LONGEST}a`, 'too_long'],
];

for (const [uri, namespace, serviceAccount] of ACCEPTED) {
  t.test(`accepts ${uri.slice(0, 60)}`, async t => {
    const parsed = parseSpiffeId(uri);
    if (!parsed.ok) return t.fail(parsed.reason);
    t.equal(parsed.id.uri, uri);
    t.equal(`spiffe://${parsed.id.trustDomain}${parsed.id.path}`, uri, 'the parts are the whole, unfolded');
    t.equal(parsed.id.namespace, namespace);
    t.equal(parsed.id.serviceAccount, serviceAccount);
  });
}

for (const [uri, reason] of REFUSED) {
  t.test(`refuses ${JSON.stringify(uri).slice(0, 60)} as ${reason}`, async t => {
    t.strictSame(parseSpiffeId(uri), { ok: false, reason });
  });
}
