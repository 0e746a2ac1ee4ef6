// Hot path: no promise, closure or string per chunk.
/**
 * The HTTP/1.1 connections to one endpoint: an idle one for a request at once, or a new one, or a place in the queue.
 */
import type { FailureCode } from '../errors.ts';
import type { Clock, Duct, UpstreamStream } from '../http/exchange.ts';
import { type ClientOwner, H1Client } from '../http/h1-client.ts';
import { Pool, type PoolLimits, type Waiter } from '../upstream/pool.ts';
import { peerOf } from './peer-duct.ts';
import type { Peer, PeerWatch, Vouched } from './revalidation.ts';

/** A request that wants a connection. */
export interface Applicant extends Waiter<H1Client> {
  /** It went away; a connection made for it serves others. */
  readonly gone: boolean;
  onConnection(stream: UpstreamStream): void;
  onNoConnection(code: FailureCode, why: string): void;
}

/** Opens one connection, checked and ready for its first byte; `why` is null on success. */
export type OpenConnection = (done: (why: string | null, duct: Duct | null) => void) => void;

export interface HttpUpstreamOptions {
  readonly limits: PoolLimits;
  readonly clock: Clock;
  readonly open: OpenConnection;
  readonly peers: PeerWatch | null;
}

/** One connection, and on what it stands. */
class Made implements Vouched {
  readonly direction = 'outbound';
  readonly client: H1Client;
  readonly era: number;
  readonly peer: Peer | null;
  /** Its peer is not believed any more: the request under way is its last. */
  retired = false;

  constructor(client: H1Client, era: number, peer: Peer | null) {
    this.client = client;
    this.era = era;
    this.peer = peer;
  }

  retire(): void {
    this.retired = true;
    if (!this.client.busy) this.client.destroy();
  }

  destroy(): void {
    this.client.destroy();
  }
}

export class HttpUpstream implements ClientOwner {
  readonly pool: Pool<H1Client>;
  #open: OpenConnection;
  #clock: Clock;
  #closed = false;
  /** Counts the calls of `renew`: connections of an earlier era are not used again. */
  #era = 0;
  #made = new WeakMap<H1Client, Made>();
  /** Null where no connection has a peer. */
  #peers: PeerWatch | null;

  constructor(options: HttpUpstreamOptions) {
    this.pool = new Pool<H1Client>(options.limits);
    this.#open = options.open;
    this.#clock = options.clock;
    this.#peers = options.peers;
  }

  /** Finds a connection. `maxIdleMs`: how long an idle one may have waited for this request. @returns true when it was idle */
  apply(applicant: Applicant, maxIdleMs: number): boolean {
    const client = this.pool.take(this.#clock.now, maxIdleMs);
    if (client !== null) {
      applicant.onConnection(client);
      return true;
    }
    if (this.pool.reserve()) this.#connect(applicant);
    else if (!this.pool.wait(applicant)) applicant.onNoConnection('overflow', 'too many pending requests');
    return false;
  }

  forget(applicant: Applicant): void {
    this.pool.forget(applicant);
  }

  #connect(applicant: Applicant): void {
    const era = this.#era;
    this.#open((why, duct) => {
      if (duct === null) {
        const next = this.pool.release(null);
        if (next !== null) this.#serve(next as Applicant);
        if (!applicant.gone) applicant.onNoConnection('connect_failed', why ?? 'connection failed');
        return;
      }
      const client = new H1Client(duct, this, this.#clock);
      client.idleSince = this.#clock.now;
      const made = new Made(client, era, peerOf(duct));
      this.#made.set(client, made);
      if (made.peer !== null) this.#peers?.watch(made.peer, made);
      if (applicant.gone) this.onIdle(client);
      else applicant.onConnection(client);
    });
  }

  #serve(applicant: Applicant): void {
    if (applicant.gone) return;
    if (this.pool.reserve()) this.#connect(applicant);
    else if (!this.pool.wait(applicant)) applicant.onNoConnection('overflow', 'too many pending requests');
  }

  onIdle(client: H1Client): void {
    const made = this.#made.get(client);
    if (this.#closed || made === undefined || made.retired || made.era !== this.#era) client.destroy();
    else this.pool.put(client);
  }

  onGone(client: H1Client): void {
    const made = this.#made.get(client);
    if (made !== undefined && made.peer !== null) this.#peers?.unwatch(made.peer, made);
    const next = this.pool.release(client);
    if (next !== null) this.#serve(next as Applicant);
  }

  /** Connections made until now finish their request and are not used again (new certificates, new policy). */
  renew(): void {
    this.#era++;
    this.pool.clear();
  }

  /** No further reuse: the endpoint is gone from the configuration. */
  close(): void {
    this.#closed = true;
    this.pool.clear();
  }
}
