/** One inbound connection of bytes: let in by external authorizers and policy, joined to the app, asked about again. */
import type { Socket } from 'node:net';
import { FAILURES } from '../errors.ts';
import type { PlainConnection } from '../net/connect.ts';
import { RequestLineScreen } from '../net/detect.ts';
import type { Splice } from '../net/splice.ts';
import { AccessRecord, type ConnectionFacts } from '../telemetry/record.ts';
import type { Recorder } from '../telemetry/recorder.ts';
import type { AppDestination } from './app.ts';
import type { ExtAuthz } from './ext-authz.ts';
import type { Inbound } from './inbound.ts';
import type { CloseReason } from './revalidation.ts';
import { admitTcp, mayTcp, readmitTcp, type TcpArrival } from './tcp-admission.ts';
import { openTunnel } from './tunnel.ts';

const FLAG_CLIENT_GONE = 'DC';
/** How long an authorizer that only the new configuration names may take, at least, before an open connection ends. */
const LEAST_ANSWER_MS = 1_000;

/** What a connection of bytes needs of the connection that it is. */
export interface TcpView extends Omit<TcpArrival, 'letInBy'> {
  readonly facts: ConnectionFacts;
  readonly app: AppDestination;
  readonly recorder: Recorder;
  /** Nobody declared its protocol: it may still turn out to be HTTP. */
  readonly undeclared: boolean;
  readonly plaintext: boolean;
  /** An answer that was awaited is no. */
  denied(): void;
  onClosed(): void;
}

/** What came before it was known to be of bytes: from the client, and of an app that was connected in case it speaks first. */
export interface TcpOpening {
  readonly first: Buffer | null;
  readonly app: PlainConnection | null;
  readonly reply: Buffer | null;
}

export class InboundTcp implements TcpArrival {
  /** Authorizers that said yes; their answer holds for as long as they are configured as they were. */
  readonly letInBy = new Set<ExtAuthz>();
  #view: TcpView;
  #parts: Inbound['parts'];
  #socket: Socket;
  #record: AccessRecord;
  #splice: Splice | null = null;
  /** Why it ends, as the log says it; null = it does not, or by itself. */
  #because: string | null = null;
  #asking = false;

  constructor(view: TcpView, parts: Inbound['parts'], socket: Socket) {
    this.#view = view;
    this.#parts = parts;
    this.#socket = socket;
    this.#record = new AccessRecord(view.facts);
    this.#record.requestProtocol = 'tcp';
    this.#record.protocol = null;
    view.recorder.openConnection(view.facts);
  }

  get policy(): TcpArrival['policy'] {
    return this.#view.policy;
  }

  get denials(): TcpArrival['denials'] {
    return this.#view.denials;
  }

  get authzConnection(): TcpArrival['authzConnection'] {
    return this.#view.authzConnection;
  }

  authorizer(provider: string): ExtAuthz | null {
    return this.#view.authorizer(provider);
  }

  get fromClient(): number {
    return this.#splice?.fromA ?? 0;
  }

  get fromApp(): number {
    return this.#splice?.fromB ?? 0;
  }

  start(opening: TcpOpening): void {
    const admitted = admitTcp(this, this.#record, () => this.#whenGone());
    if (admitted === true) {
      this.#socket.pause();
      this.#connect(opening);
      return;
    }
    // While a provider is asked the app is not there.
    opening.app?.socket.destroy();
    if (admitted === false) {
      this.#end();
      return;
    }
    this.#socket.pause();
    void admitted.then(allowed => {
      if (allowed && !this.#socket.destroyed) this.#connect({ first: opening.first, app: null, reply: null });
      else this.#end();
    });
  }

  #whenGone(): AbortSignal {
    const gone = new AbortController();
    this.#socket.once('close', () => gone.abort());
    return gone.signal;
  }

  #connect(opening: TcpOpening): void {
    const { first } = opening;
    const { name } = this.#view.app;
    const record = this.#record;
    record.upstreamHost = name;
    const onConnected = (why: string | null, upstream: PlainConnection): void => {
      this.#view.recorder.upstreamConnect('inbound', why ?? 'success');
      // Asked again: policy may have changed since.
      if (why === null && !this.#socket.destroyed && mayTcp(this, record)) {
        this.#join(upstream, opening);
        return;
      }
      if (why !== null) record.flag = FAILURES.connect_failed.flag;
      else if (this.#socket.destroyed && this.#because === null) record.flag = FLAG_CLIENT_GONE;
      if (why === 'ECONNRESET' || (why === null && this.#socket.destroyed))
        record.terminationDetails ??= 'connection_reset';
      record.bytesReceived = first?.length ?? 0;
      record.transportFailure = why;
      // Visibly: a clean end would pass for an empty conversation.
      upstream.socket.resetAndDestroy();
      if (this.#view.plaintext && !this.#socket.destroyed) this.#socket.resetAndDestroy();
      this.#end();
    };
    if (opening.app === null) this.#view.app.connect(onConnected);
    else onConnected(null, opening.app);
  }

  #join(upstream: PlainConnection, { first, reply }: TcpOpening): void {
    const { clock, settings } = this.#parts;
    this.#splice = openTunnel({ socket: this.#socket, inlet: null }, upstream, {
      clock,
      idleTimeoutMs: settings.tcpIdleTimeoutMs,
      record: this.#record,
      first: { fromClient: first, fromUpstream: reply },
      // An app that spoke first speaks no HTTP.
      screen: reply === null ? this.#screenAfter(first) : null,
      done: () => this.#end(),
    });
  }

  /** On a port whose protocol nobody declared, bytes that passed as TCP may still turn out to be a request line. */
  #screenAfter(first: Buffer | null): RequestLineScreen | null {
    if (!this.#view.undeclared) return null;
    const screen = new RequestLineScreen();
    if (first !== null) screen.passes(first);
    return screen.done ? null : screen;
  }

  #end(): void {
    this.#socket.destroy();
    this.#view.recorder.finishConnection(this.#record);
    this.#view.onClosed();
  }

  /** Asks the configuration in force about one that is joined; what is still on its way to the app is asked at its end. */
  recheck(): CloseReason | null {
    if (this.#splice === null) return null;
    if (!mayTcp(this, this.#record)) return 'policy_denied';
    if (!this.#asking) this.#askAnew();
    return null;
  }

  /** Bytes pass while the answer is awaited, so that it is not waited for longer than for anything else. */
  #askAnew(): void {
    const patienceMs = Math.max(this.#parts.settings.revalidationGraceMs, LEAST_ANSWER_MS);
    const signal = () => AbortSignal.any([this.#whenGone(), AbortSignal.timeout(patienceMs)]);
    const admitted = readmitTcp(this, this.#record, signal);
    if (admitted === null) return;
    this.#asking = true;
    void admitted.then(allowed => {
      this.#asking = false;
      if (allowed || this.#socket.destroyed) return;
      this.#record.decision = 'deny';
      this.#record.terminationDetails ??= 'ext_authz_error';
      this.#view.denied();
    });
  }

  /** Counts what it carried so far. */
  progress(): void {
    if (this.#splice === null) return;
    this.#record.bytesReceived = this.#splice.fromA;
    this.#record.bytesSent = this.#splice.fromB;
    this.#view.recorder.progressConnection(this.#record);
  }

  /** Bytes have no better moment to end than the deadline; one that has none yet ends at once. */
  retire(reason: CloseReason): void {
    // Policy's own word is on the record.
    this.#because = (reason === 'policy_denied' ? this.#record.terminationDetails : null) ?? reason;
    if (this.#splice !== null) return;
    this.#record.terminationDetails = this.#because;
    this.#socket.destroy();
  }

  destroy(): void {
    if (this.#splice === null) this.#socket.destroy();
    else if (this.#because === null) this.#splice.close();
    else {
      this.#record.terminationDetails = this.#because;
      this.#splice.breakOff();
    }
  }
}
