/** HTTP/2 and gRPC inbound: 8 connections of 16 streams, cleartext and mutual TLS, to an app that speaks HTTP/2. */
import { askHttp2 } from '../ask-h2.ts';
import { type Bench, withInstances } from '../bench.ts';
import { type H2loadJob, runH2load } from '../h2load.ts';
import { runLoad } from '../load.ts';
import type { Instance } from '../peers/launch.ts';
import type { Peer, Role } from '../peers/peer.ts';
import { proveHttp2 } from '../peers/verify-h2.ts';
import { grpcMessage, H2_CONNECTIONS, H2_STREAMS } from '../workload.ts';
import { type Case, type Sample, sampleOf } from './case.ts';

type Shape = Pick<H2loadJob, 'path' | 'body' | 'fields'>;

const SMALL: Shape = { path: '/small', body: null, fields: [] };
const CALL: Shape = {
  path: '/bench.Echo/Unary',
  body: grpcMessage(),
  fields: ['content-type: application/grpc', 'te: trailers'],
};
/** These cases have five peers and a second of each round goes into launching: they load for three fifths of the time. */
const SHARE = 0.6;

export const HTTP2_CASES: readonly Case[] = [
  http2('h2-in-cleartext', 'requests', {
    what: 'HTTP/2 cleartext in, small replies, 8 connections of 16 streams',
    measure: (bench, peer) => load(bench, peer, { cleartext: true, target: bench.origin.h2, shape: SMALL }),
  }),
  http2('h2-in', 'requests', {
    what: 'HTTP/2 in mutual TLS, small replies, 8 connections of 16 streams',
    measure: (bench, peer) => load(bench, peer, { cleartext: false, target: bench.origin.h2, shape: SMALL }),
  }),
  http2('grpc-unary', 'calls', {
    what: 'gRPC calls of one message each way in mutual TLS, 8 connections of 16 streams',
    measure: (bench, peer) =>
      load(bench, peer, { cleartext: false, target: bench.origin.grpcUnary, shape: CALL }),
  }),
  http2('grpc-stream', 'messages', {
    what: 'gRPC messages on 128 open calls in mutual TLS, each sent back at once; both ways counted',
    measure: messages,
  }),
];

function http2(
  name: string,
  rateUnit: string,
  { what, measure }: { what: string; measure: (bench: Bench, peer: Peer) => Promise<Sample> },
): Case {
  const headlines = [{ metric: 'cpu', unit: `µs CPU a ${rateUnit.slice(0, -1)}` }] as const;
  const can = (peer: Peer) => peer.can({ direction: 'inbound', protocol: 'http2' });
  return { name, what, headlines, rateUnit, repeats: true, can, measure };
}

/** h2load to the peer itself, or, with mutual TLS, to a front that presents the client's certificate; its CPU is not counted. */
async function load(
  bench: Bench,
  peer: Peer,
  { cleartext, target, shape }: { cleartext: boolean; target: number; shape: Shape },
): Promise<Sample> {
  const { h2load, front } = bench;
  if (!h2load) throw new Error('h2load is not installed');
  if (!cleartext && !front)
    throw new Error('neither HAProxy nor Envoy is there to present a certificate for h2load');
  await proveHttp2(bench, peer, cleartext);
  const role: Role = { direction: 'inbound', protocol: 'http2', cleartext, target };
  return withInstances(bench, peer, [role], async instances => {
    const pids = pidsOf(instances);
    const ask = async (port: number) =>
      sampleOf(
        await runH2load(h2load, { ...shape, port, ...timesOf(bench) }, { folder: bench.folder, pids }),
      );
    const port = instances[0]?.port ?? 0;
    if (cleartext || !front) return ask(port);
    const before: Role = { direction: 'outbound', protocol: 'http2', target: port };
    return withInstances(bench, front, [before], async ([first]) => {
      await settle(first?.port ?? 0);
      return ask(first?.port ?? 0);
    });
  });
}

/** One request after the other, until the front has its connections: a burst would open one for each of its requests. */
async function settle(port: number): Promise<void> {
  for (let i = 0; i < 2 * H2_CONNECTIONS; i++) {
    const answer = await askHttp2(port, null);
    if (!answer.answered || answer.status !== 200) {
      throw new Error(`no answer through the front: ${answer.answered ? answer.status : answer.reason}`);
    }
  }
}

async function messages(bench: Bench, peer: Peer): Promise<Sample> {
  await proveHttp2(bench, peer, false);
  const role: Role = { direction: 'inbound', protocol: 'http2', target: bench.origin.grpcStream };
  return withInstances(bench, peer, [role], async instances => {
    const job = {
      port: instances[0]?.port ?? 0,
      identity: bench.identities.client.folder,
      connections: H2_CONNECTIONS,
      streams: H2_STREAMS,
      ...timesOf(bench),
    };
    const options = { pids: pidsOf(instances), limitSeconds: job.seconds };
    return sampleOf(await runLoad({ program: 'messages.ts', job }, options));
  });
}

function pidsOf(instances: readonly Instance[]): number[] {
  return instances.map(instance => instance.child.pid);
}

/** Whole seconds, as h2load wants them. */
export function timesOf({ effort }: Pick<Bench, 'effort'>): { warmupSeconds: number; seconds: number } {
  return {
    warmupSeconds: Math.ceil(effort.warmupSeconds * SHARE),
    seconds: Math.ceil(effort.seconds * SHARE),
  };
}
