/**
 * The apps behind the workload's ports: one a port, or one for all where `--app` names it. Where the app sees its clients'
 * addresses, one a port and client: a connection that came from one client's address never has another's request.
 */
import type { ClientSource } from '../net/client-source.ts';
import type { AppClient, AppDestination, Room } from './app.ts';
import type { WorkloadPort } from './workload-ports.ts';

/** A peer may ask for every port there is: the oldest goes, and its connections are not used again. */
const MAX_APPS = 1_000;
/** With TPROXY each client address has an app of its own, some 2 KB; one network of IPv6 could have millions, so the oldest goes. */
const MAX_CLIENTS = 4_096;
/** More than the connections that a worker accepts (`--max-connections`), so that each can have a request under way. */
const MAX_CONNECTIONS = 16_384;
/** From here on none is kept for a request that may come. */
const MANY_CONNECTIONS = 12_288;
/** Istio's: capture leaves alone what comes from here, on its way to the pod's own address. */
const PASSTHROUGH_SOURCE = '127.0.0.6';
const PASSTHROUGH_SOURCE_6 = '::6';

export interface AppAddress {
  readonly host: string;
  readonly port: number;
  /** Where its connections come from; null = whichever address the system takes. */
  readonly source: string | null;
  /** Whose address they come from where that can be; null = nobody's. */
  readonly client: AppClient | null;
}

export interface AppsOptions {
  /** Of `--app`; null = the workload's own. */
  readonly host: string | null;
  /** null = the app does not see its clients' addresses. */
  readonly sources: ClientSource | null;
  readonly make: (at: AppAddress) => AppDestination;
}

/** A client's end of a connection. */
interface Client {
  readonly remoteAddress?: string | undefined;
}

export class Apps implements Room {
  readonly #host: string | null;
  readonly #sources: ClientSource | null;
  readonly #make: AppsOptions['make'];
  readonly #apps = new Map<string, AppDestination>();
  /** For requests, from clients' addresses. */
  #connections = 0;

  constructor({ host, sources, make }: AppsOptions) {
    this.#host = host;
    // What another host answers to a client's address comes to the client.
    this.#sources = host === null || isLocalhost(host) ? sources : null;
    this.#make = make;
  }

  /** @param passthrough the address that a connection was going to is where the app is, not localhost */
  on({ port, host: original }: WorkloadPort, passthrough: boolean, from: Client): AppDestination {
    const six = original?.includes(':') === true;
    const there = this.#host === null && passthrough ? original : null;
    const host = this.#host ?? there ?? (six ? '::1' : '127.0.0.1');
    const client = this.#sources === null ? null : clientOf(from, host);
    const key = client === null ? `${host}:${port}` : `${host}:${port}<${client}`;
    let app = this.#apps.get(key);
    if (app === undefined) {
      if (this.#apps.size >= (this.#sources === null ? MAX_APPS : MAX_CLIENTS)) this.#forgetOldest();
      const own = six ? PASSTHROUGH_SOURCE_6 : PASSTHROUGH_SOURCE;
      const source = there === null ? null : own;
      app = this.#make({ host, port, source, client: this.#appClient(client) });
      this.#apps.set(key, app);
    }
    return app;
  }

  #appClient(address: string | null): AppClient | null {
    return address === null || this.#sources === null
      ? null
      : { address, sources: this.#sources, room: this };
  }

  #forgetOldest(): void {
    for (const [key, app] of this.#apps) {
      this.#forget(key, app);
      return;
    }
  }

  /** Requests under way on its connections end well; the next ones ask for another. */
  #forget(key: string, app: AppDestination): void {
    this.#apps.delete(key);
    app.replaced = true;
    app.close();
  }

  take(): boolean {
    if (this.#connections >= MAX_CONNECTIONS) return false;
    if (this.#connections >= MANY_CONNECTIONS) for (const app of this.#apps.values()) app.rest();
    this.#connections++;
    return true;
  }

  free(): void {
    this.#connections--;
  }

  sweep(now: number): void {
    for (const [key, app] of this.#apps) {
      app.sweep(now);
      if (this.#sources !== null && app.idle) this.#forget(key, app);
    }
  }

  close(): void {
    for (const app of this.#apps.values()) app.close();
  }
}

function isLocalhost(host: string): boolean {
  return host === '::1' || host.startsWith('127.');
}

/** The address that the app at `host` can see; null where it is of the other family, or the app sees localhost anyway. */
function clientOf({ remoteAddress = '' }: Client, host: string): string | null {
  const address = remoteAddress.replace(/^::ffff:(?=.*\.)/, '');
  // A link-local one is another client's on every interface.
  if (address === '' || address.includes('%') || isLocalhost(address)) return null;
  return address.includes(':') === host.includes(':') ? address : null;
}
