/**
 * AuthorizationPolicy read literally and slowly: the sentences of Istio's reference as code, with nothing compiled, bound or
 * remembered. The property test holds the real evaluator against it.
 */
import type { AuthorizationPolicy, Operation, Rule, Source } from '../../src/config/resources.ts';

export interface Given {
  /** As policies write it; null on plaintext. */
  readonly identity: string | null;
  /** IPv4 only. */
  readonly sourceIp: string;
  readonly port: number;
  /** null on TCP. */
  readonly request: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly query: string;
    readonly headers: Readonly<Record<string, readonly string[]>>;
  } | null;
}

/** `allow`, `deny`, and the smallest name of a rule that matched, or null. */
export function decideLiterally(
  policies: readonly AuthorizationPolicy[],
  given: Given,
): [string, string | null] {
  const denied = namesOf(policies, 'DENY', given);
  if (denied.length > 0) return ['deny', denied[0]!];
  if (!policies.some(policy => policy.action === 'ALLOW')) return ['allow', null];
  const allowed = namesOf(policies, 'ALLOW', given);
  return allowed.length > 0 ? ['allow', allowed[0]!] : ['deny', null];
}

function namesOf(policies: readonly AuthorizationPolicy[], action: string, given: Given): string[] {
  const names: string[] = [];
  for (const policy of policies.filter(policy => policy.action === action)) {
    policy.rules.forEach((rule, index) => {
      const { namespace, name } = policy.metadata;
      if (ruleMatches(rule, action, given)) names.push(`ns[${namespace}]-policy[${name}]-rule[${index}]`);
    });
  }
  return names.sort();
}

function ruleMatches(rule: Rule, action: string, given: Given): boolean {
  if (given.request === null) {
    if (action === 'ALLOW' && asksForHttp(rule)) return false;
    return ruleMatches(withoutHttp(rule), '', { ...given, request: { ...NOBODY } });
  }
  const from = rule.from === null || rule.from.some(source => sourceMatches(source, given));
  const to = rule.to === null || rule.to.some(operation => operationMatches(operation, given));
  return from && to && rule.when.every(condition => conditionMatches(condition, given));
}

const NOBODY = { method: '', host: '', path: '', query: '', headers: {} };
const HTTP_ONLY = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const;

function asksForHttp(rule: Rule): boolean {
  const inOperation = (rule.to ?? []).some(operation =>
    HTTP_ONLY.some(field => operation[field] !== undefined),
  );
  return inOperation || rule.when.some(({ key }) => key.startsWith('request.'));
}

function withoutHttp(rule: Rule): Rule {
  const to = rule.to?.map(({ ports, notPorts }) => ({
    ...(ports && { ports }),
    ...(notPorts && { notPorts }),
  }));
  return {
    from: rule.from,
    to: to ?? null,
    when: rule.when.filter(({ key }) => !key.startsWith('request.')),
  };
}

function sourceMatches(source: Source, given: Given): boolean {
  return (
    field(source.principals, value => principalMatches(value, given)) &&
    not(source.notPrincipals, value => principalMatches(value, given)) &&
    field(source.namespaces, value => namespaceMatches(value, given)) &&
    not(source.notNamespaces, value => namespaceMatches(value, given)) &&
    field(source.ipBlocks, value => blockMatches(value, given)) &&
    not(source.notIpBlocks, value => blockMatches(value, given))
  );
}

function operationMatches(operation: Operation, given: Given): boolean {
  const { method, host, path } = given.request!;
  const hostMatches = (value: string) =>
    value === '*' || textMatches(value.toLowerCase(), host.toLowerCase());
  const methodMatches = (value: string) => value === '*' || textMatches(value, method);
  return (
    field(operation.hosts, hostMatches) &&
    not(operation.notHosts, hostMatches) &&
    field(operation.ports, value => Number(value) === given.port) &&
    not(operation.notPorts, value => Number(value) === given.port) &&
    field(operation.methods, methodMatches) &&
    not(operation.notMethods, methodMatches) &&
    field(operation.paths, value => pathMatches(value, path)) &&
    not(operation.notPaths, value => pathMatches(value, path))
  );
}

function conditionMatches({ key, values, notValues }: Rule['when'][number], given: Given): boolean {
  const matches = (value: string) => keyMatches(key, value, given);
  return (values.length === 0 || values.some(matches)) && !notValues.some(matches);
}

function keyMatches(key: string, value: string, given: Given): boolean {
  const { method, path, query, headers } = given.request!;
  switch (key) {
    case 'source.principal':
      return principalMatches(value, given);
    case 'source.namespace':
      return namespaceMatches(value, given);
    case 'source.ip':
      return blockMatches(value, given);
    case 'destination.port':
      return Number(value) === given.port;
    case 'request.headers[:method]':
      return textMatches(value, method);
    case 'request.headers[:path]':
      return textMatches(value, path + query);
    default: {
      const lines = headers[/\[(.*)\]/.exec(key)![1]!.toLowerCase()] ?? [];
      return lines.some(line => value === '*' || textMatches(value, line));
    }
  }
}

function field(values: readonly string[] | undefined, matches: (value: string) => boolean): boolean {
  return values === undefined || values.some(matches);
}

function not(values: readonly string[] | undefined, matches: (value: string) => boolean): boolean {
  return values === undefined || !values.some(matches);
}

function principalMatches(value: string, { identity }: Given): boolean {
  return identity !== null && (value === '*' || textMatches(value, identity));
}

function namespaceMatches(value: string, { identity }: Given): boolean {
  return identity !== null && new RegExp(`^.*/ns/${quoted(value, '.*')}/.*$`).test(`spiffe://${identity}`);
}

function blockMatches(block: string, { sourceIp }: Given): boolean {
  const [address, length = '32'] = block.split('/');
  const bits = (ip: string) =>
    ip
      .split('.')
      .map(octet => Number(octet).toString(2).padStart(8, '0'))
      .join('');
  return bits(address!).slice(0, Number(length)) === bits(sourceIp).slice(0, Number(length));
}

function pathMatches(value: string, path: string): boolean {
  if (!value.includes('{*}') && !value.includes('{**}')) return textMatches(value, path);
  const operators: Record<string, string> = { '{*}': '[^/]+', '{**}': '.*' };
  return new RegExp(
    `^${value
      .split('/')
      .map(part => operators[part] ?? quoted(part, '\\*'))
      .join('/')}$`,
  ).test(path);
}

function textMatches(value: string, text: string): boolean {
  if (value === '*') return text !== '';
  if (value.startsWith('*')) return text.endsWith(value.slice(1));
  return value.endsWith('*') ? text.startsWith(value.slice(0, -1)) : text === value;
}

function quoted(text: string, star: string): string {
  return text
    .split('*')
    .map(part => part.replace(/[^\w/]/g, '\\$&'))
    .join(star);
}
