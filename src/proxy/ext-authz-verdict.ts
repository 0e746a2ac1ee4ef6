/** What came of asking an external authorizer, before the provider's configuration has its say. */
import { isField, isWritable } from './ext-authz-fields.ts';
import type { AuthzAnswer, AuthzQuestion, Field } from './ext-authz-question.ts';

export type Allowed = AuthzAnswer & { readonly allow: true };
export type Denied = AuthzAnswer & { readonly allow: false };

/** What a provider wants its denial, or the report of its failure, to look like. */
export interface Denial {
  /** 0 = it does not say. */
  readonly status: number;
  readonly headers: readonly Field[];
  readonly body: Buffer;
}

export type Verdict =
  | { readonly is: 'allowed'; readonly answer: Allowed }
  | { readonly is: 'denied'; readonly denial: Denial }
  /** No verdict: not reached, too late, broken, or it says itself that it failed (`denial`). failOpen decides. */
  | { readonly is: 'failed'; readonly why: string; readonly denial: Denial | null }
  /** Allowed with a change that cannot be made. The request must not pass without it, whatever failOpen says. */
  | { readonly is: 'unusable'; readonly why: string }
  /** Whoever asked is gone. */
  | { readonly is: 'abandoned' };

/** One way to ask a provider. */
export interface Authorizer {
  ask(question: AuthzQuestion, signal: AbortSignal): Promise<Verdict>;
  /** Connections made until now finish what they are at and are not used again. */
  renew(): void;
  close(): void;
}

export const ABANDONED: Verdict = Object.freeze({ is: 'abandoned' });

export function failed(why: string): Verdict {
  return { is: 'failed', why, denial: null };
}

/** The provider said no: Envoy's default is 403. */
export function denied(denial: Denial): Denied {
  return refusal(denial, 403, 'ext_authz_denied');
}

/** The provider could not say: `fallback` is the configured statusOnError. */
export function undecided(denial: Denial | null, fallback: number): Denied {
  return refusal(denial ?? { status: 0, headers: [], body: NO_BODY }, fallback, 'ext_authz_error');
}

/** Envoy's answer to a body that the check may not go without and cannot hold. */
export const TOO_LARGE: Denied = Object.freeze({
  allow: false,
  status: 413,
  headers: [['content-type', 'text/plain']] as const,
  body: Buffer.from('Payload Too Large'),
  grpcStatus: 2,
  details: 'request_payload_too_large',
  flag: '-',
});

const NO_BODY = Buffer.alloc(0);
const CONTENT_TYPE = 'content-type';

function refusal(denial: Denial, fallback: number, details: Denied['details']): Denied {
  const final = denial.status >= 200 && denial.status <= 599;
  const status = final ? denial.status : fallback;
  // RFC 9110 6.4.1: these have no content.
  const body = status === 204 || status === 205 || status === 304 ? NO_BODY : denial.body;
  const headers = denial.headers.filter(
    field => isWritable(field[0]) && isField(field) && (body.length > 0 || field[0] !== CONTENT_TYPE),
  );
  if (body.length > 0 && !headers.some(([name]) => name === CONTENT_TYPE)) {
    headers.push([CONTENT_TYPE, 'text/plain']);
  }
  return { allow: false, status, headers, body, grpcStatus: grpcStatusOf(status), details, flag: 'UAEX' };
}

/** gRPC's "HTTP to gRPC status code mapping", as Envoy's local replies have it. */
function grpcStatusOf(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}
