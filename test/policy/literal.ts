/**
 * AuthorizationPolicy read literally and slowly: the sentences of Istio's reference as code, with nothing compiled, bound or
 * remembered. The property tests hold the real evaluator against it.
 */
import type { AuthorizationPolicy, Operation, Rule, Source } from '../../src/config/resources.ts';
import {
  accountMatches,
  blockMatches,
  claimMatches,
  lastForwarded,
  namespaceMatches,
  pathMatches,
  principalMatches,
  requestPrincipalMatches,
  textMatches,
  trustDomainMatches,
} from './literal-values.ts';

/** What a rule may ask about. */
export interface Given {
  /** As policies write it; null on plaintext. */
  readonly identity: string | null;
  /** IPv4 only, as the other. */
  readonly sourceIp: string;
  readonly destinationIp: string;
  readonly port: number;
  readonly sni: string | null;
  /** null on TCP. */
  readonly request: GivenRequest | null;
}

export interface GivenRequest {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** The verified token's payload. */
  readonly claims: Readonly<Record<string, unknown>> | null;
}

export interface Mesh {
  readonly trustDomains: readonly string[];
  readonly providers: readonly { readonly name: string; readonly kind: 'http' | 'grpc' }[];
  readonly multipleProviders: boolean;
}

/** All that the policies say. */
export interface Verdict {
  /** `allow` or `deny`, and the smallest name of a rule that matched, or none. */
  readonly decision: readonly [decision: string, rule: string | null];
  /** `PROVIDER RULE` each, with `!` in front when it is refused at once. */
  readonly custom: readonly string[];
  readonly audit: readonly string[];
  /** `NS/NAME decision` each. */
  readonly dryRun: readonly string[];
}

export function readLiterally(policies: readonly AuthorizationPolicy[], mesh: Mesh, given: Given): Verdict {
  const enforced = policies.filter(policy => !policy.dryRun);
  const tried = policies.filter(policy => policy.dryRun);
  const names = (action: string) => matching(enforced, action, mesh, given);
  const audit = of(enforced, 'AUDIT').filter(policy => rulesOf(policy, mesh, given).length > 0);
  return {
    decision: decide(enforced, names),
    custom: askLiterally(of(enforced, 'CUSTOM'), mesh, given),
    audit: audit.map(nameOf).sort(),
    dryRun: tryLiterally(tried, mesh, given),
  };
}

function decide(
  enforced: readonly AuthorizationPolicy[],
  names: (action: string) => string[],
): [string, string | null] {
  const denied = names('DENY');
  if (denied.length > 0) return ['deny', denied[0]!];
  if (of(enforced, 'ALLOW').length === 0) return ['allow', null];
  const allowed = names('ALLOW');
  return allowed.length > 0 ? ['allow', allowed[0]!] : ['deny', null];
}

function askLiterally(policies: readonly AuthorizationPolicy[], mesh: Mesh, given: Given): string[] {
  const names = [...new Set(policies.map(policy => policy.provider!))].sort();
  const several = names.length > 1 && !mesh.multipleProviders;
  return names.flatMap(name => {
    const provider = mesh.providers.find(known => known.name === name);
    const bad = several || provider === undefined;
    if (!bad && provider.kind === 'http' && given.request === null) return [];
    const mine = policies.filter(policy => policy.provider === name);
    const [first] = matching(mine, 'CUSTOM', mesh, given);
    return first === undefined ? [] : [`${bad ? '!' : ''}${name} ${first}`];
  });
}

function tryLiterally(tried: readonly AuthorizationPolicy[], mesh: Mesh, given: Given): string[] {
  const matches = (policy: AuthorizationPolicy) => rulesOf(policy, mesh, given).length > 0;
  const denying = of(tried, 'DENY').filter(matches);
  const allowing = of(tried, 'ALLOW');
  const allowed = allowing.filter(matches);
  return [
    ...denying.map(policy => `${nameOf(policy)} deny`),
    ...(allowed.length > 0 ? allowed : allowing).map(
      policy => `${nameOf(policy)} ${allowed.length > 0 ? 'allow' : 'deny'}`,
    ),
  ].sort();
}

function of(policies: readonly AuthorizationPolicy[], action: string): AuthorizationPolicy[] {
  return policies.filter(policy => policy.action === action);
}

function nameOf({ metadata }: AuthorizationPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Names of the rules that match, the smallest first. */
function matching(
  policies: readonly AuthorizationPolicy[],
  action: string,
  mesh: Mesh,
  given: Given,
): string[] {
  return of(policies, action)
    .flatMap(policy => rulesOf(policy, mesh, given))
    .sort();
}

function rulesOf(policy: AuthorizationPolicy, mesh: Mesh, given: Given): string[] {
  const { namespace, name } = policy.metadata;
  const reader = new Reader(namespace, mesh, given);
  return policy.rules.flatMap((rule, index) =>
    reader.ruleMatches(rule, policy.action) ? [`ns[${namespace}]-policy[${name}]-rule[${index}]`] : [],
  );
}

const NOBODY: GivenRequest = { method: '', host: '', path: '', query: '', headers: {}, claims: null };
const HTTP_ONLY = ['hosts', 'notHosts', 'methods', 'notMethods', 'paths', 'notPaths'] as const;
const TOKEN_ONLY = ['requestPrincipals', 'notRequestPrincipals'] as const;

/** Reads the rules of policies in one namespace. */
class Reader {
  readonly #namespace: string;
  readonly #mesh: Mesh;
  readonly #given: Given;
  readonly #request: GivenRequest;

  constructor(namespace: string, mesh: Mesh, given: Given) {
    this.#namespace = namespace;
    this.#mesh = mesh;
    this.#given = given;
    this.#request = given.request ?? NOBODY;
  }

  ruleMatches(rule: Rule, action: string): boolean {
    if (this.#given.request === null) {
      if (action === 'ALLOW' && asksForHttp(rule)) return false;
      return this.#matches(withoutHttp(rule));
    }
    return this.#matches(rule);
  }

  #matches({ from, to, when }: Rule): boolean {
    return (
      (from === null || from.some(source => this.#sourceMatches(source))) &&
      (to === null || to.some(operation => this.#operationMatches(operation))) &&
      when.every(condition => this.#conditionMatches(condition))
    );
  }

  #sourceMatches(source: Source): boolean {
    const is = (key: string) => (value: string) => this.#keyMatches(key, value);
    return (
      both(source.principals, source.notPrincipals, is('source.principal')) &&
      both(source.requestPrincipals, source.notRequestPrincipals, is('request.auth.principal')) &&
      both(source.namespaces, source.notNamespaces, is('source.namespace')) &&
      both(source.serviceAccounts, source.notServiceAccounts, is('source.serviceAccount')) &&
      both(source.trustDomains, source.notTrustDomains, is('source.trustDomain')) &&
      both(source.ipBlocks, source.notIpBlocks, is('source.ip')) &&
      both(source.remoteIpBlocks, source.notRemoteIpBlocks, is('remote.ip'))
    );
  }

  #operationMatches(operation: Operation): boolean {
    const { method, host, path } = this.#request;
    const isHost = (value: string) => value === '*' || textMatches(value.toLowerCase(), host.toLowerCase());
    const isMethod = (value: string) => value === '*' || textMatches(value, method);
    return (
      both(operation.hosts, operation.notHosts, isHost) &&
      both(operation.ports, operation.notPorts, value => Number(value) === this.#given.port) &&
      both(operation.methods, operation.notMethods, isMethod) &&
      both(operation.paths, operation.notPaths, value => pathMatches(value, path))
    );
  }

  #conditionMatches({ key, values, notValues }: Rule['when'][number]): boolean {
    const matches = (value: string) => this.#keyMatches(key, value);
    return (values.length === 0 || values.some(matches)) && !notValues.some(matches);
  }

  #keyMatches(key: string, value: string): boolean {
    const { identity, sourceIp, destinationIp, port, sni } = this.#given;
    const { trustDomains } = this.#mesh;
    switch (key) {
      case 'source.principal':
        return principalMatches(value, identity, trustDomains);
      case 'source.namespace':
        return namespaceMatches(value, identity);
      case 'source.serviceAccount':
        return accountMatches(value, identity, this.#namespace);
      case 'source.trustDomain':
        return trustDomainMatches(value, identity, trustDomains);
      case 'source.ip':
        return blockMatches(value, sourceIp);
      case 'remote.ip':
        return blockMatches(value, lastForwarded(this.#request.headers['x-forwarded-for']) ?? sourceIp);
      case 'destination.ip':
        return blockMatches(value, destinationIp);
      case 'destination.port':
        return Number(value) === port;
      case 'connection.sni':
        return textMatches(value, (sni ?? '').toLowerCase());
      default:
        return this.#requestKeyMatches(key, value);
    }
  }

  #requestKeyMatches(key: string, value: string): boolean {
    const { method, path, query, headers, claims } = this.#request;
    switch (key) {
      case 'request.headers[:method]':
        return textMatches(value, method);
      case 'request.headers[:path]':
        return textMatches(value, path + query);
      case 'request.auth.principal':
        return requestPrincipalMatches(value, claims);
      case 'request.auth.audiences':
        return claimMatches(value, ['aud'], claims);
      case 'request.auth.presenter':
        return claimMatches(value, ['azp'], claims);
      default: {
        const names = [...key.matchAll(/\[(.*?)\]/g)].map(([, name]) => name!);
        if (key.startsWith('request.auth.claims')) return claimMatches(value, names, claims);
        const lines = headers[names[0]!.toLowerCase()] ?? [];
        return lines.some(line => value === '*' || textMatches(value, line));
      }
    }
  }
}

function both(
  values: readonly string[] | undefined,
  notValues: readonly string[] | undefined,
  matches: (value: string) => boolean,
): boolean {
  return (values === undefined || values.some(matches)) && !(notValues ?? []).some(matches);
}

function asksForHttp({ from, to, when }: Rule): boolean {
  return (
    (from ?? []).some(source => TOKEN_ONLY.some(field => source[field] !== undefined)) ||
    (to ?? []).some(operation => HTTP_ONLY.some(field => operation[field] !== undefined)) ||
    when.some(({ key }) => key.startsWith('request.'))
  );
}

function withoutHttp({ from, to, when }: Rule): Rule {
  return {
    from: from?.map(source => without(source, TOKEN_ONLY)) ?? null,
    to: to?.map(operation => without(operation, HTTP_ONLY)) ?? null,
    when: when.filter(({ key }) => !key.startsWith('request.')),
  };
}

function without<T extends object>(fields: T, names: readonly (keyof T)[]): T {
  const left = { ...fields };
  for (const name of names) delete left[name];
  return left;
}
