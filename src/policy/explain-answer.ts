/** What an explanation answers, and the checks that it borrows from those who make them on the wire. */
import type { JwtRule, MtlsMode } from '../config/resources.ts';
import type { VerifiedJwt } from './attributes.ts';
import type { DryRun } from './decision.ts';
import type { ExplainRequest } from './explain-request.ts';

/** One decision, in the order in which its fields are printed; absent fields have no meaning for this request. */
export interface ExplainAnswer extends Outcome {
  readonly id?: string;
  readonly mtlsMode: MtlsMode;
  /** Path after normalisation: what policy saw and the app gets. */
  readonly path?: string;
  /** The external authorizers that would be asked, and what is assumed of their answers. */
  readonly custom?: readonly AssumedAnswer[];
  /** AUDIT policies that match. */
  readonly audit: readonly string[];
  readonly dryRun: readonly DryRun[];
  /** Every policy considered, in order: a line each, with what it saw. */
  readonly trace: readonly string[];
  /** Denied because no ALLOW rule matched: the rule that came nearest, and what it still wants. */
  readonly nearest?: NearestRule;
}

/** The decision itself. */
export interface Outcome {
  readonly decision: 'allow' | 'deny';
  /** HTTP status for the client (200 when the app is reached); absent on TCP and when the connection is refused. */
  readonly status?: number;
  /** Present with status 200 of a gRPC refusal. */
  readonly grpcStatus?: number;
  readonly reason?: string;
  /** `namespace/name` of the policy that decided. */
  readonly policy?: string;
  readonly rule?: number;
}

export interface AssumedAnswer {
  readonly provider: string;
  /** `namespace/name` of the CUSTOM policy that matched. */
  readonly policy: string;
  readonly rule: number;
  readonly assumed: 'allow' | 'deny';
}

export interface NearestRule {
  readonly policy: string;
  readonly rule: number;
  /** The clauses that failed: `from.principals: cluster.local/ns/foo/sa/a (saw …)`. */
  readonly needs: readonly string[];
}

/** The checks before policy that belong to others: each says in a word or line why it refuses, or null. */
export interface FrontDoor {
  /** Why the peer's SPIFFE ID is refused in the handshake, such as `foreign_trust_domain`. */
  readonly peerFault: (principal: string, trustDomains: readonly string[]) => string | null;
  /** Why the request gets 400 before its path and method are looked at. */
  readonly requestFault: (request: ExplainRequest) => string | null;
  /** How tokens are checked by these rules. */
  readonly tokens: (rules: readonly JwtRule[]) => TokenCheck;
}

export interface TokenCheck {
  /** Where the keys of some rules are that are not at hand here: their tokens are refused. */
  readonly missingKeys: readonly string[];
  readonly check: (request: TokenRequest) => Promise<TokenVerdict>;
}

/** What is asked of a request's tokens; text from the wire is latin1. */
export interface TokenRequest {
  readonly method: string;
  readonly host: string;
  readonly scheme: 'http' | 'https';
  /** The normalised path with its query. */
  readonly target: string;
  headerValues(lowerCaseName: string): readonly string[];
}

export type TokenVerdict =
  | {
      readonly ok: true;
      /** null = no token. */
      readonly jwt: VerifiedJwt | null;
      /** The request as policy and the app see it: tokens taken out, claims written into headers. */
      readonly target: string;
      headerValues(lowerCaseName: string): readonly string[];
    }
  | {
      readonly ok: false;
      readonly status: 401 | 403;
      /** For a person, such as `Jwt is expired`. */
      readonly body: string;
      /** `jwt_authn_access_denied{…}`. */
      readonly details: string;
    };
