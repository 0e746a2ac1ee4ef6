/**
 * Open connections, asked again whether they may be: after a new identity, after a new configuration, and at the moment
 * a certificate of their peer ends. Refusing begins their end; what is left at the deadline is closed.
 *
 * There is no way back: a connection whose end has begun ends, also when its peer is believed again before the deadline.
 */
import type { Clock, Deadline } from '../http/exchange.ts';
import type { PeerIdentity, PeerRefusal } from '../identity/peer.ts';
import type { BelievedServer } from '../identity/server-name.ts';
import { Expiries } from './expiries.ts';

/** Why an open connection is ended: the same word in the log, the metric and the access log. */
export type CloseReason = PeerRefusal | 'policy_denied' | 'mtls_required';

/** A server outside the mesh, which its name and its chain vouched for when it was connected, only ages. */
export type Peer = PeerIdentity | BelievedServer;

/** An open connection as revalidation sees it. */
export interface Vouched {
  readonly direction: 'inbound' | 'outbound';
  /** Its end begins: nothing new is begun on it, and it closes as soon as nothing is under way. */
  retire(reason: CloseReason): void;
  /** Closes what is left. */
  destroy(): void;
}

/** A connection that policy has a say in while it lives. */
export interface Policed extends Vouched {
  /** Asks the configuration in force; null = it may stay. */
  recheck(): CloseReason | null;
}

/** Where whoever holds a connection says so; call `unwatch` when it is closed. */
export type PeerWatch = Pick<Revalidation, 'watch' | 'adopt' | 'unwatch'>;

export interface RevalidationParts {
  readonly clock: Clock;
  /** From the refusal to the end, in ms; 0 = at once. */
  readonly graceMs: number;
  /** What speaks against a peer now. `now` in Unix milliseconds. */
  refusal(peer: PeerIdentity, now: number): PeerRefusal | null;
  /** Until when nothing does, unless something changes; Unix milliseconds. */
  holds(peer: PeerIdentity, now: number): number;
  /** One connection whose end begins. */
  count(direction: Vouched['direction'], reason: CloseReason): void;
  /** All of one change, in one line. */
  report(fields: Readonly<Record<string, unknown>>): void;
}

type Cause = 'identity' | 'configuration' | 'expiry';

/** Connections of one peer: it is asked about once, however many they are. */
interface Standing {
  peer: Peer;
  /** When it is asked about next without a change; Unix milliseconds. */
  holds: number;
  readonly connections: Set<Vouched>;
}

interface Pass {
  /** Null: it only carries out what was decided. */
  readonly cause: Cause | null;
  readonly steps: Iterator<void>;
}

const NEVER_ASKED = Number.NEGATIVE_INFINITY;
/** How long other work waits for a walk at most, in ms; 10,000 connections of one peer take some 10. */
const SLICE_MS = 5;

export class Revalidation implements Deadline {
  /** Always due: looked at with every tick of the clock. */
  deadline = 0;
  readonly #parts: RevalidationParts;
  readonly #standing = new Map<string, Standing>();
  readonly #expiries = new Expiries<Standing>();
  /** Connections whose end has begun → their deadline on the clock's scale; the first is the next, since the grace is one. */
  readonly #ending = new Map<Vouched, number>();
  /** Destroyed; their sockets say so in a moment. */
  readonly #ended = new WeakSet<Vouched>();
  readonly #passes: Pass[] = [];
  #cause: Cause = 'configuration';
  #tally: Record<Vouched['direction'], Partial<Record<CloseReason, number>>> = { inbound: {}, outbound: {} };
  #unsaid = 0;
  #scheduled = false;

  constructor(parts: RevalidationParts) {
    this.#parts = parts;
    parts.clock.add(this);
  }

  watch(peer: Peer, connection: Vouched): void {
    const key = keyOf(peer);
    const standing = this.#standing.get(key);
    if (standing === undefined) {
      const first = { peer, holds: NEVER_ASKED, connections: new Set([connection]) };
      this.#standing.set(key, first);
      this.#schedule(first);
      return;
    }
    standing.connections.add(connection);
    if (peer === standing.peer) return;
    // One leaf, believed anew: what it came with now vouches for its older connections too.
    standing.peer = peer;
    this.#schedule(standing);
  }

  /** Watches a connection that changed hands; its end begins if its peer was refused meanwhile. */
  adopt(peer: Peer, connection: Vouched): void {
    this.watch(peer, connection);
    const reason = this.#refusal(peer);
    if (reason !== null) this.end(connection, reason);
  }

  #schedule(standing: Standing): void {
    const { peer } = standing;
    const holds = peer.id === null ? peer.validUntil : this.#parts.holds(peer, Date.now());
    if (holds === standing.holds || standing.connections.size === 0) return;
    this.#expiries.delete(standing.holds, standing);
    standing.holds = holds;
    this.#expiries.add(holds, standing);
  }

  unwatch(peer: Peer | null, connection: Vouched): void {
    this.#ending.delete(connection);
    if (peer === null) return;
    const key = keyOf(peer);
    const standing = this.#standing.get(key);
    if (standing === undefined || !standing.connections.delete(connection)) return;
    if (standing.connections.size > 0) return;
    this.#standing.delete(key);
    this.#expiries.delete(standing.holds, standing);
  }

  /** Another identity is in force, with another bundle perhaps, or other revocation lists. */
  identityChanged(): void {
    if (!this.#waits('identity')) this.#pass('identity', this.#askTrust(this.#standing.values()));
  }

  /** Another configuration is in force. `connections`: those that policy has a say in. */
  configurationChanged(connections: Iterable<Policed>): void {
    if (!this.#waits('configuration')) this.#pass('configuration', this.#askAll(connections));
  }

  /** One connection's end begins, for a reason that was found out about it alone. */
  end(connection: Vouched, reason: CloseReason): void {
    if (this.#isEnding(connection)) return;
    const { direction } = connection;
    this.#parts.count(direction, reason);
    const tally = this.#tally[direction];
    tally[reason] = (tally[reason] ?? 0) + 1;
    this.#unsaid++;
    this.#ending.set(connection, this.#parts.clock.now + this.#parts.graceMs);
    connection.retire(reason);
    if (this.#parts.graceMs === 0) this.#destroy(connection);
  }

  #isEnding(connection: Vouched): boolean {
    return this.#ending.has(connection) || this.#ended.has(connection);
  }

  #destroy(connection: Vouched): void {
    this.#ending.delete(connection);
    this.#ended.add(connection);
    connection.destroy();
  }

  onDeadline(): void {
    this.deadline = 0;
    const due = this.#expiries.take(Date.now());
    for (const standing of due) standing.holds = NEVER_ASKED;
    if (due.length > 0) this.#pass('expiry', this.#askTrust(due));
    if (this.#passes.length > 0) return;
    const [first] = this.#ending.values();
    if (first !== undefined && first <= this.#parts.clock.now) this.#pass(null, this.#destroyDue());
    this.#say();
  }

  /** One that has not begun will see what is in force then. */
  #waits(cause: Cause): boolean {
    return this.#passes.some((pass, at) => at > 0 && pass.cause === cause);
  }

  #pass(cause: Cause | null, steps: Iterator<void>): void {
    this.#passes.push({ cause, steps });
    if (!this.#scheduled) this.#walk();
  }

  /** The first slice at once, so that a change that concerns few is done before the next request. */
  #walk = (): void => {
    this.#scheduled = false;
    const until = performance.now() + SLICE_MS;
    for (let pass = this.#passes[0]; pass !== undefined; pass = this.#passes[0]) {
      this.#cause = pass.cause ?? this.#cause;
      while (pass.steps.next().done !== true) {
        if (performance.now() < until) continue;
        this.#scheduled = true;
        setImmediate(this.#walk);
        return;
      }
      this.#passes.shift();
      this.#say();
    }
  };

  *#askAll(connections: Iterable<Policed>): Generator<void> {
    yield* this.#askTrust(this.#standing.values());
    for (const connection of connections) {
      const reason = this.#isEnding(connection) ? null : connection.recheck();
      if (reason !== null) this.end(connection, reason);
      yield;
    }
  }

  *#askTrust(all: Iterable<Standing>): Generator<void> {
    for (const standing of all) {
      const reason = this.#refusal(standing.peer);
      if (reason !== null) {
        for (const connection of standing.connections) {
          this.end(connection, reason);
          yield;
        }
      } else this.#schedule(standing);
      yield;
    }
  }

  #refusal(peer: Peer): CloseReason | null {
    const now = Date.now();
    if (peer.id === null) return now > peer.validUntil ? 'expired' : null;
    return this.#parts.refusal(peer, now);
  }

  *#destroyDue(): Generator<void> {
    for (const [connection, deadline] of this.#ending) {
      if (deadline > this.#parts.clock.now) return;
      this.#destroy(connection);
      yield;
    }
  }

  #say(): void {
    if (this.#unsaid === 0) return;
    const { inbound, outbound } = this.#tally;
    this.#parts.report({ cause: this.#cause, inbound, outbound, graceMs: this.#parts.graceMs });
    this.#unsaid = 0;
    this.#tally = { inbound: {}, outbound: {} };
  }
}

function keyOf(peer: Peer): string {
  return peer.id === null ? `${peer.validUntil} ${peer.uri}` : peer.hash;
}
