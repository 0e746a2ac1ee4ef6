/**
 * What a token costs a request: `node bench/jwt.ts` prints one line a case. Nanoseconds are the best of five rounds, since
 * whatever else runs on the machine only adds.
 */
import { type Authenticator, createAuthenticator, type JwtRequest } from '../src/identity/jwt.ts';
import { bearer, jwks, KEYS, publicJwk, rule, token } from '../test/identity/jwt-issuer.ts';

const JWKS = jwks(publicJwk(KEYS.rsa), publicJwk(KEYS.p256));
const RULE = rule({ jwks: JWKS, forwardOriginalToken: false });
const CASES = {
  'one rule': [RULE],
  'one rule that writes a claim': [{ ...RULE, outputClaimToHeaders: [{ header: 'x-sub', claim: 'sub' }] }],
  'three rules, the last of them': [{ ...RULE, issuer: '1' }, { ...RULE, issuer: '2' }, RULE],
};
const SIGNERS = [
  ['RS256', KEYS.rsa],
  ['ES256', KEYS.p256],
] as const;

const requestWithout = { ...requestOf('x'), headerValues: () => [] };

function claimsOf(user: number): object {
  const inTheFuture = 4_000_000_000;
  return { iss: 'a', sub: `user-${user}`, aud: ['shop'], scope: 'read write', exp: inTheFuture, iat: 1 };
}

/** Requests as they come: the header is a new string each time. */
function requestOf(text: string): JwtRequest {
  const line = Buffer.from(`Bearer ${text}`, 'latin1');
  const request = bearer(text);
  return { ...request, headerValues: name => (name === 'authorization' ? [line.toString('latin1')] : []) };
}

function nanoseconds(run: () => unknown): number {
  const RUNS = 50_000;
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < RUNS; i++) run();
    best = Math.min(best, Number(process.hrtime.bigint() - started) / RUNS);
  }
  return Math.round(best);
}

async function verifyAll(authenticator: Authenticator, requests: readonly JwtRequest[]): Promise<number> {
  const started = process.cpuUsage();
  for (const request of requests) {
    const verdict = await authenticator.authenticate(request);
    if (!verdict.ok) throw new Error(verdict.body);
  }
  const { user, system } = process.cpuUsage(started);
  return Math.round((user + system) / requests.length);
}

for (const [name, rules] of Object.entries(CASES)) {
  const authenticator = createAuthenticator({ rules, keySets: {} });
  const requests = Array.from({ length: 100 }, (_, user) =>
    requestOf(token(claimsOf(user), { header: { alg: 'ES256' }, key: KEYS.p256 })),
  );
  await verifyAll(authenticator, requests);
  let next = 0;
  const known = nanoseconds(() => authenticator.authenticate(requests[next++ % 100] as JwtRequest));
  const none = nanoseconds(() => authenticator.authenticate(requestWithout));
  console.log(`${name}: a known token ${known} ns, no token ${none} ns`);
}

for (const [alg, key] of SIGNERS) {
  const tokens = Array.from({ length: 2_000 }, (_, user) => token(claimsOf(user), { header: { alg }, key }));
  const authenticator = createAuthenticator({ rules: [RULE], keySets: {} });
  await verifyAll(authenticator, tokens.slice(0, 500).map(requestOf));
  const microseconds = await verifyAll(authenticator, tokens.slice(500).map(requestOf));
  console.log(`${alg}: a new token ${microseconds} µs of CPU`);
}
