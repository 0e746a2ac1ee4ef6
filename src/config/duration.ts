const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};
const MAX_MS = 9_223_372_036_854.775; // Go counts nanoseconds in 64 bits
const WHOLE = /^([-+]?)((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/;
const PART = /([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)/g;

/** Milliseconds of a duration as Go and Istio write it (`10s`, `1h30m`, `500ms`, `1.5s`); null for anything else. */
export function parseDuration(text: string): number | null {
  const [, sign, body] = WHOLE.exec(text) ?? [];
  if (body === undefined) return null;
  let total = 0;
  for (const [, amount, unit] of body.matchAll(PART)) total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  if (total > MAX_MS) return null;
  const rounded = Math.round(total * 1e6) / 1e6; // to a nanosecond: 0.1 × 1e3 is not exact
  return sign === '-' ? -rounded : rounded;
}
