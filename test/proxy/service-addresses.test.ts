import t from 'tap';
import { DEFAULT_MESH } from '../../src/config/mesh-config.ts';
import type { Resources, ServiceEntry } from '../../src/config/resources.ts';
import { ServiceAddresses } from '../../src/proxy/service-addresses.ts';

const EMPTY = {
  peerAuthentications: [],
  authorizationPolicies: [],
  requestAuthentications: [],
  destinationRules: [],
  sidecars: [],
};

interface Said {
  readonly addresses?: readonly string[];
  readonly endpoints?: readonly (readonly [address: string, port?: number])[];
  readonly port?: number;
  readonly protocol?: string;
  readonly resolution?: ServiceEntry['resolution'];
}

function entry(name: string, said: Said): ServiceEntry {
  const { addresses = [], endpoints = [], port = 80, protocol = 'HTTP', resolution = 'STATIC' } = said;
  return {
    kind: 'ServiceEntry',
    metadata: { namespace: 'foo', name, createdAt: 0, annotations: {} },
    origin: { file: '', line: 1, column: 1 },
    hosts: [`${name}.example`],
    addresses,
    ports: [{ number: port, name: 'main', protocol, targetPort: null }],
    location: 'MESH_INTERNAL',
    resolution,
    endpoints: endpoints.map(([address, number]) => ({
      address,
      ports: number === undefined ? {} : { main: number },
      labels: {},
      serviceAccount: null,
      weight: 1,
    })),
    subjectAltNames: [],
  };
}

function addressesOf(...serviceEntries: ServiceEntry[]): ServiceAddresses {
  const resources: Resources = { ...EMPTY, mesh: DEFAULT_MESH, serviceEntries };
  return new ServiceAddresses(resources);
}

function found(addresses: ServiceAddresses, host: string, port: number): string | null {
  const located = addresses.find(host, port);
  return located === null ? null : `${located.entry.metadata.name}${located.endpoint ? ' endpoint' : ''}`;
}

t.test('a service is found by its address, its endpoint, the longest range, or its port', async t => {
  const addresses = addressesOf(
    entry('wide', { addresses: ['10.0.0.0/8'] }),
    entry('narrow', { addresses: ['10.1.0.0/16', 'fd00:1::/32'] }),
    entry('vip', { addresses: ['10.1.2.3', 'fd00:1::3'] }),
    entry('web', { endpoints: [['10.1.7.7', 8080], ['10.1.2.3']] }),
    entry('db', { port: 5432, protocol: 'TCP', resolution: 'DNS' }),
    entry('other', { port: 5432, protocol: 'TCP', addresses: ['10.9.9.9'] }),
  );
  const rows = [
    ['10.1.2.3', 80, 'vip'],
    ['::ffff:10.1.2.3', 80, 'vip'],
    ['fd00:1:0::3', 80, 'vip'],
    ['fd00:1::4', 80, 'narrow'],
    ['fd00:2::4', 80, null],
    ['10.1.2.4', 80, 'narrow'],
    ['10.2.2.4', 80, 'wide'],
    ['11.0.0.1', 80, null],
    ['10.1.7.7', 8080, 'web endpoint'],
    ['10.1.7.7', 80, 'narrow'],
    ['10.1.7.8', 8080, null],
    ['10.9.9.9', 5432, 'other'],
    ['192.0.2.1', 5432, 'db'],
    ['10.1.2.3', 81, null],
    ['no-address', 80, null],
  ] as const;
  for (const [host, port, expected] of rows)
    t.equal(found(addresses, host, port), expected, `${host} ${port}`);
});

t.test('the first bytes count on a port where hosts tell services apart', async t => {
  const addresses = addressesOf(
    entry('web', { endpoints: [['10.0.0.1', 8080]] }),
    entry('tls', { port: 443, protocol: 'TLS', resolution: 'NONE' }),
    entry('any', { port: 90, protocol: 'AUTO', resolution: 'DNS' }),
    entry('db', { port: 5432, protocol: 'TCP', resolution: 'DNS' }),
  );
  const named = [80, 443, 90, 5432, 8080, 1].filter(port => addresses.isNamed(port));
  t.same(named, [80, 443, 90]);
});
