import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { temporaryFolder, testAuthority, testIdentity } from '../certificates.ts';
import { at, SET, serve, watched } from './jwks-endpoint.ts';
import { rule } from './jwt-issuer.ts';

t.test('keys are fetched from jwksUri', async t => {
  const asked: unknown[] = [];
  const url = await serve(t, (req, res) => {
    asked.push([req.method, req.url, req.headers.accept]);
    res.end(SET);
  });
  const { store, warnings, news, changes } = watched(t);
  t.same(await store.want([at(`${url}/keys?v=1`)]), { [`${url}/keys?v=1`]: { jwks: SET } });
  t.same(asked, [['GET', '/keys?v=1', 'application/json']]);
  t.same([warnings, news, changes], [[], [], []], 'the first answer is told by `want` alone');
});

t.test('an issuer without keys is asked for its OpenID configuration', async t => {
  const url = await serve(t, (req, res) => {
    const isConfiguration = req.url === '/realm/.well-known/openid-configuration';
    res.end(isConfiguration ? JSON.stringify({ jwks_uri: `${url}/certs` }) : req.url === '/certs' ? SET : '');
  });
  const { store, warnings } = watched(t);
  const issuer = `${url}/realm/`;
  t.same(await store.want([rule({ jwks: null, issuer })]), { [`issuer ${issuer}`]: { jwks: SET } });
  t.same(warnings, []);
});

const ANSWERS: readonly (readonly [says: string, answer: (res: ServerResponse) => void, reason: RegExp])[] = [
  ['404', res => res.writeHead(404).end('no'), /^answers 404$/],
  [
    'a redirect',
    res => res.writeHead(302, { location: '/elsewhere' }).end(SET),
    /redirects are not followed/,
  ],
  ['no JSON', res => res.end('<html>'), /no JSON Web Key Set/],
  ['JSON without keys', res => res.end('{"error":"x"}'), /no JSON Web Key Set/],
  ['keys that are no list', res => res.end('{"keys":{}}'), /no JSON Web Key Set/],
  ['nothing', res => res.end(), /no JSON Web Key Set/],
  ['a reset', res => res.socket?.resetAndDestroy(), /ECONNRESET|other side closed/],
  [
    '10 MiB, announced',
    res => res.writeHead(200, { 'content-length': 10 * 1_048_576 }).flushHeaders(),
    /1 MiB/,
  ],
  ['10 MiB, in chunks', drip, /1 MiB/],
  [
    'a head without end',
    res => res.socket?.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}`),
    /overflow/i,
  ],
];

/** Writes a mebibyte at a time for as long as the other side reads. */
function drip(res: ServerResponse): void {
  const write = () => {
    if (!res.destroyed && res.write(Buffer.alloc(65_536, ' '))) setImmediate(write);
    else res.once('drain', write);
  };
  write();
}

for (const [says, answer, reason] of ANSWERS) {
  t.test(
    `an endpoint that answers ${says} is a failure with a line in the log, and is asked again`,
    async t => {
      let asked = 0;
      const url = await serve(t, (_, res) => {
        if (asked++ === 0) answer(res);
        else res.end(SET);
      });
      const { store, clock, warnings, news, nextChange } = watched(t);
      const sets = await store.want([at(`${url}/keys?secret=1`)]);
      t.match(sets[`${url}/keys?secret=1`], { failure: reason });
      t.match(warnings, [{ message: /cannot be had/, source: `${url}/keys`, reason, retrySeconds: 1 }]);
      t.same(await nextChange(() => clock.go(1_000)), { [`${url}/keys?secret=1`]: { jwks: SET } });
      t.equal(asked, 2);
      t.same(news, [{ message: 'JWT keys are there now', source: `${url}/keys` }]);
    },
  );
}

t.test('an endpoint that hangs is given up when the rule says so, and its connection is cut', async t => {
  for (const hang of [() => {}, (res: ServerResponse) => res.writeHead(200).write('{"keys":')]) {
    const reached = Promise.withResolvers<void>();
    const cut = Promise.withResolvers<void>();
    const url = await serve(t, (req, res) => {
      hang(res);
      req.socket.once('close', cut.resolve);
      reached.resolve();
    });
    const { store, clock, warnings } = watched(t);
    const wanted = store.want([at(url, { timeoutMs: 70 })]);
    await reached.promise;
    clock.go(70);
    t.match(await wanted, { [url]: { failure: 'no answer within 70 ms' } });
    t.match(warnings, [{ reason: 'no answer within 70 ms' }]);
    await cut.promise;
  }
});

t.test('an endpoint that nobody listens at, and an address that is none', async t => {
  const { store, warnings } = watched(t);
  const urls = [
    'http://127.0.0.1:1/',
    'ftp://127.0.0.1/keys',
    'nonsense',
    'http://user:secret@127.0.0.1:1/?key=secret',
  ];
  const sets = await store.want([...urls.map(url => at(url)), rule({ jwks: null, issuer: 'a' })]);
  t.match(sets, Object.fromEntries(urls.map(url => [url, { failure: /./ }])));
  t.match(sets['ftp://127.0.0.1/keys'], { failure: /neither http nor https/ });
  t.match(sets['issuer a'], { failure: /Invalid URL/ });
  t.equal(warnings.length, 5);
  t.notMatch(JSON.stringify(warnings), /secret/);
});

t.test('an endpoint whose TLS fails is told in words, with what helps', async t => {
  const plain = (await serve(t, (_, res) => res.end(SET))).replace('http:', 'https:');
  const selfSigned = Object.assign(new Error('self-signed certificate'), {
    code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
  });
  const reasons = async (options: Parameters<typeof watched>[1]) => {
    const { store, warnings } = watched(t, options);
    await store.want([at(plain)]);
    return warnings.map(({ reason }) => reason);
  };
  t.match(await reasons({}), [/^the TLS handshake failed: [a-z ]+$/]);
  t.same(await reasons({ fetch: () => Promise.reject(selfSigned) }), [
    'self-signed certificate; name its root in NODE_EXTRA_CA_CERTS',
  ]);
});

t.test('an OpenID configuration is not believed everything', async t => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['[]', /no JSON object/],
    ['{"jwks_uri":5}', /no jwks_uri/],
    ['{"jwks_uri":"nonsense"}', /no jwks_uri/],
    ['{"jwks_uri":"file:///etc/passwd"}', /without it/],
    ['{"jwks_uri":"http://keys.example/"}', /without it/],
  ];
  for (const [configuration, reason] of table) {
    const { store } = watched(t, { fetch: async () => configuration });
    const sets = await store.want([rule({ jwks: null, issuer: 'https://idp.example' })]);
    t.match(sets['issuer https://idp.example'], { failure: reason }, configuration);
  }
});

t.test(
  'the certificate of an https endpoint is verified with the roots of Node and of NODE_EXTRA_CA_CERTS',
  async t => {
    const authority = await testAuthority();
    const { certChainPem: cert, keyPem: key } = await testIdentity(authority, 'foo/idp', {
      dnsNames: ['localhost'],
    });
    const server = createTlsServer({ cert, key }, (_, res) => res.end(SET)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.teardown(() => server.close());
    const url = `https://localhost:${(server.address() as AddressInfo).port}/`;
    const { store } = watched(t);
    t.match((await store.want([at(url)]))[url], { failure: /certificate/ });

    const roots = join(temporaryFolder(t), 'roots.pem');
    writeFileSync(roots, authority.certPem);
    const source = new URL('../../src/identity/jwks-download.ts', import.meta.url).href;
    const script = `import { download } from '${source}'; process.stdout.write(await download('${url}', new AbortController().signal))`;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: roots };
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      env,
    });
    t.equal(stdout, SET);
  },
);
