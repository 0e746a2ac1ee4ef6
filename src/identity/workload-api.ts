/**
 * The workload's identity from a SPIFFE Workload API: one stream of answers, each of them whole. An answer is judged like
 * the files of a folder; the last good one stays in force while the API is away or says something else.
 */
import type { WorkloadEndpoint } from '../config/workload-endpoint.ts';
import { Backoff } from './backoff.ts';
import { type IdentityFault, type IdentityFaultReason, identityFault } from './identity-fault.ts';
import { IdentityInForce } from './in-force.ts';
import type { SaidLists } from './lists-in-force.ts';
import type { IdentityEvents, IdentitySource } from './source.ts';
import type { IdentityGeneration } from './svid.ts';
import { chooseSvid, rewordFault } from './svid-choice.ts';
import { loadGrpc, openSvidStream, type Protobuf, type SvidStream } from './workload-stream.ts';
import { readX509SvidResponse, type X509SvidResponse } from './x509-svid-response.ts';

export interface WorkloadApiOptions extends IdentityEvents {
  readonly endpoint: WorkloadEndpoint;
  /** Which SVID, when there are several; null takes the first. */
  readonly spiffeId: string | null;
  /** Says what is passed over. */
  warn(message: string, details: Readonly<Record<string, unknown>>): void;
  /** The pause before asking again; doubles with each failure. Default 1 s. */
  readonly firstPauseMs?: number;
  /** The longest pause; default 30 s. */
  readonly longestPauseMs?: number;
  /** How long the first answer may take until it is called missing; it is waited for all the same. Default 5 s. */
  readonly silentMs?: number;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000; // certificates live for an hour or so and are renewed at half
const SILENT_MS = 5_000; // the first answer is due at once (Workload API 4.3)
const MAX_DETAILS = 200; // characters of what the server words

// Status codes of gRPC.
const OK = 0;
const INVALID_ARGUMENT = 3;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

/** Asks one Workload API from `start` to `close`; no timer and no connection is left after that. */
export class WorkloadApiSource implements IdentitySource {
  readonly #options: WorkloadApiOptions;
  readonly #inForce: IdentityInForce;
  readonly #backoff: Backoff;
  #loading: ReturnType<typeof loadGrpc> | null = null;
  /** Counts streams: whatever an older one still has to say is not heard. */
  #asked = 0;
  /** Counts answers and whatever else overtakes the judgement of one. */
  #taken = 0;
  #stream: SvidStream | null = null;
  #again: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  #tried: PromiseWithResolvers<void> | null = null;
  /** Trust domains whose bundles cannot be used, as they were last said. */
  #unusable = '';
  #closed = false;

  constructor(options: WorkloadApiOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      firstMs: options.firstPauseMs ?? FIRST_PAUSE_MS,
      longestMs: options.longestPauseMs ?? LONGEST_PAUSE_MS,
    });
    const { address } = options.endpoint;
    const reword = (fault: IdentityFault): IdentityFault => rewordFault(fault, address);
    this.#inForce = new IdentityInForce({ place: address, events: options, reword, listsMayGo: true });
  }

  get current(): IdentityGeneration | null {
    return this.#inForce.current;
  }

  get lastFailure(): IdentityFault | null {
    return this.#inForce.lastFailure;
  }

  /** Connects; resolves with the first answer or failure, or when the API has been silent for too long. */
  start(): Promise<void> {
    return this.reload();
  }

  /** Connects anew and asks, also when the API had said not to. */
  reload(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#tried ??= Promise.withResolvers();
    const { promise } = this.#tried;
    this.#backoff.reset();
    void this.#ask();
    return promise;
  }

  useLists(source: string, said: SaidLists): void {
    void this.#inForce.useLists(source, said);
  }

  close(): void {
    this.#closed = true;
    this.#inForce.close();
    this.#hangUp();
    this.#wasTried();
  }

  async #ask(): Promise<void> {
    this.#hangUp();
    const asked = this.#asked;
    this.#loading ??= loadGrpc();
    const { grpc, protobuf } = await this.#loading;
    if (asked !== this.#asked) return;
    this.#silence = setTimeout(() => this.#saySilent(), this.#options.silentMs ?? SILENT_MS);
    this.#stream = openSvidStream({
      grpc,
      target: this.#options.endpoint.target,
      onAnswer: bytes => this.#take(protobuf, bytes),
      onEnd: (code, details) => this.#end(code, details),
    });
  }

  #hangUp(): void {
    this.#asked++;
    this.#taken++;
    clearTimeout(this.#again);
    clearTimeout(this.#silence);
    this.#stream?.close();
    this.#stream = null;
  }

  #take(protobuf: Protobuf, bytes: Buffer): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#again);
    const taken = ++this.#taken;
    void this.#isGood(protobuf, bytes).then(good => {
      if (good) this.#backoff.reset();
      if (taken !== this.#taken) return; // another answer or the end came meanwhile, and sees to the rest
      if (!good) this.#askLater(); // the stream stays: a better answer may come by it sooner
      this.#wasTried();
    });
  }

  async #isGood(protobuf: Protobuf, bytes: Buffer): Promise<boolean> {
    const { endpoint, spiffeId } = this.#options;
    let response: X509SvidResponse;
    try {
      response = readX509SvidResponse(protobuf.Reader.create(bytes));
    } catch {
      this.#fail('bad_response', 'its answer is no X509SVIDResponse; look at the SPIFFE server');
      return false;
    }
    const choice = chooseSvid(response, { spiffeId, address: endpoint.address });
    if (choice.ok) {
      this.#sayUnusable(choice.unusable);
      return this.#inForce.offer(choice.files, choice.digest);
    }
    await this.#inForce.fail(choice.fault);
    return false;
  }

  #end(code: number, details: string): void {
    clearTimeout(this.#silence);
    clearTimeout(this.#again);
    this.#taken++;
    this.#stream = null;
    const said = details.slice(0, MAX_DETAILS);
    if (code === INVALID_ARGUMENT || code === UNIMPLEMENTED) {
      // Workload Endpoint, appendix A: asking again is no use.
      const text = `refuses the request (${code} ${said}) and is not asked again; SIGHUP asks once more`;
      this.#fail('workload_api_refused', text);
    } else {
      if (code === PERMISSION_DENIED)
        this.#fail(
          'workload_api_denied',
          `has no identity for this workload (${said}); register it with the SPIFFE server`,
        );
      else if (code === OK) this.#fail('workload_api_away', 'ended the stream; it is asked again');
      else
        this.#fail(
          'workload_api_away',
          `does not answer (${code} ${said}); see that the SPIFFE agent runs and its socket is mounted`,
        );
      this.#askLater();
    }
    this.#wasTried();
  }

  #saySilent(): void {
    this.#fail('workload_api_silent', 'took the request and does not answer; look at the SPIFFE agent');
    this.#wasTried();
  }

  #askLater(): void {
    this.#again = setTimeout(() => void this.#ask(), this.#backoff.next());
  }

  #sayUnusable(trustDomains: readonly string[]): void {
    const names = trustDomains.toSorted();
    const text = names.join(' ');
    if (text !== this.#unusable && names.length > 0) {
      this.#options.warn(
        'federated bundles that cannot be used: no peer of these trust domains is believed',
        {
          trustDomains: names.slice(0, 20),
        },
      );
    }
    this.#unusable = text;
  }

  #fail(reason: IdentityFaultReason, text: string): void {
    void this.#inForce.fail(identityFault(this.#options.endpoint.address, reason, text));
  }

  #wasTried(): void {
    const tried = this.#tried;
    this.#tried = null;
    void this.#inForce.settled().then(() => tried?.resolve());
  }
}
