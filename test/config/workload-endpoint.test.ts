import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { findWorkloadSocket } from '../../src/config/pod-files.ts';
import { parseWorkloadEndpoint } from '../../src/config/workload-endpoint.ts';
import { temporaryFolder } from '../certificates.ts';

/** Address → gRPC's target; null where SPIFFE's standard does not allow it. */
const ADDRESSES: readonly (readonly [string, string | null])[] = [
  ['unix:///run/spire/agent.sock', 'unix:/run/spire/agent.sock'],
  ['unix:/run/spire/agent.sock', 'unix:/run/spire/agent.sock'],
  ['unix:///var/run/secrets/workload-spiffe-uds/socket', 'unix:/var/run/secrets/workload-spiffe-uds/socket'],
  ['unix:run/agent.sock', null],
  ['unix://run/agent.sock', null],
  ['unix://', null],
  ['unix:', null],
  ['unix:/', null],
  ['unix:///', null],
  ['unix:////x', null],
  ['unix:///a?b', null],
  ['unix:///a#b', null],
  ['unix:///a b', null],
  ['unix:///a%20b', null],
  ['tcp://127.0.0.1:8000', 'ipv4:127.0.0.1:8000'],
  ['tcp://[::1]:8000', 'ipv6:[::1]:8000'],
  ['tcp://127.0.0.1:8000/', null],
  ['tcp://127.0.0.1:8000/foo', null],
  ['tcp://127.0.0.1', null],
  ['tcp://127.0.0.1:0', null],
  ['tcp://127.0.0.1:65536', null],
  ['tcp://localhost:8000', null],
  ['tcp://::1:8000', null],
  ['tcp://[127.0.0.1]:8000', null],
  ['tcp://256.0.0.1:8000', null],
  ['tcp://user@127.0.0.1:8000', null],
  ['http://127.0.0.1:8000', null],
  ['/run/spire/agent.sock', null],
  ['', null],
];

for (const [address, target] of ADDRESSES) {
  t.test(`${JSON.stringify(address)} is ${target ?? 'refused'}`, async t => {
    t.same(parseWorkloadEndpoint(address), target === null ? null : { address, target });
  });
}

t.test('a socket that is there is found; a file, or nothing, is none', async t => {
  const dir = temporaryFolder(t);
  const path = join(dir, 'socket');
  t.equal(findWorkloadSocket(path), null);
  t.equal(findWorkloadSocket(dir), null);
  const server = createServer();
  await new Promise<void>(resolve => server.listen(path, resolve));
  t.teardown(() => server.close());
  t.equal(findWorkloadSocket(path), `unix://${path}`);
});
