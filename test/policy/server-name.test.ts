import t from 'tap';
import type { AuthorizationPolicy, Rule } from '../../src/config/resources.ts';
import { compileAuthorization } from '../../src/policy/compile.ts';
import { looksAtServerName } from '../../src/policy/server-name.ts';
import { policy } from './world.ts';

function looks(...policies: AuthorizationPolicy[]): boolean {
  const mesh = {
    rootNamespace: 'istio-system',
    trustDomain: 'td',
    trustDomainAliases: [],
    providers: [{ name: 'authz', kind: 'grpc' as const }],
    multipleProviders: false,
  };
  return looksAtServerName(
    compileAuthorization({ policies, workload: { namespace: 'foo', labels: {} }, mesh }),
  );
}

const NAME: Partial<Rule> = { when: [{ key: 'connection.sni', values: [], notValues: ['a.foo'] }] };
const PATH: Partial<Rule> = { to: [{ paths: ['/a'] }] };

t.test('the server name counts where a rule asks for it, whatever the rule does', t => {
  for (const action of ['ALLOW', 'DENY', 'AUDIT'] as const) {
    t.equal(looks(policy(action, [PATH, NAME])), true, action);
    t.equal(looks(policy(action, [PATH])), false, `${action} of a path`);
  }
  t.equal(looks(policy('DENY', [NAME], { dryRun: true })), true, 'under dry-run');
  t.equal(looks(policy('ALLOW', [{ ...PATH, ...NAME }])), true, 'beside other clauses');
  t.end();
});

t.test('it counts where an external authorizer is asked, who is told it', t => {
  t.equal(looks(policy('CUSTOM', [PATH], { provider: 'authz' })), true);
  t.equal(looks(), false, 'and not where there is no policy');
  t.end();
});

t.test('a policy of other workloads does not count', t => {
  t.equal(
    looks({ ...policy('DENY', [NAME]), metadata: { ...policy('DENY', []).metadata, namespace: 'bar' } }),
    false,
  );
  t.end();
});
