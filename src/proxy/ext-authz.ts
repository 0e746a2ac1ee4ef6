/** External authorization (CUSTOM policies): asks a provider of the mesh config, and answers when it cannot be asked. */
import type { ExtensionProvider } from '../config/resources.ts';
import type { Cluster, OpenTls } from './cluster.ts';
import { GrpcAuthorizer } from './ext-authz-grpc.ts';
import { HttpAuthorizer } from './ext-authz-http.ts';
import { ALLOWED, type AuthzAnswer, type AuthzConnection, type AuthzQuestion } from './ext-authz-question.ts';
import { type Authorizer, denied, failed, TOO_LARGE, undecided, type Verdict } from './ext-authz-verdict.ts';

export type AuthzResult = 'allowed' | 'denied' | 'error' | 'failure_mode_allowed';

export interface ExtAuthzParts {
  /** The provider's service as an outbound destination, as the configuration in force has it; null = there is none. */
  readonly cluster: () => Cluster | null;
  readonly openTls: OpenTls;
  /** One question that was answered. */
  readonly count: (provider: string, result: AuthzResult) => void;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
}

/** A provider that is down fails every request: one line in this time says so, with how many it stands for. */
const WARN_EVERY_MS = 10_000;

/** One provider, asked on one thread. */
export class ExtAuthz {
  readonly provider: ExtensionProvider;
  readonly #parts: ExtAuthzParts;
  readonly #authorizer: Authorizer;
  /** The one that can be asked about TCP. */
  readonly #grpc: GrpcAuthorizer | null;
  #warnedAt = Number.NEGATIVE_INFINITY;
  #unsaid = 0;

  constructor(provider: ExtensionProvider, parts: ExtAuthzParts) {
    this.provider = provider;
    this.#parts = parts;
    this.#grpc = provider.kind === 'grpc' ? new GrpcAuthorizer(provider, parts) : null;
    this.#authorizer =
      provider.kind === 'http' ? new HttpAuthorizer(provider, parts.cluster) : (this.#grpc as GrpcAuthorizer);
  }

  /** How many bytes of the body a question wants; 0 = none. */
  get bodyLimit(): number {
    return this.provider.includeRequestBodyInCheck?.maxRequestBytes ?? 0;
  }

  /** Asks about one request. Never rejects; `signal` = whoever wants to know is gone, and the answer means nothing. */
  async check(question: AuthzQuestion, signal: AbortSignal): Promise<AuthzAnswer> {
    const wanted = this.provider.includeRequestBodyInCheck;
    if (wanted !== null && question.bodyPartial && !wanted.allowPartialMessage) return TOO_LARGE;
    return this.#answerOf(await settled(this.#authorizer.ask(question, signal)));
  }

  /** Asks about one TCP connection; an HTTP provider is not asked and lets it pass, as in Istio. Never rejects. */
  async checkConnection(connection: AuthzConnection, signal: AbortSignal): Promise<boolean> {
    if (this.#grpc === null) return true;
    return this.#answerOf(await settled(this.#grpc.askConnection(connection, signal))).allow;
  }

  /** New certificates: connections made with the ones until now are not used again. */
  renew(): void {
    this.#authorizer.renew();
  }

  /** No further questions: the provider is gone from the configuration. */
  close(): void {
    this.#authorizer.close();
  }

  #answerOf(verdict: Verdict): AuthzAnswer {
    const { failOpen, statusOnError } = this.provider;
    switch (verdict.is) {
      case 'allowed':
        this.#count('allowed');
        return verdict.answer;
      case 'denied':
        this.#count('denied');
        return denied(verdict.denial);
      case 'failed':
        this.#warn(verdict.why, failOpen);
        this.#count(failOpen ? 'failure_mode_allowed' : 'error');
        return failOpen ? ALLOWED : undecided(verdict.denial, statusOnError);
      case 'unusable':
        this.#warn(verdict.why, false);
        this.#count('error');
        return undecided(null, statusOnError);
      default:
        return undecided(null, statusOnError);
    }
  }

  #count(result: AuthzResult): void {
    this.#parts.count(this.provider.name, result);
  }

  #warn(reason: string, allowed: boolean): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_EVERY_MS) {
      this.#unsaid++;
      return;
    }
    const { name: provider, service, port } = this.provider;
    const more = this.#unsaid === 0 ? {} : { unsaid: this.#unsaid };
    this.#warnedAt = now;
    this.#unsaid = 0;
    this.#parts.warn('external authorizer cannot be asked', {
      provider,
      service: `${service}:${port}`,
      reason,
      requests: allowed ? 'allowed' : 'denied',
      ...more,
    });
  }
}

/** Whatever goes wrong in here is a failure to ask. */
async function settled(verdict: Promise<Verdict>): Promise<Verdict> {
  try {
    return await verdict;
  } catch (error) {
    return failed(error instanceof Error ? error.message : String(error));
  }
}
