// Hot path: no promise, closure or string per chunk.
/**
 * The connections to one endpoint. A request gets an idle one of HTTP/1.1, or a stream on one of HTTP/2 that has room, or
 * a new connection, or a place in the queue. What an endpoint speaks is seen from what its connections agree to: while
 * nothing is known, one is opened and the others wait for it.
 */
import type { FailureCode } from '../errors.ts';
import type { Clock, Duct, UpstreamStream } from '../http/exchange.ts';
import { type ClientOwner, H1Client } from '../http/h1-client.ts';
import type { RequestHead } from '../http/h1-parser.ts';
import { Pool, type PoolLimits } from '../upstream/pool.ts';
import { StreamPool } from '../upstream/stream-pool.ts';
import {
  type SharedConnection,
  type SharedOwner,
  type Sharing,
  spokenOn,
  type Wants,
  wantsOf,
} from './h2-upstream.ts';
import { peerOf } from './peer-duct.ts';
import type { Peer, PeerWatch, Vouched } from './revalidation.ts';

/** A request that wants a connection. */
export interface Applicant {
  /** It went away; a connection made for it serves others. */
  readonly gone: boolean;
  onConnection(stream: UpstreamStream): void;
  onNoConnection(code: FailureCode, why: string): void;
}

/** Opens one connection, checked and ready for its first byte; `why` is null on success. */
export type OpenConnection = (done: (why: string | null, duct: Duct | null) => void, wants: Wants) => void;

export interface HttpUpstreamOptions {
  readonly limits: PoolLimits;
  readonly clock: Clock;
  readonly open: OpenConnection;
  readonly peers: PeerWatch | null;
  /** Absent = HTTP/1.1, whatever the request. */
  readonly sharing?: Sharing | null;
}

/** One connection of HTTP/1.1, and on what it stands. */
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

/** One of HTTP/2. */
class MadeShared implements Vouched {
  readonly direction = 'outbound';
  readonly connection: SharedConnection;
  readonly peer: Peer | null;
  /** Requests it was given. */
  begun = 0;
  /** How many it was given when it was last seen without one, and when that was first seen. */
  idle = { begun: -1, since: 0 };

  constructor(connection: SharedConnection, peer: Peer | null) {
    this.connection = connection;
    this.peer = peer;
  }

  retire(): void {
    this.connection.retire();
  }

  destroy(): void {
    this.connection.destroy();
  }
}

/** The connections that requests of one kind share, and those that wait for one. */
class Lane extends StreamPool<SharedConnection, Applicant> implements SharedOwner {
  readonly wants: Wants;
  readonly onRoom: () => void;
  readonly onRetired: (connection: SharedConnection) => void;
  readonly onGone: (connection: SharedConnection) => void;

  constructor(
    wants: Wants,
    upstream: {
      room(lane: Lane): void;
      retired(lane: Lane, connection: SharedConnection): void;
      gone(lane: Lane, connection: SharedConnection): void;
    },
  ) {
    super();
    this.wants = wants;
    this.onRoom = () => upstream.room(this);
    this.onRetired = connection => upstream.retired(this, connection);
    this.onGone = connection => upstream.gone(this, connection);
  }
}

export class HttpUpstream implements ClientOwner {
  readonly pool: Pool<H1Client, Applicant>;
  #open: OpenConnection;
  #clock: Clock;
  #closed = false;
  /** Counts the calls of `renew`: connections of an earlier era are not used again. */
  #era = 0;
  #made = new WeakMap<H1Client, Made>();
  #madeShared = new WeakMap<SharedConnection, MadeShared>();
  /** Null where no connection has a peer. */
  #peers: PeerWatch | null;
  #sharing: Sharing | null;
  /** Of HTTP/1.1 that may share, of HTTP/2. */
  #lanes: readonly Lane[];
  /** Connections that are shared, or made to be. */
  #shared = 0;

  constructor(options: HttpUpstreamOptions) {
    this.pool = new Pool<H1Client, Applicant>(options.limits);
    this.#open = options.open;
    this.#clock = options.clock;
    this.#peers = options.peers;
    this.#sharing = options.sharing ?? null;
    const events = {
      room: (lane: Lane) => this.#fill(lane),
      retired: (lane: Lane, connection: SharedConnection) => this.#sharedRetired(lane, connection),
      gone: (lane: Lane, connection: SharedConnection) => this.#sharedGone(lane, connection),
    };
    this.#lanes = this.#sharing === null ? [] : [new Lane('http1', events), new Lane('http2', events)];
  }

  /** What a request has to be sent on here. */
  wants(head: RequestHead): Wants {
    return wantsOf(head, this.#sharing);
  }

  /**
   * Finds a connection. `maxIdleMs`: how long an idle one of HTTP/1.1 may have waited for this request.
   *
   * @returns true when it was there already
   */
  apply(applicant: Applicant, maxIdleMs: number, wants: Wants = 'http1-alone'): boolean {
    const lane = this.#laneOf(wants);
    if (lane !== null) {
      const shared = lane.withRoom();
      if (shared !== null && this.#give(lane, shared, applicant)) return true;
      if (lane.shares !== false) {
        this.#awaitShared(lane, applicant);
        return false;
      }
    }
    const client = this.pool.take(this.#clock.now, maxIdleMs);
    if (client !== null) {
      applicant.onConnection(client);
      return true;
    }
    this.#serve(lane, applicant);
    return false;
  }

  forget(applicant: Applicant): void {
    this.pool.forget(applicant);
    for (const lane of this.#lanes) lane.forget(applicant);
  }

  #laneOf(wants: Wants): Lane | null {
    if (wants === 'http1-alone') return null;
    return this.#lanes[wants === 'http1' ? 0 : 1] ?? null;
  }

  /** A stream for it. @returns false when there was no room after all */
  #give(lane: Lane, connection: SharedConnection, applicant: Applicant): boolean {
    const stream = connection.open();
    if (stream === null) return false;
    const { maxRequestsPerConnection } = this.pool.limits;
    const made = this.#madeShared.get(connection);
    const last = made !== undefined && ++made.begun === maxRequestsPerConnection;
    applicant.onConnection(stream);
    if (last) {
      lane.remove(connection);
      connection.retire();
    }
    return true;
  }

  /** All that are shared are full, or there are none: one more is opened, one at a time, and whoever comes waits. */
  #awaitShared(lane: Lane, applicant: Applicant): void {
    const opens = !lane.opening && this.#reserve(lane.size === 0);
    if (!opens && this.#isFull()) {
      applicant.onNoConnection('overflow', 'too many pending requests');
      return;
    }
    lane.wait(applicant);
    if (opens) this.#openShared(lane);
  }

  /** Whether as many wait as may. The one for whom a connection is being made does not count. */
  #isFull(): boolean {
    let waiting = this.pool.waiting;
    for (const lane of this.#lanes) waiting += lane.opening ? Math.max(0, lane.waiting - 1) : lane.waiting;
    return waiting >= this.pool.limits.maxPending;
  }

  /** As in Envoy, one kind of connections does not keep the first of another out. */
  #reserve(first: boolean): boolean {
    return this.pool.reserve(first && this.#lanes.length > 0);
  }

  #openShared(lane: Lane): void {
    lane.opening = true;
    this.#shared++;
    this.#connect(lane, null);
  }

  /** A connection of its own, since those of HTTP/1.1 are not shared. */
  #serve(lane: Lane | null, applicant: Applicant): void {
    if (this.#reserve(this.pool.open === this.#shared)) this.#connect(lane, applicant);
    else if (this.#isFull()) applicant.onNoConnection('overflow', 'too many pending requests');
    else if (lane === null) this.pool.wait(applicant);
    else lane.wait(applicant);
  }

  /** @param applicant null = for those that wait in the lane */
  #connect(lane: Lane | null, applicant: Applicant | null): void {
    const era = this.#era;
    const wants = lane?.wants ?? 'http1-alone';
    this.#open((why, duct) => {
      if (applicant === null && lane !== null) {
        lane.opening = false;
        this.#shared--;
      }
      const spoken = duct === null || this.#sharing === null ? 'http1' : spokenOn(duct, wants, this.#sharing);
      if (duct === null) this.#failed(lane, applicant, why ?? 'connection failed');
      else if (lane === null || spoken === 'http1') this.#begin(lane, applicant, duct, era);
      else this.#beginShared(lane, applicant, duct, { era, memo: spoken === 'memo' });
    }, wants);
  }

  /** While others are open, those that wait may still get room there; else none waits for what did not work just now. */
  #failed(lane: Lane | null, applicant: Applicant | null, why: string): void {
    let told: readonly (Applicant | null)[] = [applicant];
    if (applicant === null && lane !== null) told = lane.size === 0 ? lane.all() : [lane.next()];
    this.pool.drop(null);
    this.#next();
    for (const each of told) if (each !== null && !each.gone) each.onNoConnection('connect_failed', why);
  }

  #begin(lane: Lane | null, applicant: Applicant | null, duct: Duct, era: number): void {
    const client = new H1Client(duct, this, this.#clock);
    client.idleSince = this.#clock.now;
    const made = new Made(client, era, peerOf(duct));
    this.#made.set(client, made);
    if (made.peer !== null) this.#peers?.watch(made.peer, made);
    if (lane !== null) lane.shares = false;
    const served = applicant ?? lane?.next() ?? null;
    if (served === null || served.gone) this.onIdle(client);
    else served.onConnection(client);
    if (lane !== null) this.#advance(lane);
  }

  #beginShared(
    lane: Lane,
    applicant: Applicant | null,
    duct: Duct,
    { era, memo }: { readonly era: number; readonly memo: boolean },
  ): void {
    const connection = (this.#sharing as Sharing).begin(duct, lane, memo);
    const made = new MadeShared(connection, peerOf(duct));
    this.#madeShared.set(connection, made);
    this.#shared++;
    lane.shares = true;
    lane.add(connection);
    if (made.peer !== null) this.#peers?.watch(made.peer, made);
    if (applicant !== null && !applicant.gone && !this.#give(lane, connection, applicant))
      lane.wait(applicant);
    this.#fill(lane);
    // It serves those that waited for it; who comes later gets another.
    if (this.#closed || era !== this.#era) {
      lane.remove(connection);
      connection.retire();
    }
    this.#advance(lane);
  }

  /** Whoever waits takes what room there is. */
  #fill(lane: Lane): void {
    while (lane.waiting > 0) {
      const connection = lane.withRoom();
      if (connection === null) return;
      const applicant = lane.next();
      if (applicant !== null && !applicant.gone && !this.#give(lane, connection, applicant)) {
        lane.wait(applicant);
        return;
      }
    }
  }

  /** Does for those that wait in the lane what can be done now. */
  #advance(lane: Lane): void {
    this.#fill(lane);
    while (lane.waiting > 0 && lane.shares === false) {
      const idle = this.pool.take(this.#clock.now, 0);
      if (idle === null && !this.#reserve(this.pool.open === this.#shared)) return;
      const applicant = lane.next();
      if (idle === null) this.#connect(lane, applicant);
      else applicant?.onConnection(idle);
    }
    if (lane.waiting === 0 || lane.opening) return;
    if (this.#reserve(lane.size === 0)) this.#openShared(lane);
  }

  /** A place is free. */
  #next(): void {
    for (const lane of this.#lanes) if (lane.size === 0 && lane.waiting > 0) this.#advance(lane);
    const next = this.pool.next();
    if (next !== null && !next.gone) this.#serve(null, next);
    for (const lane of this.#lanes) if (lane.waiting > 0) this.#advance(lane);
  }

  onIdle(client: H1Client): void {
    const made = this.#made.get(client);
    if (this.#closed || made === undefined || made.retired || made.era !== this.#era) {
      client.destroy();
      return;
    }
    this.pool.put(client);
    for (const lane of this.#lanes) if (lane.waiting > 0 && lane.shares === false) this.#advance(lane);
  }

  onGone(client: H1Client): void {
    const made = this.#made.get(client);
    if (made !== undefined && made.peer !== null) this.#peers?.unwatch(made.peer, made);
    this.pool.drop(client);
    this.#next();
  }

  #sharedRetired(lane: Lane, connection: SharedConnection): void {
    lane.remove(connection);
    if (lane.waiting > 0) this.#advance(lane);
  }

  #sharedGone(lane: Lane, connection: SharedConnection): void {
    lane.remove(connection);
    const made = this.#madeShared.get(connection);
    if (made !== undefined && made.peer !== null) this.#peers?.unwatch(made.peer, made);
    this.#shared--;
    this.pool.drop(null);
    this.#next();
  }

  /** Closes what has been idle too long; call it now and then. */
  sweep(now: number): void {
    this.pool.sweep(now);
    for (const lane of this.#lanes) for (const each of [...lane.connections]) this.#sweepShared(each, now);
  }

  #sweepShared(connection: SharedConnection, now: number): void {
    const made = this.#madeShared.get(connection);
    if (made === undefined || connection.active > 0) return;
    if (made.idle.begun !== made.begun) made.idle = { begun: made.begun, since: now };
    else if (now - made.idle.since > this.pool.limits.idleTimeoutMs) connection.retire();
  }

  /** Connections made until now finish their requests and are not used again (new certificates, new policy). */
  renew(): void {
    this.#era++;
    this.#retireIdle();
  }

  /** No further reuse: the endpoint is gone from the configuration. */
  close(): void {
    this.#closed = true;
    this.#retireIdle();
  }

  #retireIdle(): void {
    this.pool.clear();
    for (const lane of this.#lanes) {
      lane.retireAll();
      if (lane.waiting > 0) this.#advance(lane);
    }
  }
}
