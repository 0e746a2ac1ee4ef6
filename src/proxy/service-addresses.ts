/** Which service is at an address and port: what Istio's outbound listeners match, compiled once a configuration. */
import type { Resources, ServiceEntry, ServicePort } from '../config/resources.ts';
import { type Block, parseAddress, parseBlock } from '../policy/address.ts';

export interface Located {
  readonly entry: ServiceEntry;
  readonly port: ServicePort;
  /** The address is one of its endpoints': no other will do. */
  readonly endpoint: boolean;
}

interface Port {
  /** By the words of an address. */
  readonly addresses: Map<string, Located>;
  readonly endpoints: Map<string, Located>;
  /** The longest prefix first. */
  readonly blocks: { readonly block: Block; readonly located: Located }[];
  /** A TCP service that says no address takes its port on every one: Istio's listener on 0.0.0.0. */
  everywhere: Located | null;
  /** Hosts tell services apart: the first bytes must be seen. */
  named: boolean;
}

export class ServiceAddresses {
  readonly #ports = new Map<number, Port>();

  constructor({ serviceEntries }: Resources) {
    for (const entry of serviceEntries) for (const port of entry.ports) this.#add(entry, port);
    for (const { blocks } of this.#ports.values()) blocks.sort((a, b) => b.block.bits - a.block.bits);
  }

  /** An address of its own, an endpoint, the longest range, the port. */
  find(host: string, port: number): Located | null {
    const known = this.#ports.get(port);
    const words = known === undefined ? null : parseAddress(host);
    if (known === undefined || words === null) return null;
    const key = words.join();
    return (
      known.addresses.get(key) ??
      known.endpoints.get(key) ??
      known.blocks.find(({ block }) => covers(block, words))?.located ??
      known.everywhere
    );
  }

  /** Whether a service has `port` that is told by its host: in HTTP, or in a ClientHello. */
  isNamed(port: number): boolean {
    return this.#ports.get(port)?.named ?? false;
  }

  #add(entry: ServiceEntry, port: ServicePort): void {
    const located: Located = { entry, port, endpoint: false };
    const known = this.#port(port.number);
    for (const written of entry.addresses) {
      const block = written.includes('/') ? parseBlock(written) : null;
      const words = parseAddress(written);
      if (block !== null) known.blocks.push({ block, located });
      else if (words !== null) setFirst(known.addresses, words.join(), located);
    }
    for (const { address, ports } of entry.endpoints) {
      const at = parseAddress(address);
      const number = ports[port.name] ?? port.targetPort ?? port.number;
      if (at !== null) setFirst(this.#port(number).endpoints, at.join(), { ...located, endpoint: true });
    }
    if (!isBytes(port.protocol)) known.named = true;
    else if (entry.addresses.length === 0 && entry.resolution.startsWith('DNS')) known.everywhere ??= located;
  }

  #port(number: number): Port {
    let port = this.#ports.get(number);
    if (port === undefined) {
      port = { addresses: new Map(), endpoints: new Map(), blocks: [], everywhere: null, named: false };
      this.#ports.set(number, port);
    }
    return port;
  }
}

/** Declared to be nothing that names its host: never waited for, the server may speak first. */
export function isBytes(protocol: string): boolean {
  return /^(?:TCP|MONGO|REDIS|MYSQL)$/.test(protocol);
}

function setFirst(map: Map<string, Located>, key: string, located: Located): void {
  if (!map.has(key)) map.set(key, located);
}

function covers({ words, bits }: Block, address: readonly number[]): boolean {
  if (words.length !== address.length) return false;
  for (let i = 0, left = bits; left > 0; i++, left -= 32) {
    const shift = left >= 32 ? 0 : 32 - left;
    if (((words[i] ?? 0) ^ (address[i] ?? 0)) >>> shift !== 0) return false;
  }
  return true;
}
