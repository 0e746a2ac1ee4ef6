/** Which port of the workload an inbound connection is for: the one that `--app` names, or the one that it was going to. */
import type { Socket } from 'node:net';
import type { Address } from '../net/listen.ts';
import type { OriginalDst } from '../net/original-dst.ts';

export interface WorkloadPort {
  /** The app's own. */
  readonly port: number;
  /** The address that a connection was going to when it was redirected; null = the listener's. */
  readonly host: string | null;
}

/** Nobody can tell; the inbound listener itself; another of Outrider's listeners. */
export type NoWorkloadPort = 'no_destination' | 'loop' | 'own_port';

export interface WorkloadPortsOptions {
  /** Of `--app`. */
  readonly app: number | null;
  /** Where redirected connections were going; null = none come, or nobody can tell. */
  readonly originalDst: OriginalDst | null;
  /** Whether a port is one of Outrider's own listeners: never the app's. */
  readonly isOwnPort: (port: number) => boolean;
  /** The inbound listener's own. */
  readonly port: () => number;
}

const MAX_PORT = 65_535;

export class WorkloadPorts {
  readonly #options: WorkloadPortsOptions;
  /** Of `--app`. */
  readonly #app: WorkloadPort | null;
  /** What was asked once is kept as long as the connection. */
  readonly #known = new WeakMap<Socket, WorkloadPort>();

  constructor(options: WorkloadPortsOptions) {
    this.#options = options;
    this.#app = options.app === null ? null : { port: options.app, host: null };
  }

  /** Of a connection that was just accepted. */
  find(raw: Socket): WorkloadPort | NoWorkloadPort {
    if (this.#app !== null) return this.#app;
    const { originalDst, isOwnPort, port } = this.#options;
    const to = originalDst?.(raw) ?? null;
    if (to === null) return 'no_destination';
    // TPROXY keeps the local port; what REDIRECT leads here has the listener's own.
    if (isOwnPort(to.port)) return to.port === port() ? 'loop' : 'own_port';
    this.#known.set(raw, to);
    return to;
  }

  /** Of one that was found before; null = it is for no port. */
  of(raw: Socket): WorkloadPort | null {
    return this.#app ?? this.#known.get(raw) ?? null;
  }

  /**
   * Of an address that a client names itself (HBONE). The address that counts is the one that it connected to: policy must
   * not believe a client's word.
   *
   * @param exact the app is reached at that address: nobody is led on to another host
   */
  named(
    { host, port }: Address,
    { localAddress = '' }: Socket,
    exact: boolean,
  ): WorkloadPort | NoWorkloadPort {
    if (this.#app !== null) return this.#app.port === port ? this.#app : 'no_destination';
    if (port < 1 || port > MAX_PORT) return 'no_destination';
    if (this.#options.isOwnPort(port)) return 'own_port';
    const own = localAddress.replace(/^::ffff:(?=.*\.)/, '');
    return exact && host !== own ? 'no_destination' : { host: own, port };
  }
}
