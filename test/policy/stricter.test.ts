import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type DecisionDifference, STRICTER, stricterBehaviour } from './stricter.ts';

const DOC = readFileSync(join(import.meta.dirname, '../../docs/POLICY.md'), 'utf8');

t.test('docs/POLICY.md lists every stricter behaviour, in the same words', async t => {
  for (const { id, what, why } of STRICTER) t.match(DOC, `| \`${id}\` | ${what} | ${why} |`, id);
  const [section = ''] = /^## Stricter than Istio\n[\s\S]*?(?=^## )/m.exec(DOC) ?? [];
  const listed = [...section.matchAll(/^\| `([a-z0-9-]+)` \| .* \| .* \|$/gm)].map(([, id]) => id);
  t.same(listed.sort(), STRICTER.map(({ id }) => id).sort(), 'and no other');
});

const ALLOWED = { decision: 'allow' };

function difference(
  request: DecisionDifference['request'],
  got: DecisionDifference['got'],
  expect: DecisionDifference['expect'] = ALLOWED,
): DecisionDifference {
  return { request, expect, got };
}

t.test('what each entry that explain can show excuses, and what it does not', async t => {
  const unreadable = { decision: 'deny', reason: 'bad_spiffe_id' };
  const host = { decision: 'deny', status: 400, reason: 'bad_request: invalid Host' };
  const table: readonly (readonly [string | null, DecisionDifference])[] = [
    [
      'unreadable-principal',
      difference({ source: { principal: 'spiffe://a.example/ns//sa/web' } }, unreadable),
    ],
    [
      'unreadable-principal',
      difference({ source: { principal: 'spiffe://a.example/ns/foo/sa/a%20b' } }, unreadable),
    ],
    [null, difference({ source: { principal: 'spiffe://a.example/ns/foo/sa/web' } }, unreadable)],
    [null, difference({ source: { principal: 'spiffe://a.example/ns//sa/web' } }, { decision: 'deny' })],
    ['host-port', difference({ request: { host: 'a.com:' } }, host)],
    ['host-port', difference({ request: { host: 'a.com:http' } }, host)],
    [null, difference({ request: { host: 'a.com:80' } }, host)],
    [null, difference({ request: { host: 'a.com:' } }, { ...host, reason: 'bad_request: invalid path' })],
    [
      'dot-segments-with-parameters',
      difference(
        { request: { path: '/a/%2e%2e;/b' } },
        { ...ALLOWED, path: '/b' },
        { ...ALLOWED, path: '/a/..;/b' },
      ),
    ],
    [
      null,
      difference({ request: { path: '/a/..;/b' } }, { ...ALLOWED, path: '/b' }, { ...ALLOWED, path: '/a/b' }),
    ],
  ];
  for (const [id, one] of table) t.equal(stricterBehaviour(one)?.id ?? null, id, JSON.stringify(one));
});

t.test('what Outrider allows and Istio denies is never excused', async t => {
  const denied = { decision: 'deny', path: '/a/..;/b' };
  const excusable = difference({ request: { path: '/a/%2e%2e;/b' } }, { ...ALLOWED, path: '/b' }, denied);
  t.equal(stricterBehaviour(excusable), null);
});
