import t from 'tap';
import { parseCerts } from '../../src/cli/certs-flags.ts';

t.test('certs has four actions, each with its own flags', async t => {
  t.same(parseCerts(['init']), {
    ok: true,
    value: { action: 'init', dir: './certs/ca', trustDomain: 'cluster.local', days: 3650, force: false },
  });
  t.match(parseCerts(['issue', 'out', '--namespace', 'foo', '--service-account', 'web', '--hours', '1']), {
    ok: true,
    value: {
      action: 'issue',
      dir: 'out',
      ca: './certs/ca',
      namespace: 'foo',
      serviceAccount: 'web',
      ttlMs: 3_600_000,
      rotateEveryMs: null,
      spiffeId: null,
      dnsNames: ['localhost'],
    },
  });
  t.match(parseCerts(['issue', 'spiffe://td/ns/a/sa/b', '--dir', 'out', '--dns', 'a.b', '--dns', 'c']), {
    value: { dir: 'out', spiffeId: 'spiffe://td/ns/a/sa/b', dnsNames: ['a.b', 'c'] },
  });
  t.match(parseCerts(['issue', '--dns', 'a_b']), {
    ok: false,
    exitCode: 2,
    message: /--dns must be a DNS name/,
  });
  t.same(parseCerts(['show', 'd']), { ok: true, value: { action: 'show', dir: 'd', json: false } });
  t.match(parseCerts([]), {
    ok: false,
    exitCode: 2,
    message: 'certs: say which: init, issue, revoke or show',
  });
  t.match(parseCerts(['renew']), {
    ok: false,
    message: /must be one of init, issue, revoke, show, not "renew"/,
  });
  t.match(parseCerts(['show', '--hours', '1']), {
    ok: false,
    message: 'certs: --hours has no meaning for certs show',
  });
  t.match(parseCerts(['show', 'a', 'b']), { ok: false, message: 'certs: unexpected "b"' });
});

t.test('certs issue takes the ID, the life, the folder and how often as flags too', async t => {
  const line = '--id spiffe://td/ns/a/sa/b --ttl 1h --out out --rotate-every 30s';
  t.match(parseCerts(['issue', ...line.split(' ')]), {
    ok: true,
    value: { dir: 'out', spiffeId: 'spiffe://td/ns/a/sa/b', ttlMs: 3_600_000, rotateEveryMs: 30_000 },
  });
  t.match(parseCerts(['issue']), { value: { ttlMs: 86_400_000, rotateEveryMs: null, dir: './certs' } });
});

const REFUSED: readonly (readonly [string, RegExp])[] = [
  ['issue spiffe://td/a --id spiffe://td/b', /--id and SPIFFE_ID say the same; keep one/],
  ['issue --id spiffe://td/b --namespace foo', /--namespace is part of --id; keep one/],
  ['issue --ttl 1h --hours 1', /--ttl and --hours say the same; keep one/],
  ['issue a --out b', /name the folder once: DIR, --dir or --out/],
  ['issue --ttl 1d', /--ttl must be a duration such as 30s or 1h30m, from 1s to 876000h, not "1d"/],
  ['issue --ttl 10ms', /--ttl must be a duration/],
  ['issue --rotate-every 0s', /--rotate-every must be a duration/],
  ['issue --rotate-every 600h --hours 9999', /--rotate-every must be a duration/],
  ['issue --ttl 30s --rotate-every 30s', /--rotate-every must be shorter than the life of the certificate/],
  ['init --rotate-every 30s', /--rotate-every has no meaning for certs init/],
];

t.test('certs refuses a line that says a thing twice or makes no sense', async t => {
  for (const [line, message] of REFUSED) {
    t.match(parseCerts(line.split(' ')), { ok: false, exitCode: 2, message }, line);
  }
});
