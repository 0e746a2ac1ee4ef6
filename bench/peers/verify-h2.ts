/** Before HTTP/2 is measured: does the peer speak it, on both sides, and do its job in it? */
import { tlsContext } from '../ask.ts';
import { askHttp2, type Http2Answer } from '../ask-h2.ts';
import { type Bench, withInstances } from '../bench.ts';
import { SERVICE_HOST } from '../workload.ts';
import type { Peer } from './peer.ts';

const SHOWN = 100; // characters of an answer in a message: the table has one line for it

/** Rejects with what the peer does not do; asks once a run and remembers. */
export function proveHttp2(bench: Bench, peer: Peer, cleartext: boolean): Promise<void> {
  const key = `${peer.name} ${cleartext ? 'cleartext' : 'mutual TLS'}`;
  const known = bench.proofs.get(key);
  if (known) return known;
  const proof = cleartext ? proveCleartext(bench, peer) : proveMutualTls(bench, peer);
  bench.proofs.set(key, proof);
  return proof;
}

async function proveCleartext(bench: Bench, peer: Peer): Promise<void> {
  const target = bench.origin.h2Head;
  const role = { direction: 'inbound', protocol: 'http2', cleartext: true, target } as const;
  await withInstances(bench, peer, [role], async ([instance]) => {
    expectForwarded(await askHttp2(instance?.port ?? 0, null), []);
  });
}

async function proveMutualTls(bench: Bench, peer: Peer): Promise<void> {
  const { client, stranger, server } = bench.identities;
  const role = { direction: 'inbound', protocol: 'http2', target: bench.origin.h2Head } as const;
  await withInstances(bench, peer, [role], async ([instance]) => {
    const from = (own: { cert: string; key: string } | null) =>
      askHttp2(instance?.port ?? 0, tlsContext(server.root, own));
    expectForwarded(await from(client), peer.full ? ['x-forwarded-client-cert'] : []);
    const unknown = await from(null);
    if (unknown.answered && unknown.status === 200) fail('answers a client without a certificate', unknown);
    if (!peer.full) return;
    const denied = await from(stranger);
    if (denied.answered && denied.status !== 403) fail('answers a client that policy denies', denied);
  });
}

/** The app saw the name that was asked for and these fields; its trailers arrived. */
function expectForwarded(answer: Http2Answer, fields: readonly string[]): void {
  if (!answer.answered || answer.status !== 200) return fail('does not answer HTTP/2', answer);
  const seen = JSON.parse(answer.body) as Readonly<Record<string, string>>;
  if ((seen[':authority'] ?? seen.host) !== SERVICE_HOST) fail('changes the authority', answer);
  for (const field of fields) if (seen[field] === undefined) fail(`sends no ${field}`, answer);
  if (answer.trailers['grpc-status'] !== '0') fail('loses the trailers', answer);
}

function fail(what: string, answer: Http2Answer): never {
  const seen = answer.answered ? `${answer.status} ${answer.body}` : answer.reason;
  throw new Error(`${what}: ${seen.slice(0, SHOWN)}`);
}
