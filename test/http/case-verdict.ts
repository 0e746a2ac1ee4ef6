/** What a case of h1-cases.jsonl asks for, and whether a proxy did it. */
import { type Message, readRequests, readResponses, statusOf } from './strict-messages.ts';

type Outcome = 'reject' | 'forward' | 'reject-or-normalise';

/** One line of the file. Bytes are latin1 text. */
export interface Case {
  readonly id: string;
  readonly kind: 'request' | 'response';
  /** What the client sends (kind request) or the upstream (kind response). */
  readonly raw: string;
  readonly expect: Outcome;
  /** A second outcome that is right. */
  readonly alt?: Outcome;
  readonly why: string;
  readonly rfc: string;
  readonly category: string;
  /** `must`: an RFC's MUST, or smuggling hangs on it; `strict`: where mature proxies differ. */
  readonly tier: 'must' | 'strict';
  readonly want?: {
    readonly requests?: number;
    readonly bodies?: readonly string[];
    readonly status?: number;
    readonly body?: string;
    readonly upstreamContains?: string;
    readonly downstreamContains?: string;
  };
  /** A path that is never the target of a request that reaches the upstream. */
  readonly forbid?: string;
  readonly neverUpstream?: string;
  /** The beginning of a header line, lower case, that never reaches the upstream. */
  readonly neverUpstreamHeader?: string;
  readonly neverUpstreamPair?: readonly string[];
  readonly neverUpstreamBareLF?: boolean;
  readonly neverDownstream?: string;
  /** The proxy closes the client's connection. */
  readonly close?: boolean;
  readonly halfClose?: boolean;
  /** A Transfer-Encoding other than chunked that may be sent on. */
  readonly allowTE?: string;
  /** What the client sends (kind response). */
  readonly request?: string;
  /** The upstream ends its connection after `raw`. */
  readonly upstreamClose?: boolean;
}

/** What was seen of one case. */
export interface Sight {
  /** All that the client got. */
  readonly downstream: string;
  /** The proxy closed first. */
  readonly closed: boolean;
  /** The proxy closed at last, after the client's own end. */
  readonly finished: boolean;
  /** Of the client's requests, in order. */
  readonly methods: readonly string[];
  /** All that the upstream got, a text a connection. */
  readonly upstream: readonly string[];
}

/** Faults of a proxy in this case; none = it passed. */
export function judge(current: Case, sight: Sight): string[] {
  const read = sight.upstream.map(text => readRequests(text));
  const messages = read.flatMap(one => one.messages);
  const faults = messages.flatMap(message => unsound(message, current));
  const all = sight.upstream.join('');
  const { forbid } = current;
  if (forbid && messages.some(message => message.line.includes(forbid)))
    faults.push(`${forbid} was smuggled`);
  if (forbid && read.some(({ rest }) => rest.startsWith(`GET ${forbid}`)))
    faults.push(`${forbid} was smuggled`);
  faults.push(...forbidden(current, all, messages, sight.downstream));
  if (current.close && messages.length > 0 && !sight.closed) faults.push('the client connection stayed open');
  if (!sight.finished) faults.push('the proxy did not end after the client had');
  const outcome =
    current.kind === 'request' ? requestOutcome(current, messages, sight) : responseOutcome(current, sight);
  const allowed = [current.expect, ...(current.alt === undefined ? [] : [current.alt])];
  const right = allowed.some(
    one =>
      (one !== 'forward' && outcome.rejected) ||
      (one !== 'reject' && outcome.forwarded && outcome.wrong === null),
  );
  if (!right) faults.push(`wanted ${allowed.join(' or ')}; ${outcome.said}`);
  return faults;
}

interface Judged {
  readonly rejected: boolean;
  readonly forwarded: boolean;
  /** In what it is not what the case wants, though it was forwarded. */
  readonly wrong: string | null;
  readonly said: string;
}

function requestOutcome(current: Case, messages: readonly Message[], sight: Sight): Judged {
  const whole = messages.filter(message => message.complete);
  const statuses = finalsOf(sight).map(statusOf);
  const told = sight.closed || statuses.some(status => status >= 400) || statuses.length === 0;
  const expected = current.expect === 'reject' && current.want?.requests === whole.length;
  const wrong = whole.length === 0 ? 'nothing reached the upstream' : wrongRequest(current, whole, sight);
  return {
    rejected: (whole.length === 0 || expected) && told,
    forwarded: whole.length > 0,
    wrong,
    said: `${whole.length} whole of ${messages.length} requests reached the upstream, the client got ${statuses.join(', ') || 'no answer'}${sight.closed ? ' and a close' : ''}${wrong === null ? '' : `; ${wrong}`}`,
  };
}

function wrongRequest({ want }: Case, whole: readonly Message[], sight: Sight): string | null {
  if (want?.requests !== undefined && whole.length !== want.requests) return `not ${want.requests} requests`;
  const body = want?.bodies?.findIndex((text, i) => whole[i]?.body !== text) ?? -1;
  if (body >= 0) return `body ${body} is ${JSON.stringify(whole[body]?.body)}`;
  const text = want?.upstreamContains;
  return text && !sight.upstream.some(bytes => bytes.includes(text))
    ? `the upstream did not get ${text}`
    : null;
}

function responseOutcome({ want }: Case, sight: Sight): Judged {
  const finals = readResponses(sight.downstream, sight.methods, sight.finished).messages.filter(
    m => statusOf(m) >= 200,
  );
  const [first] = finals;
  const status = first === undefined ? 0 : statusOf(first);
  const refused = first === undefined || [400, 405, 500, 502, 503, 504].includes(status);
  const broken = first !== undefined && !first.complete && sight.closed;
  let wrong: string | null = null;
  if (first !== undefined && first.faults.length > 0) wrong = first.faults.join(', ');
  else if (want?.status && want.status !== status) wrong = `status ${status}`;
  else if (want?.body !== undefined && want.body !== first?.body)
    wrong = `body ${JSON.stringify(first?.body)}`;
  else if (want?.downstreamContains && !sight.downstream.includes(want.downstreamContains))
    wrong = `the client did not get ${want.downstreamContains}`;
  else if (first?.complete === false) wrong = 'the response is not whole';
  return {
    rejected: refused || broken,
    forwarded: !refused,
    wrong,
    said: `the client got ${status || 'no answer'}${broken ? ', cut off' : ''}${wrong === null ? '' : `; ${wrong}`}`,
  };
}

function finalsOf(sight: Sight): Message[] {
  return readResponses(sight.downstream, sight.methods, sight.closed).messages.filter(
    m => statusOf(m) >= 200,
  );
}

function unsound(message: Message, { allowTE }: Case): string[] {
  return message.faults
    .filter(fault => allowTE === undefined || fault !== `Transfer-Encoding: ${allowTE}`)
    .map(fault => `the upstream got a request with ${fault}`);
}

function forbidden(current: Case, all: string, messages: readonly Message[], downstream: string): string[] {
  const { neverUpstream, neverUpstreamHeader, neverUpstreamPair, neverDownstream } = current;
  const faults: string[] = [];
  const found = (what: string, text: unknown): void => void faults.push(`${what} ${JSON.stringify(text)}`);
  if (neverUpstream && all.includes(neverUpstream)) found('the upstream got', neverUpstream);
  if (neverUpstreamHeader) {
    const line = `\r\n${neverUpstreamHeader}`;
    if (messages.some(m => m.head.toLowerCase().includes(line)) || all.toLowerCase().includes(line))
      found('the upstream got the header', neverUpstreamHeader);
  }
  if (neverUpstreamPair?.every(text => all.toLowerCase().includes(text)))
    found('the upstream got', neverUpstreamPair);
  if (current.neverUpstreamBareLF && /(^|[^\r])\n/.test(all)) found('the upstream got', 'a bare LF');
  if (neverDownstream && downstream.includes(neverDownstream)) found('the client got', neverDownstream);
  return faults;
}
