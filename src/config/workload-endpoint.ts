/** Where a SPIFFE Workload API is, as SPIFFE_Workload_Endpoint.md section 4 writes it. */
import { addressFamily } from './addresses.ts';

export interface WorkloadEndpoint {
  /** As it was written, for people. */
  readonly address: string;
  /** The same for gRPC: `unix:/path`, `ipv4:1.2.3.4:5` or `ipv6:[::1]:5`. */
  readonly target: string;
}

/** `unix:///path`, `unix:/path` or `tcp://IP:PORT`, nothing more; null for any other text. */
export function parseWorkloadEndpoint(address: string): WorkloadEndpoint | null {
  const [, path] = /^unix:(?:\/\/(?=\/))?(\/[^/?#%\s][^?#%\s]*)$/.exec(address) ?? [];
  if (path !== undefined) return { address, target: `unix:${path}` };
  const [, v6, v4, digits] = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(address) ?? [];
  const port = Number(digits ?? 0);
  if (port < 1 || port > 65_535) return null;
  if (v4 !== undefined && addressFamily(v4) === 4) return { address, target: `ipv4:${v4}:${port}` };
  if (v6 !== undefined && addressFamily(v6) === 6) return { address, target: `ipv6:[${v6}]:${port}` };
  return null;
}
