import fc from 'fast-check';
import t from 'tap';
import {
  compileAccounts,
  compileNamespaces,
  compileTrustDomains,
  inNamespace,
  inTrustDomain,
  isAccount,
} from '../../src/policy/identity-patterns.ts';

// What principals are made of, also such as no certificate may hold.
const pieces = fc.constantFrom('ns', 'sa', 'foo', 'a', 'fo', '', 'foo.x', 'sa/a', '/');
const principals = fc
  .tuple(fc.constantFrom('spiffe://', 'spiffe://td', 'http://td', ''), fc.array(pieces, { maxLength: 9 }))
  .map(([start, parts]) => [start, ...parts].join('/'));
const quoted = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Whether Istio's regular expression for the value matches the whole principal. */
function istioMatches(pattern: string, principal: string): boolean {
  return new RegExp(`^(?:${pattern})$`).test(principal);
}

t.test('service accounts are matched as by the regular expression of Istio', t => {
  const values = fc.constantFrom('a', 'foo', 'foo/a', 'foo/foo', 'ns/a', 'ns/sa', 'sa/ns', 'foo.x/a');
  fc.assert(
    fc.property(values, principals, (value, principal) => {
      const [namespace, account] = value.includes('/') ? value.split('/') : ['foo', value];
      const pattern = `spiffe://.+/ns/${quoted(namespace!)}/(.+/|)sa/${quoted(account!)}(/.+)?`;
      return isAccount(compileAccounts([value], 'foo'), principal) === istioMatches(pattern, principal);
    }),
    { numRuns: 30_000 },
  );
  t.pass();
  t.end();
});

t.test('namespaces are matched as by the regular expression of Istio', t => {
  const values = fc.constantFrom(
    'foo',
    'ns',
    'sa',
    'f*',
    '*o',
    'f*o',
    '*',
    'f*x*',
    'foo.x',
    'foo/sa',
    's*/a',
  );
  fc.assert(
    fc.property(values, principals, (value, principal) => {
      const pattern = `.*/ns/${value.split('*').map(quoted).join('.*')}/.*`;
      return inNamespace(compileNamespaces([value]), principal) === istioMatches(pattern, principal);
    }),
    { numRuns: 30_000 },
  );
  t.pass();
  t.end();
});

t.test('trust domains are matched as by the regular expression of Istio', t => {
  const values = fc.constantFrom('td', 'foo', 't*', '*d', '*td', 'td*', 't*d', 'foo.x', 'foo*');
  fc.assert(
    fc.property(values, principals, (value, principal) => {
      const pattern = `spiffe://${value.split('*').map(quoted).join('[^/]*')}/.*`;
      return inTrustDomain(compileTrustDomains([value]), principal) === istioMatches(pattern, principal);
    }),
    { numRuns: 30_000 },
  );
  t.ok(inTrustDomain(compileTrustDomains(['*']), 'spiffe://td'), 'a star takes any');
  t.notOk(inTrustDomain(compileTrustDomains(['*']), 'http://td/x'), 'SPIFFE ID');
  t.end();
});
