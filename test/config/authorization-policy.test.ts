import t from 'tap';
import { AROUND, type Case, loadText, resource, runCases } from './cases.ts';

const wrap = resource('security.istio.io/v1', 'AuthorizationPolicy');
const rule = (inner: string): string => `{rules: [${inner}]}`;
const source = (inner: string): string => rule(`{from: [{source: ${inner}}]}`);
const operation = (inner: string): string => rule(`{to: [{operation: ${inner}}]}`);
const when = (inner: string): string => rule(`{when: [${inner}]}`);
const CUSTOM = 'action: CUSTOM, provider: {name: x}';
const custom = (inner: string): string => `{${CUSTOM}, rules: [${inner}]}`;

const SHAPE: readonly Case[] = [
  { title: 'an empty spec is valid: ALLOW that matches nothing', text: '{}' },
  {
    title: 'misspelt rules are one fault, with what was meant',
    text: '{action: DENY, §rulez: [{}]}',
    faults: ['error spec.rulez: unknown field; did you mean rules?'],
  },
  { title: 'one empty rule matches everything', text: rule('{}') },
  { title: 'ALLOW with rules written empty is valid', text: '{action: ALLOW, rules: []}' },
  {
    title: 'DENY without rules is refused',
    text: '§{action: DENY}',
    faults: ['error spec.rules: DENY without rules never matches; add an empty rule {}'],
  },
  {
    title: 'DENY with rules written empty is refused',
    text: '{action: DENY, rules: §[]}',
    faults: ['error spec.rules: DENY without rules never matches'],
  },
  {
    title: 'actions are upper case',
    text: '{action: §deny, rules: [{}]}',
    faults: ['error spec.action: "deny" is not one of ALLOW, DENY, AUDIT, CUSTOM; write DENY'],
  },
  {
    title: 'an empty action is none',
    text: '{action: §""}',
    faults: ['error spec.action: "" is not one of'],
  },
  { title: 'AUDIT without rules matches nothing', text: '{action: AUDIT}' },
  { title: 'CUSTOM names its provider', text: custom('{}') },
  {
    title: 'CUSTOM without a provider is refused',
    text: '§{action: CUSTOM, rules: [{}]}',
    faults: ['error spec.provider: action CUSTOM needs a provider.name'],
  },
  {
    title: 'CUSTOM with a provider without a name is refused',
    text: '{action: CUSTOM, provider: §{name: ""}, rules: [{}]}',
    faults: ['error spec.provider: action CUSTOM needs a provider.name'],
  },
  {
    title: 'CUSTOM without rules is refused',
    text: `§{${CUSTOM}}`,
    faults: ['error spec.rules: CUSTOM without rules never matches; add an empty rule {}'],
  },
  {
    title: 'a provider goes with CUSTOM only',
    text: '{provider: §{name: x}}',
    faults: ['error spec.provider: goes with action CUSTOM only, not with ALLOW'],
  },
  {
    title: 'a null rule is refused',
    text: '{rules: [§null]}',
    faults: ['error spec.rules[0]: must be a mapping, not empty'],
  },
  {
    title: 'rules are a list',
    text: '{rules: §{from: []}}',
    faults: ['error spec.rules: must be a list, not a mapping'],
  },
  {
    title: '513 rules are too many',
    text: `{rules: §[${Array.from({ length: 513 }, () => '{}').join(', ')}]}`,
    faults: ['error spec.rules: has more than 512 rules'],
  },
  {
    title: '512 rules are not',
    text: `{rules: [${Array.from({ length: 512 }, (_, i) => `{to: [{operation: {ports: ["${i}"]}}]}`).join(', ')}]}`,
  },
  {
    title: '513 sources are too many',
    text: rule(`{from: §[${Array.from({ length: 513 }, () => '{source: {namespaces: [a]}}').join(', ')}]}`),
    faults: ['error spec.rules[0].from: has more than 512 entries'],
  },
  {
    title: 'empty from and to mean absent, with a warning',
    text: rule('{from: §[], to: §[]}'),
    faults: [
      'warning spec.rules[0].from: is empty, which means absent',
      'warning spec.rules[0].to: is empty',
    ],
  },
  {
    title: 'a from without a source is refused',
    text: rule('{from: [§{}]}'),
    faults: ['error spec.rules[0].from[0]: needs a source'],
  },
  {
    title: 'an unknown field beside source is refused',
    text: rule('{from: [{source: {namespaces: [a]}, §operation: {}}]}'),
    faults: ['error spec.rules[0].from[0].operation: unknown field'],
  },
];

const SOURCES: readonly Case[] = [
  {
    title: 'every field of a source',
    text: source(
      '{principals: ["*"], notPrincipals: [a/ns/b/sa/c], requestPrincipals: ["*"], notRequestPrincipals: [a/b], namespaces: [a], notNamespaces: [b], trustDomains: [a], notTrustDomains: [b], ipBlocks: [10.0.0.0/8, "::1"], notIpBlocks: [1.2.3.4], remoteIpBlocks: [1.2.3.4], notRemoteIpBlocks: ["::/0"]}',
    ),
  },
  {
    title: 'service accounts, alone or with a namespace',
    text: source('{serviceAccounts: [a, b/c], notServiceAccounts: [d]}'),
  },
  {
    title: 'an empty source is refused',
    text: source('§{}'),
    faults: ['error spec.rules[0].from[0].source: is empty; write at least one field'],
  },
  {
    title: 'a source whose only field is an empty list is empty',
    text: source('§{principals: §[]}'),
    faults: [
      'error spec.rules[0].from[0].source: is empty',
      'warning spec.rules[0].from[0].source.principals: is empty, which means absent',
    ],
  },
  {
    title: 'an empty list beside a field is absent, with a warning',
    text: source('{principals: §[], namespaces: [a]}'),
    faults: ['warning spec.rules[0].from[0].source.principals: is empty, which means absent'],
  },
  {
    title: 'null is refused',
    text: source('{principals: §null, namespaces: [a]}'),
    faults: ['error spec.rules[0].from[0].source.principals: is empty; give it a value'],
  },
  {
    title: 'a misspelt field is refused, not passed over: the rule would be wider',
    text: source('{namespaces: [a], §principal: [b]}'),
    faults: ['error spec.rules[0].from[0].source.principal: unknown field; did you mean principals?'],
  },
  {
    title: 'empty strings are refused wherever they stand',
    text: source('{principals: [a, §""], notNamespaces: [§""]}'),
    faults: [
      'error spec.rules[0].from[0].source.principals[1]: is empty',
      'error spec.rules[0].from[0].source.notNamespaces[0]: is empty',
    ],
  },
  {
    title: 'a principal with its scheme never matches: a warning',
    text: source('{principals: [§spiffe://cluster.local/ns/a/sa/b], notPrincipals: [§spiffe://x]}'),
    faults: [
      'warning spec.rules[0].from[0].source.principals[0]: never matches with spiffe:// in front',
      'warning spec.rules[0].from[0].source.notPrincipals[0]: never matches with spiffe:// in front',
    ],
  },
  {
    title: 'blocks are addresses or CIDR ranges',
    text: source(
      '{ipBlocks: [§10.0.0.0/33, §010.0.0.1, §example.com, 10.0.0.1, §"::1/129"], notIpBlocks: [§1.2.3]}',
    ),
    faults: [
      'error spec.rules[0].from[0].source.ipBlocks[0]: "10.0.0.0/33" is not an IP address or CIDR range',
      'error spec.rules[0].from[0].source.ipBlocks[1]: "010.0.0.1"',
      'error spec.rules[0].from[0].source.ipBlocks[2]: "example.com"',
      'error spec.rules[0].from[0].source.ipBlocks[4]: "::1/129"',
      'error spec.rules[0].from[0].source.notIpBlocks[0]: "1.2.3"',
    ],
  },
  {
    title: 'an address written as a number is refused with its remedy',
    text: source('{ipBlocks: [§1.5]}'),
    faults: [
      'error spec.rules[0].from[0].source.ipBlocks[0]: must be a string, not the number 1.5; quote it: "1.5"',
    ],
  },
  {
    title: 'remote blocks are addresses or CIDR ranges too',
    text: source('{remoteIpBlocks: [§a, 10.0.0.0/8], notRemoteIpBlocks: [§1.2.3.4/33]}'),
    faults: [
      'error spec.rules[0].from[0].source.remoteIpBlocks[0]: "a" is not an IP address or CIDR range',
      'error spec.rules[0].from[0].source.notRemoteIpBlocks[0]: "1.2.3.4/33"',
    ],
  },
  {
    title: 'service accounts are one or two names without wildcards',
    text: source('{serviceAccounts: [a, n/a, §"*", §a/b/c, §/a, §n/, §"/"], notServiceAccounts: [§n/*]}'),
    faults: [
      'error spec.rules[0].from[0].source.serviceAccounts[2]: "*" holds a wildcard',
      'error spec.rules[0].from[0].source.serviceAccounts[3]: "a/b/c" must have the form serviceAccount or',
      'error spec.rules[0].from[0].source.serviceAccounts[4]: "/a" must have the form',
      'error spec.rules[0].from[0].source.serviceAccounts[5]: "n/" must have the form',
      'error spec.rules[0].from[0].source.serviceAccounts[6]: "/" must have the form',
      'error spec.rules[0].from[0].source.notServiceAccounts[0]: "n/*" holds a wildcard',
    ],
  },
  {
    title: '17 service accounts are too many, and 321 bytes too long',
    text: source(
      `{serviceAccounts: §[${Array.from({ length: 17 }, (_, i) => `a${i}`).join(', ')}], notServiceAccounts: [${'é'.repeat(160)}, §${'é'.repeat(160)}a]}`,
    ),
    faults: [
      'error spec.rules[0].from[0].source.serviceAccounts: has more than 16 values',
      'error spec.rules[0].from[0].source.notServiceAccounts[1]: has more than 320 characters',
    ],
  },
  ...['principals', 'notPrincipals', 'namespaces', 'notNamespaces'].map(
    (field): Case => ({
      title: `service accounts do not stand beside ${field}`,
      text: source(`{serviceAccounts: §[a], notServiceAccounts: §[b], ${field}: [c]}`),
      faults: [
        `error spec.rules[0].from[0].source.serviceAccounts: cannot stand beside ${field}; write two sources`,
        `error spec.rules[0].from[0].source.notServiceAccounts: cannot stand beside ${field}`,
      ],
    }),
  ),
  {
    title: 'service accounts do not stand beside namespaces written empty either, which the schema counts',
    text: source('{serviceAccounts: §[a], namespaces: §[]}'),
    faults: [
      'error spec.rules[0].from[0].source.serviceAccounts: cannot stand beside namespaces',
      'warning spec.rules[0].from[0].source.namespaces: is empty',
    ],
  },
  {
    title: 'trust domains have one wildcard at most, at an edge, and no slash',
    text: source(
      '{trustDomains: ["*", "a*", "*a", §"*a*", §"**", §"a*b"], notTrustDomains: [a.b, §a/b, §""]}',
    ),
    faults: [
      'error spec.rules[0].from[0].source.trustDomains[3]: "*a*" holds more than one wildcard',
      'error spec.rules[0].from[0].source.trustDomains[4]: "**" holds more than one wildcard',
      'error spec.rules[0].from[0].source.trustDomains[5]: "a*b" holds a wildcard in its middle',
      'error spec.rules[0].from[0].source.notTrustDomains[1]: "a/b" holds "/"',
      'error spec.rules[0].from[0].source.notTrustDomains[2]: is empty',
    ],
  },
  ...[
    'principals',
    'notPrincipals',
    'requestPrincipals',
    'notRequestPrincipals',
    'namespaces',
    'notNamespaces',
    'serviceAccounts',
    'notServiceAccounts',
    'trustDomains',
    'notTrustDomains',
  ].map(
    (field): Case => ({
      title: `${field} cannot be used with CUSTOM`,
      text: custom(`{from: [{source: {ipBlocks: [1.2.3.4], ${field}: §[x]}}]}`),
      faults: [`error spec.rules[0].from[0].source.${field}: cannot be used with action CUSTOM`],
    }),
  ),
  {
    title: 'addresses and operations can be used with CUSTOM',
    text: custom(
      '{from: [{source: {ipBlocks: [1.2.3.4], notIpBlocks: ["::1"], remoteIpBlocks: ["::2"], notRemoteIpBlocks: ["::3"]}}], to: [{operation: {hosts: ["a:80"], methods: [GET], ports: ["80"], paths: [/x]}}], when: [{key: remote.ip, values: ["::1"]}, {key: "request.headers[a]", values: [b]}]}',
    ),
  },
];

const OPERATIONS: readonly Case[] = [
  {
    title: 'every field of an operation',
    text: operation(
      '{hosts: ["a.com*", "*.b.com:80"], notHosts: ["c:80"], ports: ["80", "0"], notPorts: ["8080"], methods: [GET], notMethods: ["P*"], paths: [/a, "/b*", "*/c", "*"], notPaths: [/d]}',
    ),
  },
  {
    title: 'an empty operation is refused',
    text: operation('§{}'),
    faults: ['error spec.rules[0].to[0].operation: is empty'],
  },
  {
    title: 'ports are strings',
    text: operation('{ports: [§80]}'),
    faults: [
      'error spec.rules[0].to[0].operation.ports[0]: must be a string, not the number 80; quote it: "80"',
    ],
  },
  {
    title: 'ports are numbers from 0 to 65535',
    text: operation('{ports: ["80", §"65536", §"-1", §http], notPorts: [§"8080 "]}'),
    faults: [
      'error spec.rules[0].to[0].operation.ports[1]: "65536" is not a port',
      'error spec.rules[0].to[0].operation.ports[2]: "-1" is not a port',
      'error spec.rules[0].to[0].operation.ports[3]: "http" is not a port',
      'error spec.rules[0].to[0].operation.notPorts[0]: "8080 " is not a port',
    ],
  },
  {
    title: 'NO is a boolean to YAML 1.1, not a method',
    text: operation('{methods: [§NO]}'),
    faults: [
      'error spec.rules[0].to[0].operation.methods[0]: must be a string, not the boolean false (YAML reads NO so); quote it: "NO"',
    ],
  },
  {
    title: 'path templates',
    text: operation('{paths: ["/a/{*}", "/{**}", "/a/{*}/b/{**}", "/a/{**}/b", "/{*}/", "/a%20b/{*}"]}'),
  },
  ...(
    [
      ['/a/{**}/{*}', '{**} must be the last operator'],
      ['/{**}/{**}', '{**} must be the last operator'],
      ['/a/{*', '"{" and "}" are for the templates'],
      ['/{x}', '"{" and "}" are for the templates'],
      ['/a{*}', '"{" and "}" are for the templates'],
      ['/{*}/a*', 'in a path template, segment "a*"'],
      ['/{*}//b', 'in a path template, segment ""'],
      ['/{*}/a?b', 'in a path template, segment "a?b"'],
      ['/{*}/a b', 'in a path template, segment "a b"'],
    ] as const
  ).map(
    ([path, problem]): Case => ({
      title: `the path ${path} is refused`,
      text: operation(`{paths: [§"${path}"]}`),
      faults: [`error spec.rules[0].to[0].operation.paths[0]: ${problem}`],
    }),
  ),
  {
    title: 'a path without a template may hold anything else',
    text: operation('{paths: ["/a//b", "/a*b", "/a b", "/é"]}'),
  },
];

const CONDITIONS: readonly Case[] = [
  { title: 'no conditions', text: rule('{when: []}') },
  {
    title: 'every key',
    text: when(
      '{key: remote.ip, values: ["::1"]}, {key: destination.ip, values: [10.0.0.1]}, {key: source.serviceAccount, values: [a/b]}, {key: source.trustDomain, values: ["a*"]}, {key: request.auth.principal, values: ["*"]}, {key: request.auth.audiences, values: [a]}, {key: request.auth.presenter, values: [a]}, {key: "request.auth.claims[a][b]", values: [c]}, {key: connection.sni, values: ["*.a"]}, {key: source.principal, values: [a]}, {key: source.namespace, notValues: [b]}, {key: source.ip, values: [10.0.0.0/8]}, {key: destination.port, values: ["80"]}, {key: "request.headers[x-a]", values: ["*"], notValues: [b]}',
    ),
  },
  {
    title: 'a condition has a key',
    text: when('§{values: [a]}'),
    faults: ['error spec.rules[0].when[0].key: must be set'],
  },
  {
    title: 'a condition has values',
    text: when('§{key: source.ip}'),
    faults: ['error spec.rules[0].when[0]: key source.ip needs values or notValues'],
  },
  {
    title: 'empty values are none',
    text: when('§{key: source.ip, values: [], notValues: []}'),
    faults: ['error spec.rules[0].when[0]: key source.ip needs values or notValues'],
  },
  {
    title: 'values are checked by their key',
    text: when('{key: source.ip, values: [§a], notValues: [§""]}, {key: destination.port, values: [§http]}'),
    faults: [
      'error spec.rules[0].when[0].values[0]: "a" is not an IP address',
      'error spec.rules[0].when[0].notValues[0]: is empty',
      'error spec.rules[0].when[1].values[0]: "http" is not a port',
    ],
  },
  {
    title: 'a principal with its scheme never matches: a warning',
    text: when('{key: source.principal, values: [§spiffe://a]}'),
    faults: ['warning spec.rules[0].when[0].values[0]: never matches with spiffe://'],
  },
  {
    title: 'headers stand in brackets',
    text: when(
      '{key: §request.headers, values: [a]}, {key: §"request.headers[]", values: [a]}, {key: §"request.headers[a]b", values: [a]}',
    ),
    faults: [
      'error spec.rules[0].when[0].key: "request.headers" must have the form request.headers[name]',
      'error spec.rules[0].when[1].key: "request.headers[]" must have the form',
      'error spec.rules[0].when[2].key: "request.headers[a]b" must have the form',
    ],
  },
  {
    title: 'keys that Istio does not know are refused',
    text: when('{key: §source.user, values: [a]}, {key: §"destination.labels[x]", values: [a]}'),
    faults: [
      'error spec.rules[0].when[0].key: "source.user" is not an attribute that Istio knows',
      "error spec.rules[0].when[1].key: destination.labels[x] was replaced by the policy's selector",
    ],
  },
  {
    title: 'keys that are misspelt',
    text: when(
      '{key: §"request.header[x]", values: [a]}, {key: §"request.auth.claim[a][b]", values: [a]}, {key: §source.principals, values: [a]}',
    ),
    faults: [
      'error spec.rules[0].when[0].key: "request.header[x]" is not an attribute that Istio knows; did you mean request.headers[x]?',
      'error spec.rules[0].when[1].key: "request.auth.claim[a][b]" is not an attribute that Istio knows; did you mean request.auth.claims[a][b]?',
      'error spec.rules[0].when[2].key: "source.principals" is not an attribute that Istio knows; did you mean source.principal?',
    ],
  },
  {
    title: 'claims and metadata stand in brackets',
    text: when(
      '{key: §request.auth.claims, values: [a]}, {key: §experimental.envoy.filters.a, values: [a]}, {key: §experimental.envoy, values: [a]}',
    ),
    faults: [
      'error spec.rules[0].when[0].key: "request.auth.claims" must have the form request.auth.claims[name]',
      'error spec.rules[0].when[1].key: "experimental.envoy.filters.a" must have the form experimental.envoy.filters.filter[key]',
      'error spec.rules[0].when[2].key: "experimental.envoy" is not an attribute that Istio knows',
    ],
  },
  {
    title:
      'values of addresses, service accounts and trust domains are checked; a condition takes a slash in the latter',
    text: when(
      '{key: remote.ip, values: [§a]}, {key: destination.ip, notValues: [§b]}, {key: source.serviceAccount, values: [§"*"], notValues: [§a/b/c]}, {key: source.trustDomain, values: [a/b, §"a*b"]}',
    ),
    faults: [
      'error spec.rules[0].when[0].values[0]: "a" is not an IP address',
      'error spec.rules[0].when[1].notValues[0]: "b" is not an IP address',
      'error spec.rules[0].when[2].values[0]: "*" holds a wildcard',
      'error spec.rules[0].when[2].notValues[0]: "a/b/c" must have the form',
      'error spec.rules[0].when[3].values[1]: "a*b" holds a wildcard in its middle',
    ],
  },
  {
    title: "metadata of Envoy's filters is not there: an ALLOW rule never matches",
    text: when('{key: §"experimental.envoy.filters.a.b[c]", values: [d]}'),
    faults: [
      'warning spec.rules[0].when[0].key: "experimental.envoy.filters.a.b[c]" asks about metadata of Envoy\'s filters, which Outrider does not have; the rule never matches',
    ],
  },
  {
    title: "metadata of Envoy's filters is not there: a DENY rule gets wider",
    text: '{action: DENY, rules: [{when: [{key: §"experimental.envoy.filters.a.b[c]", values: [d]}]}]}',
    faults: [
      'warning spec.rules[0].when[0].key: "experimental.envoy.filters.a.b[c]" asks about metadata of Envoy\'s filters, which Outrider does not have; the condition is left out, which makes the rule wider',
    ],
  },
  {
    title: "a key that passes Istio's validation and is no attribute",
    text: when('{key: §"request.headersX[a]", values: [b]}, {key: §"request.auth.claims.a[b]", values: [c]}'),
    faults: [
      'warning spec.rules[0].when[0].key: "request.headersX[a]" passes Istio\'s validation, but there is no such attribute; the rule never matches',
      'warning spec.rules[0].when[1].key: "request.auth.claims.a[b]" passes',
    ],
  },
  ...[
    'source.principal',
    'source.namespace',
    'source.serviceAccount',
    'source.trustDomain',
    'request.auth.principal',
    'request.auth.claims[a]',
  ].map(
    (key): Case => ({
      title: `the key ${key} cannot be used with CUSTOM`,
      text: custom(`{when: [{key: §"${key}", values: [x]}]}`),
      faults: [`error spec.rules[0].when[0].key: ${key} cannot be used with action CUSTOM`],
    }),
  ),
];

const gateway = '{kind: Gateway, group: gateway.networking.k8s.io, name: x}';
const BOUND: readonly Case[] = [
  {
    title: 'a policy with targetRefs is taken, with a warning',
    text: `{§targetRefs: [${gateway}, {kind: Service, name: web}]}`,
    faults: [
      'warning spec: a policy with targetRefs belongs to a gateway or waypoint; a sidecar passes it over',
    ],
  },
  {
    title: 'a policy with targetRef is taken, with a warning',
    text: `{§targetRef: ${gateway}}`,
    faults: ['warning spec: a policy with targetRefs belongs'],
  },
  {
    title: 'a target has a kind that can be bound to, and a name',
    text: '{§targetRefs: [§{kind: Pod, name: x}, {kind: Service, name: §""}]}',
    faults: [
      'warning spec: a policy',
      'error spec.targetRefs[0]: "core/Pod" cannot be a target',
      'error spec.targetRefs[1].name: must be set',
    ],
  },
  {
    title: 'selector and targetRefs exclude each other, even when empty',
    text: '§{selector: {matchLabels: {a: b}}, targetRefs: []}',
    faults: ['error spec: only one of selector, targetRef and targetRefs can be set'],
  },
  {
    title: '17 targets are too many',
    text: `{§targetRefs: §[${Array.from({ length: 17 }, () => gateway).join(', ')}]}`,
    faults: ['warning spec: a policy', 'error spec.targetRefs: has more than 16 entries'],
  },
];

const SELECTORS: readonly Case[] = [
  {
    title: 'a label has 63 characters at most, however many bytes',
    text: `{selector: {matchLabels: {a: ${'😀'.repeat(63)}, b: §${'x'.repeat(64)}}}}`,
    faults: ['error spec.selector.matchLabels.b: has more than 63 characters'],
  },
  {
    title: 'labels have names, and no wildcards',
    text: '{selector: {matchLabels: {"": §a, "b*": §c, d: ""}}}',
    faults: [
      'error spec.selector.matchLabels.: a label has a name; the key is empty',
      'error spec.selector.matchLabels.b*: selectors take no wildcard',
    ],
  },
  {
    title: '4097 labels are too many',
    text: `{selector: {matchLabels: §{${Array.from({ length: 4_097 }, (_, i) => `k${i}: v`).join(', ')}}}}`,
    faults: ['error spec.selector.matchLabels: has more than 4096 labels'],
  },
];

const TCP = 'denies every connection to TCP ports too';
const DENY_ON_TCP: readonly Case[] = [
  {
    title: 'DENY with HTTP fields alone also denies TCP: a warning',
    text: '{action: DENY, rules: [§{to: [{operation: {methods: [GET]}}]}]}',
    faults: [`warning spec.rules[0]: ${TCP}`],
  },
  {
    title: 'a source beside a to without ports is what is left on TCP',
    text: '{action: DENY, rules: [§{from: [{source: {namespaces: [a]}}], to: [{operation: {paths: [/a]}}]}]}',
    faults: ['warning spec.rules[0]: denies TCP connections too, whatever its HTTP attributes say'],
  },
  {
    title: 'DENY with ports or with a source alone does not warn',
    text: '{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ["80"]}}]}, {from: [{source: {namespaces: [a]}}]}]}',
  },
  {
    title: 'DENY with trust domains alone is warned of, as in Istio',
    text: '{action: DENY, rules: [§{from: [{source: {trustDomains: [a]}}]}, §{from: [{source: {requestPrincipals: [a]}}]}]}',
    faults: [
      'warning spec.rules[0]: denies TCP connections too; add to.operation.ports if HTTP alone is meant',
      `warning spec.rules[1]: ${TCP}`,
    ],
  },
  { title: 'ALLOW does not warn', text: operation('{methods: [GET]}') },
];

for (const cases of [SHAPE, SOURCES, OPERATIONS, CONDITIONS, BOUND, SELECTORS, DENY_ON_TCP])
  runCases(cases, text => wrap(text) + AROUND);

const dryRun = (value: string, action: string): string =>
  wrap(`{action: ${action}, rules: [{}]}`).replace(
    'namespace: foo',
    `namespace: foo, annotations: {istio.io/dry-run: ${value}}`,
  );

t.test("a dry run is asked for with one of Go's words for true, and false is none", async t => {
  for (const word of ['1', 't', 'T', 'TRUE', 'true', 'True']) {
    const result = loadText(dryRun(`"${word}"`, 'DENY'));
    t.match(result, { ok: true, resources: { authorizationPolicies: [{ dryRun: true }] } }, word);
  }
  for (const word of ['0', 'f', 'F', 'FALSE', 'false', 'False']) {
    const result = loadText(dryRun(`"${word}"`, 'ALLOW'));
    t.match(result, { ok: true, resources: { authorizationPolicies: [{ dryRun: false }] } }, word);
  }
});

t.test('other words, and a dry run of AUDIT or CUSTOM, are refused', async t => {
  for (const word of ['yes', '', 'tRUE', ' true']) {
    t.match(
      loadText(dryRun(`"${word}"`, 'DENY')),
      { ok: false, faults: [{ line: 3, message: /istio.io\/dry-run must be "true" or "false"/ }] },
      word,
    );
  }
  for (const action of ['AUDIT', 'CUSTOM, provider: {name: x}']) {
    t.match(
      loadText(dryRun('"false"', action)),
      { ok: false, faults: [{ line: 3, message: /istio.io\/dry-run goes with ALLOW and DENY only/ }] },
      action,
    );
  }
});

t.test('a policy comes out as data: absent fields absent, empty lists gone', async t => {
  const result = loadText(
    wrap(
      '{selector: {matchLabels: {app: web}}, rules: [{from: [{source: {principals: [a, b], namespaces: []}}], to: [], when: [{key: source.ip, values: [10.0.0.1]}]}, {}]}',
    ),
  );
  t.ok(result.ok);
  t.same(
    result.ok && result.resources.authorizationPolicies.map(({ origin, metadata, ...policy }) => policy),
    [
      {
        kind: 'AuthorizationPolicy',
        selector: { app: 'web' },
        bound: false,
        action: 'ALLOW',
        provider: null,
        dryRun: false,
        rules: [
          {
            from: [{ principals: ['a', 'b'] }],
            to: null,
            when: [{ key: 'source.ip', values: ['10.0.0.1'], notValues: [] }],
          },
          { from: null, to: null, when: [] },
        ],
      },
    ],
  );
});

t.test('a bound policy is marked, and CUSTOM keeps the name of its provider', async t => {
  t.match(loadText(wrap(`{targetRef: ${gateway}, action: AUDIT, rules: [{}]}`)), {
    ok: true,
    resources: { authorizationPolicies: [{ bound: true, action: 'AUDIT', provider: null }] },
  });
  t.match(loadText(wrap(custom('{}'))), {
    ok: true,
    resources: { authorizationPolicies: [{ bound: false, action: 'CUSTOM', provider: 'x' }] },
  });
});
