/** The apps behind the workload's ports: one a port, or one for all where `--app` names it. */
import type { AppDestination } from './app.ts';
import type { WorkloadPort } from './workload-ports.ts';

/** A peer may ask for every port there is: the oldest goes, and its connections are not used again. */
const MAX_APPS = 1_000;
/** Istio's: capture leaves alone what comes from here, on its way to the pod's own address. */
const PASSTHROUGH_SOURCE = '127.0.0.6';
const PASSTHROUGH_SOURCE_6 = '::6';

export interface AppAddress {
  readonly host: string;
  readonly port: number;
  /** Where its connections come from; null = whichever address the system takes. */
  readonly source: string | null;
}

export class Apps {
  readonly #host: string | null;
  readonly #make: (at: AppAddress) => AppDestination;
  readonly #apps = new Map<string, AppDestination>();

  /** @param host of `--app`; null = the workload's own */
  constructor(host: string | null, make: (at: AppAddress) => AppDestination) {
    this.#host = host;
    this.#make = make;
  }

  /** @param passthrough the address that a connection was going to is where the app is, not localhost */
  on({ port, host: original }: WorkloadPort, passthrough: boolean): AppDestination {
    const six = original?.includes(':') === true;
    const there = this.#host === null && passthrough ? original : null;
    const host = this.#host ?? there ?? (six ? '::1' : '127.0.0.1');
    const key = `${host}:${port}`;
    let app = this.#apps.get(key);
    if (app === undefined) {
      if (this.#apps.size >= MAX_APPS) this.#forgetOldest();
      const own = six ? PASSTHROUGH_SOURCE_6 : PASSTHROUGH_SOURCE;
      app = this.#make({ host, port, source: there === null ? null : own });
      this.#apps.set(key, app);
    }
    return app;
  }

  #forgetOldest(): void {
    for (const [key, app] of this.#apps) {
      app.close();
      this.#apps.delete(key);
      return;
    }
  }

  sweep(now: number): void {
    for (const app of this.#apps.values()) app.sweep(now);
  }

  close(): void {
    for (const app of this.#apps.values()) app.close();
  }
}
