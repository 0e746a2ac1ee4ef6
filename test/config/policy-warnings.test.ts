import t from 'tap';
import { type Case, faultsOf, loadText, runCases } from './cases.ts';

const SECURITY = 'security.istio.io/v1';
/** One document on one line. */
const document = (kind: string, name: string, spec: string, apiVersion = SECURITY): string => {
  const [namespace = '', own = ''] = name.split('/');
  return `{apiVersion: ${apiVersion}, kind: ${kind}, metadata: {name: ${own}, namespace: ${namespace}}, spec: ${spec}}`;
};
const policy = (name: string, spec: string): string => document('AuthorizationPolicy', name, spec);
const tokens = (name: string, spec: string): string => document('RequestAuthentication', name, spec);
const peers = (name: string, spec: string): string => document('PeerAuthentication', name, spec);
const entry = (name: string, spec: string): string =>
  document('ServiceEntry', name, spec, 'networking.istio.io/v1');
const allow = (rule: string): string => policy('foo/it', `{rules: [${rule}]}`);
const deny = (rule: string): string => policy('foo/it', `{action: DENY, rules: [${rule}]}`);
const from = (source: string): string => `{from: [{source: ${source}}]}`;
const to = (operation: string): string => `{to: [{operation: ${operation}}]}`;
const when = (conditions: string): string => `{when: [${conditions}]}`;
const all = (...documents: readonly string[]): string => documents.join('\n---\n');

const REST =
  'denies TCP connections too, whatever its HTTP attributes say: on TCP ports only the rest of the rule counts';
const EVERY =
  'denies every connection to TCP ports too, because they have no HTTP attributes; add to.operation.ports';

const WIDE_DENY: readonly Case[] = [
  {
    title: 'a DENY of headers alone denies every TCP connection, which Istio does not say',
    text: deny(`§${when('{key: "request.headers[a]", values: [b]}')}`),
    faults: [`warning spec.rules[0]: ${EVERY}`],
  },
  {
    title: 'a DENY of a header from an address denies TCP from that address',
    text: deny(
      '§{from: [{source: {ipBlocks: [10.0.0.1]}}], when: [{key: "request.headers[a]", values: [b]}]}',
    ),
    faults: [`warning spec.rules[0]: ${REST}`],
  },
  {
    title: 'one operation with ports does not help another without',
    text: deny('§{to: [{operation: {methods: [GET], ports: ["80"]}}, {operation: {methods: [PUT]}}]}'),
    faults: [`warning spec.rules[0]: ${EVERY}`],
  },
  {
    title: 'excluded ports are no ports',
    text: deny('§{to: [{operation: {methods: [GET], notPorts: ["80"]}}]}'),
    faults: [`warning spec.rules[0]: ${REST}`],
  },
  {
    title: 'one source that has only request principals lets every peer through on TCP',
    text: all(
      deny('§{from: [{source: {principals: [a]}}, {source: {requestPrincipals: [b/c]}}]}'),
      tokens('foo/t', '{jwtRules: [{issuer: b}]}'),
    ),
    faults: [`warning spec.rules[0]: ${EVERY}`],
  },
  {
    title: 'ports and destination.port keep a DENY to HTTP',
    text: deny(
      '{to: [{operation: {methods: [GET], ports: ["80"]}}]}, {to: [{operation: {paths: [/a]}}], when: [{key: destination.port, values: ["81"]}]}',
    ).replace('{to: [{operation: {paths', '§{to: [{operation: {paths'),
    faults: [
      'warning spec.rules[1]: denies TCP connections too; add to.operation.ports if HTTP alone is meant',
    ],
  },
  {
    title: 'a DENY without HTTP attributes means TCP as well',
    text: deny(`${from('{ipBlocks: [10.0.0.1]}')}, ${when('{key: source.ip, values: [10.0.0.2]}')}`),
  },
  {
    title: 'ALLOW and AUDIT deny nothing',
    text: all(
      allow(to('{methods: [GET]}')),
      policy('foo/b', `{action: AUDIT, rules: [${to('{methods: [GET]}')}]}`),
    ),
  },
];

const mysql = (protocol: string, location = 'MESH_INTERNAL'): string =>
  entry(
    'foo/db',
    `{hosts: [db.foo], location: ${location}, resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {sql: 13306}}], ports: [{number: 3306, name: sql, protocol: ${protocol}}]}`,
  );

const HTTP_ON_TCP: readonly Case[] = [
  {
    title: 'an ALLOW rule with HTTP attributes never matches on a port that is TCP',
    text: all(allow(to('{methods: [GET], ports: ["80", §"13306"]}')), mysql('MYSQL')),
    faults: ['warning spec.rules[0].to[0].operation.ports[1]: ServiceEntry foo/db ('],
  },
  {
    title: 'a DENY rule with HTTP attributes gets wider there',
    text: all(deny(to('{methods: [GET], ports: [§"13306"]}')), mysql('TCP')),
    faults: ['warning spec.rules[0].to[0].operation.ports[0]: ServiceEntry foo/db ('],
  },
  {
    title:
      'nothing is said of the port that clients call, of HTTP, of other namespaces, or of a rule without HTTP attributes',
    text: all(
      policy('foo/a', `{rules: [${to('{methods: [GET], ports: ["3306"]}')}]}`),
      policy('bar/b', `{rules: [${to('{methods: [GET], ports: ["13306"]}')}]}`),
      policy('foo/c', `{rules: [${to('{ports: ["13306"]}')}]}`),
      mysql('MYSQL'),
    ),
  },
  {
    title: 'a port that one entry calls HTTP and another TCP is not certain',
    text: all(
      allow(to('{methods: [GET], ports: ["13306"]}')),
      mysql('MYSQL'),
      mysql('HTTP').replace('name: db', 'name: other'),
    ),
  },
  {
    title: 'an entry outside the mesh says nothing of workloads',
    text: all(allow(to('{methods: [GET], ports: ["13306"]}')), mysql('MYSQL', 'MESH_EXTERNAL')),
  },
  {
    title: 'a policy of the root namespace is about every namespace',
    text: all(
      policy('istio-system/a', `{rules: [${to('{methods: [GET], ports: [§"13306"]}')}]}`),
      mysql('MYSQL'),
    ),
    faults: ['warning spec.rules[0].to[0].operation.ports[0]: ServiceEntry foo/db ('],
  },
];

const VALUES: readonly Case[] = [
  {
    title: 'a host does not match with a port: ALLOW misses it',
    text: allow(to('{hosts: ["a.com:80", §b.com, c.com]}')),
    faults: [
      'warning spec.rules[0].to[0].operation.hosts[1]: does not match a Host header with a port, which is therefore not allowed; add "b.com:*"',
    ],
  },
  {
    title: 'a host does not match with a port: DENY misses it',
    text: deny(to('{hosts: [§"*.b.com"], ports: ["80"]}')),
    faults: [
      'warning spec.rules[0].to[0].operation.hosts[0]: does not match a Host header with a port, which is therefore not denied; add "*.b.com:PORT" for each port',
    ],
  },
  {
    title: 'an excluded host does not match with a port either',
    text: all(
      allow(to('{notHosts: [§b.com]}')),
      policy('foo/d', `{action: DENY, rules: [${to('{notHosts: [§b.com], ports: ["80"]}')}]}`),
    ),
    faults: [
      'warning spec.rules[0].to[0].operation.notHosts[0]: does not match a Host header with a port, which is therefore allowed',
      'warning spec.rules[0].to[0].operation.notHosts[0]: does not match a Host header with a port, which is therefore denied',
    ],
  },
  {
    title: 'hosts with their port beside them, or with a wildcard at their end',
    text: allow(
      to(
        '{hosts: [a.com, "A.com:*", b.com, "b.com:8080", c.com, "c.*", "d*", "*", "e.com:80", "*.f.com", "*.f.com:80"]}',
      ),
    ),
  },
  { title: 'every host', text: allow(to('{hosts: ["*", "*.a.com", b.com]}')) },
  {
    title: 'paths that no request has',
    text: allow(to('{paths: [/a, "*", "*/b", "/c*", §d, §"e*", §"/f?g=h"], notPaths: [§"*/i#j"]}')),
    faults: [
      'warning spec.rules[0].to[0].operation.paths[4]: never matches: the path of a request starts with "/"; write "/d"',
      'warning spec.rules[0].to[0].operation.paths[5]: never matches: the path of a request starts with "/"; write "/e*"',
      'warning spec.rules[0].to[0].operation.paths[6]: never matches: paths are compared without query and fragment',
      'warning spec.rules[0].to[0].operation.notPaths[0]: never matches: paths are compared without query',
    ],
  },
  {
    title: 'methods in another case',
    text: allow(to('{methods: [GET, §get, custom], notMethods: [§Post]}')),
    faults: [
      'warning spec.rules[0].to[0].operation.methods[1]: does not match GET: methods are compared in their case; write GET',
      'warning spec.rules[0].to[0].operation.notMethods[0]: does not match POST',
    ],
  },
  {
    title: 'server names with capitals',
    text: allow(when('{key: connection.sni, values: [a.com, §A.com], notValues: [§"*.B.com"]}')),
    faults: [
      'warning spec.rules[0].when[0].values[1]: never matches: server names are compared in lower case; write "a.com"',
      'warning spec.rules[0].when[0].notValues[0]: never matches',
    ],
  },
];

const ABSENT: readonly Case[] = [
  {
    title: 'an ALLOW that excludes peers allows plaintext',
    text: allow(
      `${from('{notNamespaces: §[a]}')}, ${from('{notPrincipals: §[a]}')}, ${from('{notServiceAccounts: §[a]}')}, ${from('{notTrustDomains: §[a]}')}`,
    ),
    faults: ['notNamespaces', 'notPrincipals', 'notServiceAccounts', 'notTrustDomains'].map(
      (field, i) =>
        `warning spec.rules[${i}].from[0].source.${field}: holds for a peer without a certificate too, which is therefore allowed; add principals: ["*"] beside it`,
    ),
  },
  {
    title: 'a DENY that excludes peers denies plaintext',
    text: deny(from('{notPrincipals: §[a], ipBlocks: [10.0.0.1]}')),
    faults: [
      'warning spec.rules[0].from[0].source.notPrincipals: holds for a peer without a certificate too, which is therefore denied; add principals: ["*"] beside it if that is not meant',
    ],
  },
  {
    title: 'an exclusion beside a demand, or of "*", is meant',
    text: allow(
      `${from('{notPrincipals: [a], principals: ["*"]}')}, ${from('{notPrincipals: ["*"]}')}, {from: [{source: {notNamespaces: [a]}}], when: [{key: source.trustDomain, values: ["*"]}]}`,
    ),
  },
  {
    title: 'where the whole mesh is STRICT there is no plaintext',
    text: all(allow(from('{notPrincipals: [a]}')), peers('istio-system/default', '{mtls: {mode: STRICT}}')),
  },
  {
    title: 'where it is STRICT but for one port there is',
    text: all(
      allow(from('{notPrincipals: §[a]}')),
      peers('istio-system/default', '{mtls: {mode: STRICT}}'),
      peers('foo/it', '{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: PERMISSIVE}}}'),
    ),
    faults: ['warning spec.rules[0].from[0].source.notPrincipals: holds for a peer without a certificate'],
  },
  {
    title: 'excluded request principals let requests without a token through',
    text: all(
      allow(
        `${from('{notRequestPrincipals: §[a/b]}')}, ${from('{notRequestPrincipals: [c/d], requestPrincipals: ["*"]}')}`,
      ),
      tokens('foo/t', '{jwtRules: [{issuer: a}]}'),
    ),
    faults: [
      'warning spec.rules[0].from[0].source.notRequestPrincipals: holds for a request without a token too, which is therefore allowed',
    ],
  },
  {
    title: 'excluded values hold where the attribute is absent',
    text: all(
      deny(
        ['"request.headers[x]"', 'connection.sni', '"request.auth.claims[a]"', 'source.namespace']
          .map(key => `{to: [{operation: {ports: ["80"]}}], when: [{key: ${key}, notValues: §[a]}]}`)
          .join(', '),
      ),
      tokens('foo/t', '{jwtRules: [{issuer: a}]}'),
    ),
    faults: [
      'warning spec.rules[0].when[0].notValues: holds for a request without the header too, which is therefore denied',
      'warning spec.rules[1].when[0].notValues: holds for a connection without a server name too',
      'warning spec.rules[2].when[0].notValues: holds for a request without the claim, or without a token too',
      'warning spec.rules[3].when[0].notValues: holds for a peer without a certificate too',
    ],
  },
  {
    title: 'an attribute that is always there has no absence',
    text: allow(
      when(
        '{key: source.ip, notValues: [10.0.0.1]}, {key: destination.port, notValues: ["80"]}, {key: "request.headers[:authority]", notValues: [a]}, {key: "request.headers[Host]", notValues: [a]}, {key: "request.headers[x]", values: ["*"], notValues: [a]}',
      ),
    ),
  },
];

const SAME = 'matches whatever it matches; remove one of them';
const UNREACHABLE: readonly Case[] = [
  {
    title: 'a rule beside one that matches everything',
    text: allow(`{}, §${from('{ipBlocks: [10.0.0.1]}')}`),
    faults: ['warning spec.rules[1]: has no effect: ALLOW foo/it rule 0 ('],
  },
  {
    title: 'the later of two that are the same',
    text: allow(`${from('{ipBlocks: [10.0.0.1, 10.0.0.2]}')}, §${from('{ipBlocks: [10.0.0.2, 10.0.0.1]}')}`),
    faults: ['warning spec.rules[1]: has no effect: ALLOW foo/it rule 0 ('],
  },
  {
    title: 'a narrower rule, wherever it stands',
    text: allow(
      '§{from: [{source: {namespaces: [a], ipBlocks: [10.0.0.1]}}], to: [{operation: {methods: [GET]}}], when: [{key: destination.port, values: ["80"]}]}, {from: [{source: {namespaces: [a, b]}}], to: [{operation: {methods: [GET, PUT]}}]}',
    ),
    faults: ['warning spec.rules[0]: has no effect: ALLOW foo/it rule 1 ('],
  },
  {
    title: 'patterns of methods, paths and hosts',
    text: allow(
      `${to('{paths: ["/a*", "*.css"], methods: ["*"], hosts: ["a*"]}')}, §${to('{paths: [/a/b, "/a/c*", /x.css, "*x.css"], methods: [GET], hosts: ["A.com*"]}')}`,
    ),
    faults: ['warning spec.rules[1]: has no effect: ALLOW foo/it rule 0 ('],
  },
  {
    title: 'exclusions the other way round',
    text: allow(
      `§${from('{ipBlocks: [10.0.0.0/8], notIpBlocks: [10.0.0.1, 10.0.0.2]}')}, ${from('{ipBlocks: [10.0.0.0/8], notIpBlocks: [10.0.0.1]}')}`,
    ),
    faults: ['warning spec.rules[0]: has no effect: ALLOW foo/it rule 1 ('],
  },
  {
    title: 'a policy of the root namespace, or without a selector, comes before one with',
    text: all(
      policy('istio-system/a', `{action: DENY, rules: [${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy(
        'foo/b',
        `{action: DENY, selector: {matchLabels: {a: b}}, rules: [§${from('{ipBlocks: [10.0.0.1]}')}]}`,
      ),
    ),
    faults: ['warning spec.rules[0]: has no effect: DENY istio-system/a rule 0 ('],
  },
  {
    title: 'an ALLOW rule below a DENY of everything',
    text: all(
      policy('foo/d', '{action: DENY, rules: [{}]}'),
      policy('foo/a', `{rules: [§${from('{ipBlocks: [10.0.0.1]}')}]}`),
    ),
    faults: ['warning spec.rules[0]: has no effect: DENY foo/d rule 0 ('],
  },
  {
    title: 'CUSTOM rules of one provider',
    text: all(
      `{kind: MeshConfig, extensionProviders: [{name: x, envoyExtAuthzGrpc: {service: a.com, port: 1}}]}`,
      policy('foo/c', `{action: CUSTOM, provider: {name: x}, rules: [{}, §${to('{ports: ["80"]}')}]}`),
    ),
    faults: ['warning spec.rules[1]: has no effect: CUSTOM foo/c rule 0 ('],
  },
  {
    title: 'nothing is said where one rule does not certainly take what the other does',
    text: all(
      policy('foo/a', `{rules: [${from('{ipBlocks: [10.0.0.0/8]}')}, ${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy(
        'foo/b',
        `{rules: [${from('{principals: ["cluster.local/ns/a*"]}')}, ${from('{principals: [cluster.local/ns/a/sa/b]}')}]}`,
      ),
      policy(
        'foo/c',
        `{rules: [${to('{paths: ["/c/{*}"]}')}, ${to('{paths: [/c/d]}')}, ${to('{paths: ["/x/*"]}')}, ${to('{paths: ["/x/{*}"]}')}]}`,
      ),
      policy(
        'foo/d',
        `{rules: [${to('{ports: ["80"], methods: [GET]}')}, ${to('{ports: ["80"], paths: [/e]}')}]}`,
      ),
    ),
  },
  {
    title: 'nothing is said of other workloads, actions, dry runs, bound policies and AUDIT',
    text: all(
      policy('foo/a', `{selector: {matchLabels: {a: b}}, rules: [{}]}`),
      policy('foo/b', `{rules: [${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy('bar/c', `{rules: [${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy('foo/d', `{action: DENY, rules: [${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy('foo/e', `{action: AUDIT, rules: [{}, ${from('{ipBlocks: [10.0.0.1]}')}]}`),
      policy('foo/f', '{rules: [{}]}').replace(
        'namespace: foo',
        'namespace: foo, annotations: {istio.io/dry-run: "true"}',
      ),
    ),
  },
  {
    title: 'a service account by itself is one of its own namespace',
    text: all(
      policy('istio-system/a', `{rules: [${from('{serviceAccounts: [x]}')}]}`),
      policy('foo/b', `{rules: [${from('{serviceAccounts: [x]}')}]}`),
      policy('istio-system/c', `{rules: [${from('{serviceAccounts: [n/x]}')}]}`),
      policy('foo/d', `{rules: [§${from('{serviceAccounts: [n/x]}')}]}`),
    ),
    faults: ['warning spec.rules[0]: has no effect: ALLOW istio-system/c rule 0 ('],
  },
  {
    title: 'a rule with a condition that cannot be evaluated is not compared',
    text: allow(
      '{when: [{key: §"experimental.envoy.filters.a[b]", values: [c]}]}, {when: [{key: §"experimental.envoy.filters.a[b]", values: [c]}]}',
    ),
    faults: ['warning spec.rules[0].when[0].key: ', 'warning spec.rules[1].when[0].key: '],
  },
];

const workload = (namespace: string, labels: string): string =>
  document(
    'WorkloadEntry',
    `${namespace}/w`,
    `{address: 10.0.0.1, labels: ${labels}}`,
    'networking.istio.io/v1',
  ).replace('kind: WorkloadEntry', 'kind: §WorkloadEntry');
const PASSED_OVER = 'warning kind: WorkloadEntry is not supported yet';

const SELECTORS: readonly Case[] = [
  {
    title: 'a selector that fits no workload of the files',
    text: all(
      policy('foo/a', '{selector: §{matchLabels: {app: web}}, rules: []}'),
      policy('foo/b', '{selector: {matchLabels: {app: db}}, rules: []}'),
      tokens('foo/c', '{selector: §{matchLabels: {app: db, v: "2"}}}'),
      peers('foo/d', '{selector: §{matchLabels: {app: x}}}'),
      policy('istio-system/e', '{selector: §{matchLabels: {app: web}}, rules: []}'),
      workload('foo', '{app: db, v: "1"}'),
      entry(
        'foo/s',
        '{hosts: [s.foo], location: MESH_INTERNAL, resolution: STATIC, endpoints: [{address: 10.0.0.2, labels: {app: cache}}], ports: [{number: 80, name: http}]}',
      ),
    ),
    faults: [
      'warning spec.selector: fits none of the 2 workloads that are given, so that the policy has no effect',
      'warning spec.selector: fits none of the 2 workloads that are given',
      'warning spec.selector: fits none of the 2 workloads that are given',
      'warning spec.selector: fits none of the 2 workloads that are given',
      PASSED_OVER,
    ],
  },
  {
    title: 'nothing is said where no workload is known around the policy',
    text: all(
      policy('foo/a', '{selector: {matchLabels: {app: web}}, rules: []}'),
      workload('bar', '{app: db}'),
      workload('foo', '{}').replace('name: w', 'name: x'),
    ),
    faults: [PASSED_OVER, PASSED_OVER],
  },
];

const PROVIDERS =
  'extensionProviders: [{name: x, envoyExtAuthzGrpc: {service: a.com, port: 1}}, {name: other, envoyExtAuthzGrpc: {service: a.com, port: 1}}]';
const custom = (name: string, provider: string, selector = ''): string =>
  policy(name, `{${selector}action: CUSTOM, provider: {name: ${provider}}, rules: [{}]}`);

const CUSTOM: readonly Case[] = [
  {
    title: 'a provider without a mesh config',
    text: custom('foo/a', '§x'),
    faults: [
      'warning spec.provider.name: "x" is no usable provider of the mesh config, of which these files have none: whatever the rules match is denied; define it under extensionProviders',
    ],
  },
  {
    title: 'a provider that the mesh config does not define, or only as another kind',
    text: all(
      `{kind: MeshConfig, extensionProviders: [{name: z, §zipkin: {service: a.com, port: 1}}]}`,
      custom('foo/a', '§x'),
      custom('bar/a', '§z'),
    ),
    faults: [
      'warning extensionProviders[0].zipkin: not honoured',
      'warning spec.provider.name: "x" is no usable provider',
      'warning spec.provider.name: "z" is no usable',
    ],
  },
  {
    title: 'a provider of which the name is misspelt',
    text: all(`{kind: MeshConfig, ${PROVIDERS}}`, custom('foo/a', '§othre')),
    faults: ['warning spec.provider.name: "othre" is no usable provider of the mesh config'],
  },
  {
    title: 'several providers on one workload',
    text: all(
      `{kind: MeshConfig, ${PROVIDERS}}`,
      custom('foo/a', 'x'),
      custom('foo/b', '§other', 'selector: {matchLabels: {a: b}}, '),
    ),
    faults: ['warning spec.provider.name: foo/a ('],
  },
  {
    title: 'two selectors that a known workload fits both',
    text: all(
      `{kind: MeshConfig, ${PROVIDERS}}`,
      custom('foo/a', 'x', 'selector: {matchLabels: {a: b}}, '),
      custom('foo/b', '§other', 'selector: {matchLabels: {c: d}}, '),
      workload('foo', '{a: b, c: d}'),
    ),
    faults: ['warning spec.provider.name: foo/a (', PASSED_OVER],
  },
  {
    title: 'nothing is said of two selectors that may never meet, other namespaces, and one provider twice',
    text: all(
      `{kind: MeshConfig, ${PROVIDERS}}`,
      custom('foo/a', 'x', 'selector: {matchLabels: {a: b}}, '),
      custom('foo/b', 'other', 'selector: {matchLabels: {c: d}}, '),
      custom('bar/c', 'other'),
    ),
  },
];

const UNVERIFIED =
  'no RequestAuthentication of these files applies here, so that no request has a verified token';
const UNASKED =
  'warning spec.jwtRules: requests without a token pass: no AuthorizationPolicy of these files asks for one';
const rules = '{jwtRules: [{issuer: a}]}';

const TOKENS: readonly Case[] = [
  {
    title: 'request principals without anything that verifies tokens, once a policy',
    text: allow(`${from('{requestPrincipals: §[a/b]}')}, ${from('{requestPrincipals: [c/d]}')}`),
    faults: [
      `warning spec.rules[0].from[0].source.requestPrincipals: ${UNVERIFIED}: it never matches; add one`,
    ],
  },
  {
    title: 'excluded request principals always hold then',
    text: all(
      deny('{from: [{source: {notRequestPrincipals: §["*"]}}], to: [{operation: {ports: ["80"]}}]}'),
      tokens('bar/t', rules),
      allowing('bar'),
    ),
    faults: [`warning spec.rules[0].from[0].source.notRequestPrincipals: ${UNVERIFIED}: it always holds`],
  },
  {
    title: 'conditions on claims too; a RequestAuthentication without rules verifies nothing',
    text: all(allow(when('{key: §"request.auth.claims[a]", values: [b]}')), tokens('foo/t', '{}')),
    faults: [`warning spec.rules[0].when[0].key: ${UNVERIFIED}`],
  },
  {
    title: 'selectors that exclude each other',
    text: all(
      policy('foo/a', `{selector: {matchLabels: {app: a}}, rules: [${from('{requestPrincipals: §["*"]}')}]}`),
      tokens('foo/t', '{selector: {matchLabels: {app: b}}, jwtRules: §[{issuer: a}]}'),
    ),
    faults: [`warning spec.rules[0].from[0].source.requestPrincipals: ${UNVERIFIED}`, UNASKED],
  },
  {
    title: 'a RequestAuthentication of the root namespace or with another selector may apply',
    text: all(
      policy('foo/a', `{rules: [${from('{requestPrincipals: ["*"]}')}]}`),
      tokens('istio-system/t', rules),
      policy('bar/a', `{selector: {matchLabels: {app: a}}, rules: [${from('{requestPrincipals: ["*"]}')}]}`),
      tokens('bar/t', '{selector: {matchLabels: {v: "1"}}, jwtRules: [{issuer: a}]}'),
    ),
  },
  {
    title: 'tokens that nobody asks for',
    text: tokens('foo/t', '{jwtRules: §[{issuer: a}]}'),
    faults: [UNASKED],
  },
  {
    title: 'tokens that a rule about paths does not ask for',
    text: all(tokens('foo/t', '{jwtRules: §[{issuer: a}]}'), allow(to('{paths: [/a]}'))),
    faults: [UNASKED],
  },
  {
    title: 'a dry run, an AUDIT or a policy elsewhere does not ask',
    text: all(
      tokens('foo/t', '{jwtRules: §[{issuer: a}]}'),
      allow(from('{requestPrincipals: ["*"]}')).replace(
        'namespace: foo',
        'namespace: foo, annotations: {istio.io/dry-run: "true"}',
      ),
      policy('foo/b', `{action: AUDIT, rules: [${from('{requestPrincipals: ["*"]}')}]}`),
      policy('bar/c', '{rules: []}'),
    ),
    faults: [UNASKED],
  },
  ...[
    from('{requestPrincipals: ["*"]}'),
    when('{key: request.auth.audiences, values: [a]}'),
    when('{key: "request.headers[Authorization]", values: ["*"]}'),
    from('{principals: [a]}'),
    when('{key: source.namespace, values: [a]}'),
  ].map(
    (rule): Case => ({
      title: `tokens beside an ALLOW of ${rule}`,
      text: all(tokens('foo/t', rules), allow(rule)),
    }),
  ),
  {
    title: 'tokens beside a policy that allows nothing',
    text: all(tokens('foo/t', rules), policy('foo/a', '{}')),
  },
];

/** A policy that asks for tokens in a namespace. */
function allowing(namespace: string): string {
  return policy(`${namespace}/asks`, `{rules: [${from('{requestPrincipals: ["*"]}')}]}`);
}

for (const cases of [WIDE_DENY, HTTP_ON_TCP, VALUES, ABSENT, UNREACHABLE, SELECTORS, CUSTOM, TOKENS]) {
  runCases(cases, text => text);
}

t.test('a bound policy is warned of for being bound alone, and for what Istio warns of', async t => {
  const spec = `{targetRef: {kind: Service, name: x}, action: DENY, rules: [{from: [{source: {notRequestPrincipals: [a/b]}}], to: [{operation: {hosts: [a], methods: [get]}}]}]}`;
  t.same(
    faultsOf(loadText(policy('foo/a', spec))).map(({ message }) => message.split(':')[0]),
    ['spec', 'spec.rules[0]'],
  );
});

t.test('a warning says what, where and what to do in one line', async t => {
  const [fault] = faultsOf(loadText(all(policy('foo/a', '{rules: [{}, {}]}'))));
  t.match(fault, {
    severity: 'warning',
    kind: 'AuthorizationPolicy',
    name: 'foo/a',
    line: 1,
    message: new RegExp(
      `^spec\\.rules\\[1\\]: has no effect: ALLOW foo/a rule 0 \\(.*manifest\\.yaml:1\\) ${SAME}$`,
    ),
  });
});

t.test('many rules are compared with those that match everything alone, in time', async t => {
  const many = Array.from({ length: 100 }, (_, i) =>
    policy(
      `foo/p${i}`,
      `{rules: [${Array.from({ length: 20 }, (_, j) => to(`{ports: ["${i * 20 + j}"]}`)).join(', ')}]}`,
    ),
  );
  t.same(faultsOf(loadText(all(...many))), []);
  t.equal(faultsOf(loadText(all(...many, policy('foo/all', '{rules: [{}]}')))).length, 2_000);
});
