// Hot path: what many clauses ask of a request is read once; nothing is made that no clause asks for.
/** One request while it is decided. Deciding is synchronous, so one reading serves all requests of a rule set in turn. */
import type { Address } from './address.ts';
import type { RequestAttributes } from './attributes.ts';
import { forwardedAddress } from './forwarded.ts';
import type { ConnectionFacts } from './match.ts';
import { lowerCase } from './text.ts';

const NO_LINES: readonly string[] = Object.freeze([]);

const NOBODY: RequestAttributes = Object.freeze({
  method: '',
  host: '',
  path: '',
  rawPath: '',
  headerValues: () => NO_LINES,
  jwt: null,
});

/**
 * Envoy keeps these as one value each and joins repeated lines that are not empty by a comma; every other line is matched
 * by itself.
 */
const INLINE_HEADERS: ReadonlySet<string> = new Set([
  ...['accept', 'accept-encoding', 'authorization', 'cache-control', 'content-encoding', 'content-type'],
  ...['access-control-request-headers', 'access-control-request-method'],
  ...['access-control-request-private-network', 'expect'],
  ...['grpc-accept-encoding', 'grpc-timeout', 'origin', 'pragma', 'referer', 'user-agent', 'via'],
  ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since'],
  ...['x-client-trace-id', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto'],
  ...['x-envoy-attempt-count', 'x-envoy-decorator-operation', 'x-envoy-downstream-service-cluster'],
  ...['x-envoy-downstream-service-node', 'x-envoy-external-address', 'x-envoy-is-timeout-retry'],
  ...['x-envoy-original-host', 'x-envoy-original-path', 'x-request-id'],
]);

/** The headers that a rule set asks about, each with a place of its own. */
export class HeaderSlots {
  readonly names: string[] = [];
  readonly #slots = new Map<string, number>();

  /** @param name in lower case */
  slotOf(name: string): number {
    const known = this.#slots.get(name);
    if (known !== undefined) return known;
    this.#slots.set(name, this.names.length);
    return this.names.push(name) - 1;
  }
}

export class Reading {
  request: RequestAttributes = NOBODY;
  #facts: ConnectionFacts | null = null;
  readonly #names: readonly string[];
  /** By slot; null = not read yet. */
  readonly #lines: (readonly string[] | null)[] = [];
  /** The slots that were read, to be emptied before the next request. */
  readonly #filled: number[] = [];
  #host: string | null = null;
  #target: string | null = null;
  #remote: Address | null = null;
  #remoteKnown = false;

  constructor({ names }: HeaderSlots) {
    this.#names = names;
  }

  /** Turns to another request, or to one that may have been edited. */
  take(request: RequestAttributes, facts: ConnectionFacts): void {
    this.request = request;
    this.#facts = facts;
    this.#host = null;
    this.#target = null;
    this.#remoteKnown = false;
    const filled = this.#filled;
    for (let i = 0; i < filled.length; i++) this.#lines[filled[i] as number] = null;
    filled.length = 0;
  }

  /** The host in lower case. */
  get host(): string {
    if (this.#host === null) this.#host = lowerCase(this.request.host);
    return this.#host;
  }

  /** `:path` as Envoy's filters see it: the normalised path with the query. */
  get target(): string {
    if (this.#target === null) this.#target = targetOf(this.request);
    return this.#target;
  }

  /** Values of that header as Envoy matches them, each by itself. */
  linesOf(slot: number): readonly string[] {
    return this.#lines[slot] ?? this.#read(slot);
  }

  #read(slot: number): readonly string[] {
    const name = this.#names[slot] as string;
    const sent = this.request.headerValues(name);
    const lines = sent.length > 1 && INLINE_HEADERS.has(name) ? [sent.filter(Boolean).join(',')] : sent;
    this.#lines[slot] = lines;
    this.#filled.push(slot);
    return lines;
  }

  /** Where the request began as far as the nearest proxy knows (Istio's remote.ip). */
  get remote(): Address | null {
    if (!this.#remoteKnown) {
      this.#remote = remoteOf(this.request, this.#facts);
      this.#remoteKnown = true;
    }
    return this.#remote;
  }
}

function remoteOf(request: RequestAttributes, facts: ConnectionFacts | null): Address | null {
  return forwardedAddress(request.headerValues('x-forwarded-for')) ?? facts?.source ?? null;
}

function targetOf({ path, rawPath }: RequestAttributes): string {
  const query = rawPath.indexOf('?');
  if (query === -1) return path;
  const fragment = rawPath.indexOf('#');
  if (fragment === -1) return path + rawPath.slice(query);
  return fragment < query ? path : path + rawPath.slice(query, fragment);
}
