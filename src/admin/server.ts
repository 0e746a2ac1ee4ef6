import type { AppProbe } from '../config/app-probes.ts';
import { type Address, Listener, type ListenerOptions } from './listener.ts';
import { adminRoutes, healthRoutes, telemetryRoutes } from './routes.ts';
import type { AdminState } from './state.ts';

export interface AdminAddresses {
  readonly admin: Address;
  readonly health: Address;
  readonly telemetry: Address;
}

export interface AdminOptions {
  readonly state: AdminState;
  readonly addresses: AdminAddresses;
  /** Hosts besides loopback that the admin listener answers to (`--admin-host`). */
  readonly adminHosts: readonly string[];
  /** The app's probes by their paths, which the telemetry listener answers. */
  readonly appProbes?: ReadonlyMap<string, AppProbe>;
  /** A handler failed, or a listener did after it was bound. */
  readonly onError: (error: unknown, path: string) => void;
}

export interface Admin {
  /** Where they listen, with the real ports. */
  readonly addresses: AdminAddresses;
  /** Ends all three; idle connections at once, answers under way within a second. */
  close(): Promise<void>;
}

/**
 * Opens the admin, health and telemetry listeners; all are bound when it resolves.
 * @throws the system's error of the first that cannot be bound; the others are closed again
 */
export async function createAdmin(options: AdminOptions): Promise<Admin> {
  const { state, addresses, adminHosts, onError } = options;
  const common: Pick<ListenerOptions, 'onError'> = { onError };
  const admin = new Listener({
    ...common,
    address: addresses.admin,
    routes: adminRoutes(state),
    hosts: adminHosts,
  });
  const health = new Listener({
    ...common,
    address: addresses.health,
    routes: healthRoutes(state),
    hosts: null,
  });
  const telemetry = new Listener({
    ...common,
    address: addresses.telemetry,
    routes: telemetryRoutes(state, options.appProbes ?? new Map()),
    hosts: null,
  });
  const listeners = [admin, health, telemetry];
  const close = async (): Promise<void> => {
    await Promise.all(listeners.map(listener => listener.close()));
  };
  const results = await Promise.allSettled(listeners.map(listener => listener.listen()));
  const failed = results.find(result => result.status === 'rejected');
  if (failed !== undefined) {
    await close();
    throw failed.reason;
  }
  const [adminAt, healthAt, telemetryAt] = results.map(
    result => (result as PromiseFulfilledResult<Address>).value,
  );
  return {
    addresses: {
      admin: adminAt ?? addresses.admin,
      health: healthAt ?? addresses.health,
      telemetry: telemetryAt ?? addresses.telemetry,
    },
    close,
  };
}
