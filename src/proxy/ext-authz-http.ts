/** envoyExtAuthzHttp: the request's head is sent to the provider, and its status is the verdict. */
import type { ExtAuthzHttp } from '../config/resources.ts';
import type { OutgoingRequest } from '../http/exchange.ts';
import { RequestHead } from '../http/h1-parser.ts';
import { wireText } from '../policy/attributes.ts';
import type { Cluster } from './cluster.ts';
import { type AuthzReply, callAuthorizer } from './ext-authz-call.ts';
import {
  isForwardable,
  isRemovable,
  isRequestField,
  isWritable,
  joinedFields,
  type NameMatcher,
  nameMatcher,
} from './ext-authz-fields.ts';
import { ALLOWED, type AuthzQuestion, type Field } from './ext-authz-question.ts';
import { PARTIAL_BODY } from './ext-authz-request.ts';
import { ABANDONED, type Authorizer, failed, type Verdict } from './ext-authz-verdict.ts';

/** Names of request fields, by commas, that an allowing answer takes away. Envoy's own; it goes no further. */
const TO_REMOVE = 'x-envoy-auth-headers-to-remove';
/** Sent whatever the lists say, as Envoy does. */
const ALWAYS_TOLD = ['authorization'];
const ALWAYS_DOWNSTREAM = ['www-authenticate', 'location'];

export class HttpAuthorizer implements Authorizer {
  readonly #provider: ExtAuthzHttp;
  readonly #cluster: () => Cluster | null;
  readonly #pathPrefix: string;
  readonly #told: NameMatcher;
  /** Names and values that stand in place of the request's own. */
  readonly #additional: readonly Field[];
  readonly #upstream: NameMatcher;
  readonly #downstreamOnDeny: NameMatcher;
  readonly #downstreamOnAllow: NameMatcher;

  constructor(provider: ExtAuthzHttp, cluster: () => Cluster | null) {
    this.#provider = provider;
    this.#cluster = cluster;
    this.#pathPrefix = wireText(provider.pathPrefix);
    this.#told = nameMatcher([...provider.includeRequestHeadersInCheck, ...ALWAYS_TOLD]);
    this.#additional = Object.entries(provider.includeAdditionalHeadersInCheck).map(([name, value]) => [
      name.toLowerCase(),
      // Envoy takes the value for a format; a percent sign is written twice.
      wireText(value).replaceAll('%%', '%'),
    ]);
    this.#upstream = nameMatcher(provider.headersToUpstreamOnAllow);
    const onDeny = provider.headersToDownstreamOnDeny;
    this.#downstreamOnDeny =
      onDeny.length === 0 ? () => true : nameMatcher([...onDeny, ...ALWAYS_DOWNSTREAM]);
    this.#downstreamOnAllow = nameMatcher(provider.headersToDownstreamOnAllow);
  }

  async ask(question: AuthzQuestion, signal: AbortSignal): Promise<Verdict> {
    const { method } = question.head;
    // A 200 to CONNECT would open a tunnel to the provider. No failure to ask either: failOpen would make it a way past.
    if (method === 'CONNECT') return { is: 'unusable', why: 'CONNECT cannot be asked about over HTTP' };
    const cluster = this.#cluster();
    if (cluster === null) return failed('no route');
    const reply = await callAuthorizer({
      request: this.#requestOf(question),
      body: question.body,
      timeoutMs: this.#provider.timeoutMs,
      cluster,
      signal,
    });
    return this.#verdictOf(reply);
  }

  /** The connections are the cluster's. */
  renew(): void {}

  close(): void {}

  #requestOf({ head, body, bodyPartial }: AuthzQuestion): OutgoingRequest {
    const told = new Map<string, string>();
    for (const [name, value] of joinedFields(head.headerLines)) {
      if (name !== PARTIAL_BODY && isForwardable(name) && this.#told(name)) told.set(name, value);
    }
    if (body !== null) told.set(PARTIAL_BODY, String(bodyPartial));
    for (const [name, value] of this.#additional) if (isForwardable(name)) told.set(name, value);
    const { timeoutMs } = this.#provider;
    if (timeoutMs > 0) told.set('x-envoy-expected-rq-timeout-ms', String(timeoutMs));
    let added = `content-length: ${body?.length ?? 0}\r\n`;
    for (const [name, value] of told) added += `${name}: ${value}\r\n`;
    const target = `${this.#pathPrefix}${head.target}`;
    return {
      head: bareHead(head.method, head.host),
      edits: { target, added, drop: 0, remove: null },
      drop: 0,
    };
  }

  #verdictOf(reply: AuthzReply): Verdict {
    if (!reply.ok) return reply.why === null ? ABANDONED : failed(reply.why);
    const { head, body } = reply;
    if (head.status >= 500 && head.status <= 599) return failed(`status ${head.status}`);
    const fields = head.sentFields().filter(([name]) => name !== TO_REMOVE);
    if (head.status !== 200) {
      const headers = fields.filter(([name]) => this.#downstreamOnDeny(name));
      return { is: 'denied', denial: { status: head.status, headers, body } };
    }
    const remove = head
      .headerValues(TO_REMOVE)
      .flatMap(names => names.split(','))
      .map(name => name.trim().toLowerCase())
      .filter(isRemovable);
    // Of several lines of one name the last holds, as in Envoy.
    const set = new Map(fields.filter(([name]) => isRequestField(name) && this.#upstream(name)));
    for (const name of remove) set.delete(name);
    const responseHeaders = fields.filter(([name]) => isWritable(name) && this.#downstreamOnAllow(name));
    return { is: 'allowed', answer: { ...ALLOWED, set: [...set], remove, responseHeaders } };
  }
}

/** A head with no fields of its own but Host. */
function bareHead(method: string, host: string): RequestHead {
  const head = new RequestHead();
  head.method = method;
  head.host = host;
  head.absolute = true;
  return head;
}
