/**
 * Connections to the app that come from its client's address, where connections are led here by TPROXY. The answers go to
 * an address that is not this host's: they come back by the marks and routes that `outrider capture` makes. Where the
 * capability or the routes are missing, the app is reached as without TPROXY, and one line of the log says why.
 */
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { CLIENT_MARK } from './client-mark.ts';
import { connectPlain } from './connect.ts';
import { bindTransparent, type NotBound } from './transparent-socket.ts';

const PROOF_MS = 3_000; // what stays on this host takes microseconds; a busy thread is slow to see it
const RETRY_MS = 10_000;
/** What is short now and not later: the connection fails, rather than come from another address. */
const PASSING: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);

export interface ClientSourceOptions {
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
  /** Of the sockets; another only in tests. */
  readonly bind?: typeof bindTransparent;
}

/**
 * A descriptor that is bound to the client's address; null where the app cannot see it; or in one word why there can be no
 * connection now.
 */
export type Bound = number | null | string;
type Done = (bound: Bound) => void;
type Waiting = (failed: string | null) => void;
type State = 'works' | { readonly waiting: Waiting[] } | { readonly failedAt: number };

export class ClientSource {
  readonly #warn: ClientSourceOptions['warn'];
  readonly #bind: typeof bindTransparent;
  /** By where the app is: on localhost or at an address of the host, and the family. */
  readonly #states = new Map<string, State>();
  readonly #told = new Set<string>();
  /** Counts how often what was missing has come: connections made before come from another address. */
  era = 0;

  constructor({ warn, bind = bindTransparent }: ClientSourceOptions) {
    this.#warn = warn;
    this.#bind = bind;
  }

  /**
   * Binds a socket to the address `client`, for it to connect to `host`, an address of this host and of the same family.
   * Only the first waits, for a connection to a listener of its own that proves that answers come back.
   */
  bind(client: string, host: string, done: Done): void {
    const kind = kindOf(host);
    const state = this.#states.get(kind);
    const wait: Waiting = failed => (failed === null ? this.bind(client, host, done) : done(failed));
    if (state === 'works' || (state === undefined && isLocal(client))) done(this.#take(client, host));
    else if (state === undefined) this.#prove(client, host, [wait]);
    else if ('waiting' in state) state.waiting.push(wait);
    else {
      if (performance.now() - state.failedAt >= RETRY_MS && !isLocal(client)) this.#proveAgain(client, host);
      done(null);
    }
  }

  /** A connection from a client's address to `host` took too long: because of the app, or the routes are gone. */
  doubt(host: string): void {
    if (this.#states.get(kindOf(host)) === 'works') this.#states.delete(kindOf(host));
  }

  #take(client: string, host: string): Bound {
    const bound = this.#bind({ address: client, mark: CLIENT_MARK, lowPort: !isLocalhost(host) });
    if (typeof bound === 'number') return bound;
    if (PASSING.has(bound.code)) return bound.code;
    this.#tell(bound.why);
    return null;
  }

  /** Nobody waits for it: the app is reached without. */
  #proveAgain(client: string, host: string): void {
    this.#states.set(kindOf(host), { failedAt: performance.now() });
    prove(client, host, this.#bind, outcome => {
      if (outcome !== null) return;
      this.#states.set(kindOf(host), 'works');
      this.era++;
    });
  }

  #prove(client: string, host: string, waiting: Waiting[]): void {
    const kind = kindOf(host);
    this.#states.set(kind, { waiting });
    prove(client, host, this.#bind, fault => {
      const passing = fault !== null && PASSING.has(fault.code) ? fault.code : null;
      if (passing !== null) this.#states.delete(kind);
      else this.#states.set(kind, fault === null ? 'works' : { failedAt: performance.now() });
      if (fault !== null && passing === null) this.#tell(fault.why);
      for (const wait of waiting) wait(passing);
    });
  }

  /** Once for each reason. */
  #tell(reason: string): void {
    if (this.#told.has(reason)) return;
    this.#told.add(reason);
    this.#warn("the app does not see its clients' addresses", { capture: 'tproxy', reason });
  }
}

/** Connects from `client` to a listener on `host` that is there for this; `done` is called once, with what went wrong. */
function prove(
  client: string,
  host: string,
  bind: typeof bindTransparent,
  done: (fault: NotBound | null) => void,
): void {
  const settle = (fault: NotBound | null): void => {
    server.close();
    done(fault);
  };
  const server = createServer(socket => socket.destroy()).unref();
  server.once('error', ({ code = '' }: NodeJS.ErrnoException) => {
    done({ code, why: `no listener on ${host}: ${code}` });
  });
  server.listen({ host, port: 0 }, () => {
    const { port } = server.address() as AddressInfo;
    const descriptor = bind({ address: client, mark: CLIENT_MARK, lowPort: false });
    if (typeof descriptor !== 'number') settle(descriptor);
    else
      connectPlain({ host, port, timeoutMs: PROOF_MS, descriptor }, (why, { socket }) => {
        socket.destroy();
        settle(why === null ? null : { code: why, why: `${NO_ANSWER} (${why})` });
      });
  });
}

const NO_ANSWER =
  'answers to them do not come back: `outrider capture apply --mode tproxy` makes the rules and routes';

function isLocalhost(host: string): boolean {
  return host === '::1' || host.startsWith('127.');
}

function kindOf(host: string): string {
  return `${isLocalhost(host)} ${host.includes(':')}`;
}

/** Answers to this host's own addresses need no routes, and prove none. */
function isLocal(client: string): boolean {
  return Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === client));
}
