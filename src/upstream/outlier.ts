/** Outlier detection (DestinationRule trafficPolicy.outlierDetection): an endpoint that fails is left out for a while. */
import type { OutlierDetection } from '../config/resources.ts';

/** Longest ejection (Envoy's max_ejection_time default), unless the shortest is longer. */
const MAX_EJECTION_MS = 300_000;

export type Outcome = 'ok' | 'connect_failed' | 'gateway_error' | 'error';

/** One endpoint's record. Times in ms on the caller's clock. */
export class EndpointHealth {
  ejectedUntil = 0;
  #settings: OutlierDetection | null;
  #failures = 0;
  #gatewayFailures = 0;
  #ejections = 0;

  constructor(settings: OutlierDetection | null) {
    this.#settings = settings;
  }

  ejected(now: number): boolean {
    return this.ejectedUntil > now;
  }

  /** Forgets what it counted; an ejected endpoint is back. */
  pardon(): void {
    this.ejectedUntil = 0;
    this.#failures = 0;
    this.#gatewayFailures = 0;
    this.#ejections = 0;
  }

  /** Counts one outcome. `mayEject` is whether the share of ejected endpoints allows one more. @returns whether it was ejected now */
  count(outcome: Outcome, now: number, mayEject: boolean): boolean {
    const settings = this.#settings;
    if (settings === null) return false;
    if (outcome === 'ok') {
      this.#failures = 0;
      this.#gatewayFailures = 0;
      return false;
    }
    this.#failures++;
    // Any other error ends a row of gateway errors, as in Envoy.
    if (outcome === 'error') this.#gatewayFailures = 0;
    else this.#gatewayFailures++;
    const { consecutive5xxErrors, consecutiveGatewayErrors } = settings;
    const due =
      (consecutive5xxErrors > 0 && this.#failures >= consecutive5xxErrors) ||
      (consecutiveGatewayErrors > 0 && this.#gatewayFailures >= consecutiveGatewayErrors);
    if (!due || !mayEject || this.ejected(now)) return false;
    this.#failures = 0;
    this.#gatewayFailures = 0;
    this.#ejections++;
    const { baseEjectionTimeMs } = settings;
    const longest = Math.max(MAX_EJECTION_MS, baseEjectionTimeMs);
    this.ejectedUntil = now + Math.min(longest, baseEjectionTimeMs * this.#ejections);
    return true;
  }
}

/** Whether one more of `total` endpoints may be ejected when `ejected` are (maxEjectionPercent; at least one may). */
export function mayEject(total: number, ejected: number, maxEjectionPercent: number): boolean {
  return ejected === 0 || (ejected + 1) * 100 <= total * maxEjectionPercent;
}
