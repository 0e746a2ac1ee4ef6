import t from 'tap';
import { type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('networking.istio.io/v1', 'ServiceEntry');
const HTTP = '{number: 80, name: http, protocol: HTTP}';

const CASES: readonly Case[] = [
  { title: 'a host and a port', text: `{hosts: [a.example.com], ports: [${HTTP}], resolution: DNS}` },
  {
    title: 'endpoints with addresses, ports, labels and weights',
    text: `{hosts: [a.example.com], ports: [${HTTP}], resolution: STATIC, location: MESH_INTERNAL, endpoints: [{address: 10.0.0.1, ports: {http: 8080}, labels: {a.b/c: d_e}, weight: 5, serviceAccount: web}, {address: "2001:db8::1"}], subjectAltNames: [spiffe://a/ns/b/sa/c]}`,
  },
  { title: 'hosts are needed', text: '§{}', faults: ['error spec.hosts: must name at least one host'] },
  {
    title: 'one host at least',
    text: '{hosts: §[]}',
    faults: ['error spec.hosts: must name at least one host'],
  },
  {
    title: 'a wildcard alone is no host; one in front of a domain is',
    text: `{hosts: [§"*", "*.a.com"], ports: [${HTTP}]}`,
    faults: ['error spec.hosts[0]: "*" alone is not a host'],
  },
  {
    title: 'a wildcard stands for whole labels',
    text: `{hosts: [§"*b.com"], ports: [${HTTP}]}`,
    faults: ['warning spec.hosts[0]: a wildcard stands for whole labels only'],
  },
  {
    title: 'hosts are DNS names, not addresses',
    text: `{hosts: [§a_b.com, §10.0.0.1, §"a.com:80", §a..b], ports: [${HTTP}]}`,
    faults: [
      'error spec.hosts[0]: "a_b.com" is not a DNS name',
      'error spec.hosts[1]: "10.0.0.1" is not a host name',
      'error spec.hosts[2]: "a.com:80" is not a DNS name',
      'error spec.hosts[3]: "a..b" is not a DNS name',
    ],
  },
  {
    title: 'addresses are IP addresses or ranges',
    text: `{hosts: [a.com], ports: [${HTTP}], addresses: [10.0.0.1, 10.0.0.0/8, §a.com]}`,
    faults: ['error spec.addresses[2]: "a.com" is not an IP address or CIDR range'],
  },
  {
    title: 'ranges go with NONE and STATIC',
    text: `{hosts: [a.com], ports: [${HTTP}], addresses: [§10.0.0.0/8], resolution: DNS}`,
    faults: ['error spec.addresses[0]: CIDR ranges go with resolution NONE and STATIC only'],
  },
  {
    title: 'ports have a number and a name',
    text: '{hosts: [a.com], ports: [§{name: http, protocol: HTTP}, §{number: 80}]}',
    faults: [
      'error spec.ports[0].number: must be set, to a port from 1 to 65535',
      'error spec.ports[1].name: must be set',
    ],
  },
  {
    title: 'a port is a number from 1 to 65535',
    text: '{hosts: [a.com], ports: [{number: §0, name: a}, {number: §"80", name: b}, {number: §80.5, name: c}, {number: 81, name: d, protocol: HTTP, targetPort: §65536}]}',
    faults: [
      'error spec.ports[0].number: must be from 1 to 65535, not 0',
      'error spec.ports[1].number: must be a number, not a string; remove the quotes',
      'error spec.ports[2].number: must be a whole number',
      'error spec.ports[3].targetPort: must be from 1 to 65535, not 65536',
    ],
  },
  {
    title: 'names and numbers of ports are unique',
    text: `{hosts: [a.com], ports: [${HTTP}, {number: §80, name: §http, protocol: HTTP}]}`,
    faults: ['error spec.ports[1].number: 80 is taken', 'error spec.ports[1].name: "http" is taken'],
  },
  {
    title: 'protocols are those of Istio, in any case',
    text: '{hosts: [a.com], ports: [{number: 80, name: a, protocol: http}, {number: 81, name: b, protocol: §SPDY}]}',
    faults: ['error spec.ports[1].protocol: "SPDY" is not one of HTTP, HTTP2'],
  },
  {
    title: 'UDP is not proxied',
    text: '{hosts: [a.com], ports: [{number: 80, name: a, protocol: §UDP}]}',
    faults: ['warning spec.ports[0].protocol: UDP is not proxied'],
  },
  {
    title: 'STATIC endpoints have addresses',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: STATIC, endpoints: [{address: §b.com}, §{}, {address: §"unix:///x"}]}`,
    faults: [
      'error spec.endpoints[0].address: "b.com" is not an IP address',
      'error spec.endpoints[1].address: must be set',
      'error spec.endpoints[2].address: unix:// is not supported yet; refused',
    ],
  },
  {
    title: 'STATIC without endpoints reaches nothing',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: §STATIC}`,
    faults: ['warning spec.resolution: is STATIC, but there are no endpoints'],
  },
  {
    title: 'NONE has no endpoints',
    text: `{hosts: [a.com], ports: [${HTTP}], endpoints: §[{address: 10.0.0.1}]}`,
    faults: ['error spec.endpoints: go with resolution STATIC or DNS'],
  },
  {
    title: 'nothing leads to a TCP port without addresses',
    text: '{hosts: [a.com], ports: §[{number: 80, name: a, protocol: TCP}]}',
    faults: ['warning spec.ports: nothing leads to port 80 (TCP)'],
  },
  {
    title: 'endpoints name the ports of the service',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {§grpc: 1, http: §0}}]}`,
    faults: [
      'error spec.endpoints[0].ports.grpc: is not the name of one of spec.ports',
      'error spec.endpoints[0].ports.http: must be from 1 to 65535',
    ],
  },
  {
    title: 'labels have the form of Kubernetes',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {a/b/c: §x, a: §"b c", ok: ""}}]}`,
    faults: [
      'error spec.endpoints[0].labels.a/b/c: "a/b/c" is not the name of a label',
      'error spec.endpoints[0].labels.a: "b c" is not the value of a label',
    ],
  },
  {
    title: 'DNS needs a full name, or endpoints',
    text: `{hosts: §["*.a.com"], ports: [${HTTP}], resolution: DNS}`,
    faults: ['error spec.hosts: "*.a.com" cannot be looked up'],
  },
  {
    title: 'DNS endpoints may be names',
    text: `{hosts: ["*.a.com"], ports: [${HTTP}], resolution: DNS, endpoints: [{address: b.com}, {address: 10.0.0.1}]}`,
  },
  {
    title: 'DNS_ROUND_ROBIN has one endpoint at most',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: DNS_ROUND_ROBIN, endpoints: §[{address: b.com}, {address: c.com}]}`,
    faults: ['error spec.endpoints: resolution DNS_ROUND_ROBIN takes one endpoint at most'],
  },
  {
    title: 'several hosts cannot share a TCP port',
    text: '{hosts: §[a.com, b.com], ports: [{number: 80, name: a, protocol: TCP}], resolution: DNS}',
    faults: ['error spec.hosts: several hosts cannot share port 80: TCP does not name its host'],
  },
  {
    title: 'DYNAMIC_DNS refuses the entry',
    text: `{hosts: ["*.a.com"], ports: [${HTTP}], resolution: §DYNAMIC_DNS}`,
    faults: ['error spec.resolution: DYNAMIC_DNS is not supported yet; refused'],
  },
  {
    title: 'what is not honoured is a warning that names the field',
    text: `{hosts: [a.com], ports: [${HTTP}], resolution: STATIC, §exportTo: [.], §workloadSelector: {labels: {a: b}}}`,
    faults: ['warning spec.exportTo: not honoured', 'warning spec.workloadSelector: not honoured'],
  },
  {
    title: 'what nobody knows is refused',
    text: `{§host: a.com, hosts: [a.com], ports: [${HTTP}]}`,
    faults: ['error spec.host: unknown field; did you mean hosts?'],
  },
];

runCases(CASES, wrap);

t.test('an entry comes out as data, with the defaults of Istio', async t => {
  const result = loadText(
    wrap(
      '{hosts: [a.com], ports: [{number: 80, name: web, protocol: http}, {number: 81, name: any, targetPort: 82}], resolution: STATIC, endpoints: [{address: 10.0.0.1, weight: 0, ports: {web: 8080}}]}',
    ),
  );
  const [entry] = result.ok ? result.resources.serviceEntries : [];
  t.match(entry, { location: 'MESH_EXTERNAL', addresses: [], subjectAltNames: [] });
  t.same(entry?.ports, [
    { number: 80, name: 'web', protocol: 'HTTP', targetPort: null },
    { number: 81, name: 'any', protocol: 'AUTO', targetPort: 82 },
  ]);
  t.same(entry?.endpoints, [
    { address: '10.0.0.1', ports: { web: 8080 }, labels: {}, serviceAccount: null, weight: 1 },
  ]);
});
