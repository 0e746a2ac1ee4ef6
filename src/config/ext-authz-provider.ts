/** envoyExtAuthzHttp and envoyExtAuthzGrpc, with Istio's defaults and its conditions for a provider that can be used. */
import { addressFamily } from './addresses.ts';
import { parseDuration } from './duration.ts';
import { isDnsLabel, nameProblem, wildcardNameProblem } from './names.ts';
import { quote } from './quote.ts';
import type { ExtAuthzGrpc, ExtAuthzHttp } from './resources.ts';
import type { Item, Section } from './section.ts';
import { MAX_PORT } from './service-port.ts';

const DEFAULT_TIMEOUT_MS = 600_000; // Istio's
const DEFAULT_STATUS = 403;
const MAX_UINT32 = 4_294_967_295;
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const HEADER_VALUE = /^[\t\u0020-\u007e\u0080-\u{10ffff}]*$/u;
const STATUSES = new Set([
  // Envoy's StatusCode, which is what Istio takes; its 0 and 100 cannot end a request
  200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402,
  403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 426, 428,
  429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
]);

type Common = Omit<ExtAuthzGrpc, 'kind'>;

/** Reads one provider; what makes it unusable is a warning, as in Istio, and it reads as null. */
export class ProviderReader {
  readonly #section: Section;
  #usable = true;

  constructor(section: Section) {
    this.#section = section;
  }

  /** Says that the provider cannot be used, and why. */
  refuse(section: Section, field: string, problem: string): void {
    this.#usable = false;
    section.warning(
      field,
      `${problem}; until then every request for which this provider would be asked is denied`,
    );
  }

  readHttp(name: string): ExtAuthzHttp | null {
    const section = this.#section;
    const common = this.#readCommon(name);
    const included = this.#patterns('includeRequestHeadersInCheck');
    const older = this.#patterns('includeHeadersInCheck');
    const provider: ExtAuthzHttp = {
      kind: 'http',
      ...common,
      pathPrefix: this.#readPathPrefix(),
      includeRequestHeadersInCheck: included.length > 0 ? included : older,
      includeAdditionalHeadersInCheck: this.#readAdditional(),
      headersToUpstreamOnAllow: this.#patterns('headersToUpstreamOnAllow'),
      headersToDownstreamOnDeny: this.#patterns('headersToDownstreamOnDeny'),
      headersToDownstreamOnAllow: this.#patterns('headersToDownstreamOnAllow'),
    };
    if (included.length > 0 && older.length > 0)
      section.warning(
        'includeHeadersInCheck',
        'has no effect beside includeRequestHeadersInCheck; remove it',
      );
    if (common.includeRequestBodyInCheck?.packAsBytes) {
      section
        .section('includeRequestBodyInCheck')
        ?.warning('packAsBytes', 'has no effect over HTTP; remove it');
    }
    return this.#finish(provider);
  }

  readGrpc(name: string): ExtAuthzGrpc | null {
    return this.#finish({ kind: 'grpc', ...this.#readCommon(name) });
  }

  #finish<T>(provider: T): T | null {
    this.#section.close('warning');
    return this.#usable && !this.#section.report.failed ? provider : null;
  }

  #readCommon(name: string): Common {
    const section = this.#section;
    const clearRouteCache = section.flag('clearRouteCache') ?? false;
    if (clearRouteCache)
      section.warning('clearRouteCache', 'has no effect: a request at the workload has one destination');
    return {
      name,
      service: this.#readService(),
      port: this.#readPort(),
      timeoutMs: this.#readTimeout(),
      failOpen: section.flag('failOpen') ?? false,
      statusOnError: this.#readStatus(),
      clearRouteCache,
      includeRequestBodyInCheck: this.#readBody(),
    };
  }

  /** `[namespace/]host`; gives the host. */
  #readService(): string {
    const service = this.#section.text('service') ?? '';
    const problem = serviceProblem(service);
    if (problem !== null) this.refuse(this.#section, 'service', problem);
    return service.slice(service.indexOf('/') + 1);
  }

  #readPort(): number {
    const port = readUint32(this.#section, 'port');
    if (port !== null && (port < 1 || port > MAX_PORT))
      this.refuse(this.#section, 'port', `must be set, to a port from 1 to ${MAX_PORT}`);
    return port ?? 0;
  }

  /** Any of Go's durations; 0 is no limit, and what is shorter than a millisecond is one. */
  #readTimeout(): number {
    const text = this.#section.text('timeout');
    if (text === null) return DEFAULT_TIMEOUT_MS;
    const ms = parseDuration(text);
    if (ms === null)
      this.#section.error('timeout', `${quote(text)} is not a duration such as 10s, 500ms or 1h30m`);
    else if (ms < 0)
      this.refuse(this.#section, 'timeout', `${quote(text)} is negative; write 0s for no limit`);
    return Math.ceil(ms ?? 0);
  }

  #readStatus(): number {
    const text = this.#section.text('statusOnError') ?? '';
    if (text === '') return DEFAULT_STATUS;
    const status = /^\+?[0-9]+$/.test(text) ? Number(text) : Number.NaN;
    if (!STATUSES.has(status))
      this.refuse(
        this.#section,
        'statusOnError',
        `${quote(text)} is not an HTTP status that Envoy knows, such as "403"`,
      );
    return status;
  }

  #readBody(): Common['includeRequestBodyInCheck'] {
    const section = this.#section.section('includeRequestBodyInCheck');
    if (!section) return null;
    const maxRequestBytes = readUint32(section, 'maxRequestBytes');
    if (maxRequestBytes === 0) this.refuse(section, 'maxRequestBytes', 'must be set, to at least 1');
    const allowPartialMessage = section.flag('allowPartialMessage') ?? false;
    const packAsBytes = section.flag('packAsBytes') ?? false;
    section.close('warning');
    return { maxRequestBytes: maxRequestBytes ?? 0, allowPartialMessage, packAsBytes };
  }

  #readPathPrefix(): string {
    const prefix = this.#section.text('pathPrefix') ?? '';
    if (prefix !== '' && !prefix.startsWith('/')) {
      this.refuse(this.#section, 'pathPrefix', `${quote(prefix)} must start with "/"`);
    } else if (/[^\u0021-\u007e]|%(?![0-9a-fA-F]{2})/.test(prefix)) {
      this.refuse(this.#section, 'pathPrefix', `${quote(prefix)} cannot stand in a URL; percent-encode it`);
    }
    return prefix;
  }

  /** Header names, `prefix*` and `*suffix`. */
  #patterns(field: string): readonly string[] {
    const items = this.#section.texts(field) ?? [];
    for (const item of items) this.#checkPattern(item);
    return items.map(({ value }) => value);
  }

  #checkPattern({ value, place, path }: Item): void {
    if (value !== '*') return;
    this.#usable = false;
    this.#section.report.warning(
      place,
      `${path}: "*" alone is not possible, as in Istio; write a name, a prefix* or a *suffix; until then every request for which this provider would be asked is denied`,
    );
  }

  #readAdditional(): Readonly<Record<string, string>> {
    const section = this.#section.section('includeAdditionalHeadersInCheck');
    const found = this.#section.textMap('includeAdditionalHeadersInCheck') ?? new Map<string, Item>();
    for (const [name, { value }] of found) {
      if (HEADER_NAME.test(name) && HEADER_VALUE.test(value)) continue;
      if (section) this.refuse(section, name, `${quote(`${name}: ${value}`)} cannot be written as a header`);
    }
    return Object.fromEntries(Array.from(found, ([name, { value }]) => [name, value]));
  }
}

/** The number, 0 when absent; null after an error, which another fault need not repeat. */
function readUint32(section: Section, field: string): number | null {
  return section.has(field) ? section.whole(field, 0, MAX_UINT32) : 0;
}

/** Istio's conditions, and that one host is named: a wildcard cannot be asked. */
function serviceProblem(service: string): string | null {
  if (service === '') return 'must be set, to [namespace/]host';
  const slash = service.indexOf('/');
  if (slash < 0) return addressFamily(service) === null ? nameProblem(service) : null;
  const namespace = service.slice(0, slash);
  const host = service.slice(slash + 1);
  if (!isDnsLabel(namespace)) return `${quote(service)} has no namespace before "/"`;
  if (!host.includes('.')) return `${quote(host)} after the namespace must be a full host name, with a dot`;
  return host.includes('*') ? `${quote(host)} names no one host` : wildcardNameProblem(host);
}
