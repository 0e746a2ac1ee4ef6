import t from 'tap';
import { expandTrustDomain, expandTrustDomains } from '../../src/policy/trust-domain.ts';

/** says, the mesh's trust domain and aliases, principals, what they become (Istio's own vectors). */
const TABLE: readonly (readonly [string, readonly string[], readonly string[], readonly string[]])[] = [
  ['no aliases', ['cluster.local'], ['cluster.local/ns/foo/sa/bar'], ['cluster.local/ns/foo/sa/bar']],
  ['a star', ['cluster.local'], ['*'], ['*']],
  ['any trust domain', ['cluster.local'], ['*/ns/foo/sa/bar'], ['*/ns/foo/sa/bar']],
  ['an alias', ['td2', 'td1'], ['td1/ns/foo/sa/bar'], ['td2/ns/foo/sa/bar', 'td1/ns/foo/sa/bar']],
  [
    'two principals',
    ['td1', 'cluster.local'],
    ['cluster.local/ns/foo/sa/bar', 'cluster.local/ns/yyy/sa/zzz'],
    ['td1/ns/foo/sa/bar', 'cluster.local/ns/foo/sa/bar', 'td1/ns/yyy/sa/zzz', 'cluster.local/ns/yyy/sa/zzz'],
  ],
  [
    'other forms',
    ['td1', 'cluster.local'],
    ['*/ns/foo/sa/bar', '*sa/zzz', '*'],
    ['*/ns/foo/sa/bar', '*sa/zzz', '*'],
  ],
  [
    'cluster.local is the mesh, whatever it is called',
    ['td2', 'td1'],
    ['cluster.local/ns/foo/sa/bar'],
    ['td2/ns/foo/sa/bar', 'td1/ns/foo/sa/bar'],
  ],
  [
    'a leading star stays for the domain that it covers',
    ['td2', 'foo-td1', 'cluster.local'],
    ['*-td1/ns/foo/sa/bar'],
    ['td2/ns/foo/sa/bar', '*-td1/ns/foo/sa/bar', 'cluster.local/ns/foo/sa/bar'],
  ],
  ['and stands once', ['new-td', 'old-td'], ['*-td/ns/some-ns/sa/some-sa'], ['*-td/ns/some-ns/sa/some-sa']],
  ['a foreign domain', ['td1', 'td2'], ['some-td/ns/foo/sa/bar'], ['some-td/ns/foo/sa/bar']],
  [
    'one of two',
    ['new-td', 'td2', 'td3'],
    ['td1/ns/some-ns/sa/some-sa', 'td2/ns/foo/sa/bar'],
    ['td1/ns/some-ns/sa/some-sa', 'new-td/ns/foo/sa/bar', 'td2/ns/foo/sa/bar', 'td3/ns/foo/sa/bar'],
  ],
  ['an empty trust domain', ['new-td', 'td2'], ['/ns/some-ns/sa/some-sa'], ['/ns/some-ns/sa/some-sa']],
];

t.test('principals under trust-domain aliases', t => {
  for (const [says, domains, principals, expected] of TABLE) {
    t.same(expandTrustDomains(principals, domains), expected, says);
  }
  t.end();
});

t.test('a trust domain of the mesh names all of them; cluster.local is a name like any other', t => {
  t.same(expandTrustDomain(['td2'], ['td1', 'td2']), ['td1', 'td2']);
  t.same(expandTrustDomain(['td2', 'x', 'td1'], ['td1', 'td2']), ['td1', 'td2', 'x']);
  t.same(expandTrustDomain(['cluster.local', 'td*', '*'], ['td1', 'td2']), ['cluster.local', 'td*', '*']);
  t.end();
});
