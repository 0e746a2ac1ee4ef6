import t from 'tap';
import { type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('networking.istio.io/v1alpha3', 'Sidecar');

const CASES: readonly Case[] = [
  { title: 'a listener for everything', text: '{egress: [{hosts: ["./*", "prod/db.example.com"]}]}' },
  {
    title: 'a TCP listener',
    text: '{egress: [{port: {number: 5432, protocol: TCP, name: db}, bind: 127.0.0.1, captureMode: NONE, hosts: [./db.example.com]}, {hosts: ["*/*"]}]}',
  },
  { title: 'a traffic policy alone', text: '{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}' },
  { title: 'an empty one is refused', text: '§{}', faults: ['error spec: is empty; write egress'] },
  { title: 'an empty list is empty', text: '§{egress: []}', faults: ['error spec: is empty; write egress'] },
  {
    title: 'hosts are needed',
    text: '{egress: [{port: {number: 80}, hosts: §[]}, §{}]}',
    faults: [
      'error spec.egress[0].hosts: must name at least one host',
      'error spec.egress[1].hosts: must name at least one host',
    ],
  },
  {
    title: 'hosts have the form namespace/name, and the name is full',
    text: '{egress: [{hosts: [§db.example.com, §./db, §/a.com, §a_b/a.com, §"./*b.com", §"~/x.y", "./*.b.com"]}]}',
    faults: [
      'error spec.egress[0].hosts[0]: "db.example.com" must have the form namespace/dnsName',
      'error spec.egress[0].hosts[1]: "db" is a short name',
      'error spec.egress[0].hosts[2]: "" is not a namespace',
      'error spec.egress[0].hosts[3]: "a_b" is not a namespace',
      'error spec.egress[0].hosts[4]: "*b.com": only *.DOMAIN is allowed',
      'error spec.egress[0].hosts[5]: "~/x.y": excluding with ~ is not supported yet',
    ],
  },
  {
    title: 'hosts that repeat are warnings; a dot is the own namespace',
    text: '{egress: [{hosts: [./a.com, §foo/a.com, §"foo/*"]}]}',
    faults: [
      'warning spec.egress[0].hosts[1]: "foo/a.com" before it covers it already',
      'warning spec.egress[0].hosts[2]: covers hosts before it',
    ],
  },
  {
    title: 'the listener without a port is the last',
    text: '{egress: [§{hosts: ["./*"]}, {port: {number: 80, protocol: HTTP}, hosts: ["./*"]}]}',
    faults: ['error spec.egress[0]: has no port: the listener for all other ports must be the last'],
  },
  {
    title: 'ports are unique',
    text: '{egress: [{port: {number: 80, protocol: HTTP}, hosts: ["./*"]}, {port: §{number: 80, protocol: TCP}, hosts: ["./*"]}]}',
    faults: ['error spec.egress[1].port: 80 is taken by another listener'],
  },
  {
    title: 'ports are ports, and have no target',
    text: '{egress: [{port: {number: §0, protocol: TCP}, hosts: ["./*"]}, {port: {number: 81, protocol: §FOO, targetPort: §82}, hosts: ["./*"]}]}',
    faults: [
      'error spec.egress[0].port.number: must be from 1 to 65535',
      'error spec.egress[1].port.protocol: "FOO" is not one of',
      'error spec.egress[1].port.targetPort: has no meaning on a Sidecar',
    ],
  },
  {
    title: 'a listener binds to an address',
    text: '{egress: [{port: {number: 80, protocol: TCP}, bind: §localhost, hosts: ["./*"]}, {port: {number: 81, protocol: TCP}, bind: §"unix:///x", hosts: ["./*"]}]}',
    faults: [
      'error spec.egress[0].bind: "localhost" is not an IP address',
      'error spec.egress[1].bind: unix:// is not supported yet',
    ],
  },
  {
    title: 'selectors take no wildcard',
    text: '{workloadSelector: {labels: {app: §"*"}}, egress: [{hosts: ["./*"]}]}',
    faults: ['error spec.workloadSelector.labels.app: selectors take no wildcard'],
  },
  {
    title: 'what is not honoured is a warning that names the field',
    text: '{§ingress: [{port: {number: 80, protocol: HTTP, name: x}, defaultEndpoint: 127.0.0.1:8080}], egress: [{hosts: ["./*"]}]}',
    faults: ['warning spec.ingress: not honoured'],
  },
  {
    title: 'an egress proxy is refused: traffic would go elsewhere',
    text: '{outboundTrafficPolicy: {§egressProxy: {host: a.com}}}',
    faults: ['error spec.outboundTrafficPolicy.egressProxy: not supported yet; refused'],
  },
];

runCases(CASES, wrap);

t.test('a sidecar comes out as data; a policy without a mode is REGISTRY_ONLY', async t => {
  const result = loadText(
    wrap(
      '{workloadSelector: {labels: {app: web}}, outboundTrafficPolicy: {}, egress: [{port: {number: 5432, protocol: tcp}, hosts: [./db.example.com]}, {hosts: ["*/*"]}]}',
    ),
  );
  t.match(result, { ok: true });
  const [sidecar] = result.ok ? result.resources.sidecars : [];
  t.same(sidecar?.selector, { app: 'web' });
  t.equal(sidecar?.outboundTrafficPolicy, 'REGISTRY_ONLY');
  t.same(sidecar?.egress, [
    {
      port: { number: 5432, name: '', protocol: 'TCP', targetPort: null },
      bind: null,
      hosts: ['./db.example.com'],
    },
    { port: null, bind: null, hosts: ['*/*'] },
  ]);
});
