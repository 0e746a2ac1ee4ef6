/** Bytes of any protocol through mutual TLS, each direction of each side. */
import { withInstances } from '../bench.ts';
import { runLoad } from '../load.ts';
import type { Peer, Role } from '../peers/peer.ts';
import type { BulkJob } from '../programs/bulk.ts';
import { type Case, sampleOf } from './case.ts';

const CONNECTIONS = 4;
const MICROS_TO_SECONDS_A_GB = 1e3; // µs a byte → s for 10^9 bytes

export const BULK_CASES: readonly Case[] = [
  bulk('inbound', 'to-app'),
  bulk('inbound', 'from-app'),
  bulk('outbound', 'to-app'),
  bulk('outbound', 'from-app'),
];

function bulk(side: Role['direction'], direction: BulkJob['direction']): Case {
  const short = side === 'inbound' ? 'in' : 'out';
  return {
    name: `tcp-${short}-${direction}`,
    what: `TCP bulk ${direction === 'to-app' ? 'to' : 'from'} the app, 4 connections, mutual TLS ${short}`,
    headlines: [{ metric: 'cpu', unit: 's CPU a GB' }],
    rateUnit: 'MB',
    repeats: true,
    can: (peer: Peer) => peer.can({ direction: side, protocol: 'tcp' }),
    async measure(bench, peer) {
      const { warmupSeconds, seconds } = bench.effort;
      const inbound = side === 'inbound';
      const target = inbound ? bench.origin.bulk : bench.origin.bulkTls;
      return withInstances(bench, peer, [{ direction: side, protocol: 'tcp', target }], async instances => {
        const identity = inbound ? bench.identities.client.folder : null;
        const port = instances[0]?.port ?? 0;
        const job = { port, identity, direction, connections: CONNECTIONS, warmupSeconds, seconds };
        const pids = instances.map(instance => instance.child.pid);
        const sample = sampleOf(await runLoad({ program: 'bulk.ts', job }, { pids, limitSeconds: seconds }));
        return {
          ...sample,
          cpu: (sample.cpu ?? Number.NaN) * MICROS_TO_SECONDS_A_GB,
          rate: (sample.rate ?? Number.NaN) / 1e6,
        };
      });
    },
  };
}
