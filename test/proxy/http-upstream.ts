/** An upstream whose connections are the test's own: what each agrees to, how much room it has, and when it is there. */
import type { FailureCode } from '../../src/errors.ts';
import type { Duct, UpstreamStream } from '../../src/http/exchange.ts';
import type { SharedConnection, SharedOwner, Sharing, Wants } from '../../src/proxy/h2-upstream.ts';
import { type Applicant, HttpUpstream } from '../../src/proxy/http-upstream.ts';
import { PeerDuct } from '../../src/proxy/peer-duct.ts';
import type { Peer, PeerWatch, Vouched } from '../../src/proxy/revalidation.ts';
import type { PoolLimits } from '../../src/upstream/pool.ts';
import { FakeClock } from '../http/loop.ts';
import { MemorySocket } from '../http/memory-socket.ts';

const LIMITS: PoolLimits = {
  maxConnections: 100,
  maxPending: 100,
  maxRequestsPerConnection: 0,
  idleTimeoutMs: 60_000,
};

/** One stream; only who has it matters here. */
class Stream implements UpstreamStream {
  readonly requests = 1;
  readonly bare = true;
  readonly backedUp = false;
  readonly connection: Shared;

  constructor(connection: Shared) {
    this.connection = connection;
  }

  begin(): void {}
  write(): boolean {
    return true;
  }
  requestComplete(): void {}
  pauseResponse(): void {}
  resumeResponse(): void {}
  abandon(): void {}

  /** The response is complete. */
  end(): void {
    this.connection.ended();
  }
}

/** An HTTP/2 connection with as much room as the test says. */
export class Shared implements SharedConnection {
  active = 0;
  opened = 0;
  capacity: number;
  retired = false;
  gone = false;
  readonly memo: boolean;
  #owner: SharedOwner;

  constructor(owner: SharedOwner, memo: boolean, capacity: number) {
    this.#owner = owner;
    this.memo = memo;
    this.capacity = capacity;
  }

  get room(): number {
    return this.retired ? 0 : Math.max(0, this.capacity - this.active);
  }

  open(): UpstreamStream | null {
    if (this.room === 0) return null;
    this.active++;
    this.opened++;
    return new Stream(this);
  }

  ended(): void {
    this.active--;
    if (this.retired && this.active === 0) this.destroy();
    else this.#owner.onRoom(this);
  }

  /** The server allows more. */
  widen(capacity: number): void {
    this.capacity = capacity;
    this.#owner.onRoom(this);
  }

  retire(): void {
    if (this.retired) return;
    this.retired = true;
    this.#owner.onRetired(this);
    if (this.active === 0) this.destroy();
  }

  destroy(): void {
    if (this.gone) return;
    this.gone = true;
    if (!this.retired) {
      this.retired = true;
      this.#owner.onRetired(this);
    }
    this.#owner.onGone(this);
  }
}

/** A request, and what became of it. */
export class Request implements Applicant {
  gone = false;
  stream: UpstreamStream | null = null;
  failure: string | null = null;
  /** Called when it is told that there is no connection. */
  onFailure: (() => void) | null = null;

  onConnection(stream: UpstreamStream): void {
    if (this.stream !== null) throw new Error('two connections for one request');
    this.stream = stream;
  }

  onNoConnection(code: FailureCode, why: string): void {
    this.failure = `${code}: ${why}`;
    this.onFailure?.();
  }

  /** The shared connection that it is on. */
  get on(): Shared | null {
    return this.stream instanceof Stream ? this.stream.connection : null;
  }

  end(): void {
    if (!(this.stream instanceof Stream)) throw new Error('not on a shared connection');
    this.stream.end();
  }
}

interface Attempt {
  readonly wants: Wants;
  /** The connection is there; `protocol` is what TLS agreed on, undefined = no TLS. */
  made(protocol?: string | null): MemorySocket;
  failed(why: string): void;
}

export interface FakeOptions {
  readonly limits?: Partial<PoolLimits>;
  readonly sharing?: Partial<Sharing> | null;
  /** Room on each HTTP/2 connection. */
  readonly room?: number;
}

const PEER: Peer = { id: null, uri: 'spiffe://a/b', validUntil: Number.MAX_SAFE_INTEGER } as Peer;

export class FakeUpstream {
  readonly clock = new FakeClock();
  readonly attempts: Attempt[] = [];
  readonly shared: Shared[] = [];
  readonly watched = new Set<Vouched>();
  readonly upstream: HttpUpstream;

  constructor(options: FakeOptions = {}) {
    const { room = 3, sharing = {} } = options;
    const peers = {
      watch: (_peer: Peer, connection: Vouched) => this.watched.add(connection),
      unwatch: (_peer: Peer | null, connection: Vouched) => this.watched.delete(connection),
      adopt: () => {},
    } as unknown as PeerWatch;
    this.upstream = new HttpUpstream({
      limits: { ...LIMITS, ...options.limits },
      clock: this.clock,
      peers,
      open: (done, wants) => this.attempts.push(attemptOf(done, wants)),
      sharing: sharing && {
        speaks: 'http1',
        memo: true,
        fallsBack: false,
        begin: (_duct, owner, memo) => {
          const shared = new Shared(owner, memo, room);
          this.shared.push(shared);
          return shared;
        },
        ...sharing,
      },
    });
  }

  request(wants: Wants = 'http1'): Request {
    const request = new Request();
    this.upstream.apply(request, Number.POSITIVE_INFINITY, wants);
    return request;
  }

  requests(count: number, wants: Wants = 'http1'): Request[] {
    return Array.from({ length: count }, () => this.request(wants));
  }

  /** The attempt that was begun last. */
  get last(): Attempt {
    const last = this.attempts.at(-1);
    if (last === undefined) throw new Error('no connection is being made');
    return last;
  }
}

function attemptOf(done: (why: string | null, duct: Duct | null) => void, wants: Wants): Attempt {
  return {
    wants,
    made: protocol => {
      const memory = new MemorySocket();
      const { socket } = memory;
      done(
        null,
        protocol === undefined ? { socket, inlet: null } : new PeerDuct(socket, null, PEER, protocol),
      );
      return memory;
    },
    failed: why => done(why, null),
  };
}
