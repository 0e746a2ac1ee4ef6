import t from 'tap';
import { nothingMatched } from '../../src/policy/decision.ts';
import { decisionHeader, type Refusal } from '../../src/policy/decision-header.ts';

const NOTHING: Refusal = { policy: null, rule: null, missed: null, reason: '' };

t.test('the header names what refused', async t => {
  const reason = 'rbac_access_denied_matched_policy[ns[foo]-policy[p]-rule[0]]';
  t.equal(
    decisionHeader({ ...NOTHING, policy: 'foo/p', rule: 0, reason }),
    `policy=foo/p; rule=0; reason=${reason}`,
  );
  t.equal(
    decisionHeader(nothingMatched(['foo/a', 'foo/b'])),
    'missed=foo/a,foo/b; reason=rbac_access_denied_matched_policy[none]',
  );
  t.equal(
    decisionHeader({ ...NOTHING, reason: 'jwt_authn_access_denied{Jwt_is_expired}' }),
    'reason=jwt_authn_access_denied{Jwt_is_expired}',
  );
  t.equal(
    decisionHeader({ ...NOTHING, policy: 'foo/c', rule: 1, reason: 'ext_authz_denied' }, 'opa'),
    'provider=opa; policy=foo/c; rule=1; reason=ext_authz_denied',
  );
});

t.test('a name cannot end the line, forge a part or grow without end', async t => {
  const forged = decisionHeader({ ...NOTHING, policy: 'foo/a; reason=ok\r\nset-cookie: x\u00e9', rule: 0 });
  t.equal(forged, 'policy=foo/a__reason=ok__set-cookie:_x_; rule=0');
  t.match(forged, /^[\x20-\x7e]*$/);
  const long = decisionHeader(nothingMatched(Array.from({ length: 5_000 }, (_, i) => `foo/p${i}`)));
  t.ok(long.length < 700);
});
