/** What gRPC says in fields, and what HTTP's own words mean to it. */

/** At most eight digits and a unit (gRPC over HTTP/2, "Timeout"). */
const TIMEOUT = /^(\d{1,8})([HMSmun])$/;

const MILLISECONDS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * The time that a `grpc-timeout` gives the call, in ms.
 *
 * @returns Infinity when it is none that the specification knows, 0 among them: as Envoy, which then sets no limit
 */
export function grpcTimeoutMs(value: string): number {
  const [, digits = '0', unit = 'S'] = TIMEOUT.exec(value) ?? [];
  const ms = Number(digits) * (MILLISECONDS[unit] as number);
  return ms > 0 ? ms : Number.POSITIVE_INFINITY;
}

const CONTENT = /^application\/grpc(?:$|[+; \t])/i;

/** Whether a content-type is gRPC's own; gRPC-Web is another protocol, whose trailers stand in the body. */
export function isGrpcContent(type: string | null | undefined): boolean {
  return type !== null && type !== undefined && CONTENT.test(type);
}

/** The grpc-status that a response without one stands for (gRPC, "HTTP to gRPC Status Code Mapping"). */
export function grpcStatusOfHttp(status: number): number {
  switch (status) {
    case 400:
      return 13; // INTERNAL
    case 401:
      return 16; // UNAUTHENTICATED
    case 403:
      return 7; // PERMISSION_DENIED
    case 404:
      return 12; // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504:
      return 14; // UNAVAILABLE
    default:
      return 2; // UNKNOWN
  }
}
