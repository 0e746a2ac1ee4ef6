/** The key exchange group of a handshake, by the names that Istio's configuration has for them. */
import type { TLSSocket } from 'node:tls';

/** By IANA's number of TLS Supported Groups. */
const BY_NUMBER: ReadonlyMap<number, string> = new Map([
  [0x15, 'P-224'],
  [0x17, 'P-256'],
  [0x18, 'P-384'],
  [0x19, 'P-521'],
  [0x1d, 'X25519'],
  [0x11ec, 'X25519MLKEM768'],
]);
/** By OpenSSL's names; a resumed TLS 1.2 session has others than the handshake that it comes from. */
const BY_NAME: ReadonlyMap<string, string> = new Map([
  ['secp224r1', 'P-224'],
  ['prime256v1', 'P-256'],
  ['secp256r1', 'P-256'],
  ['secp384r1', 'P-384'],
  ['secp521r1', 'P-521'],
  ['X25519', 'X25519'],
  ['x25519', 'X25519'],
  ['X25519MLKEM768', 'X25519MLKEM768'],
]);
const NONE = 'none'; // a key exchange by RSA, in TLS 1.2
const OTHER = 'other';

/** 0 = none. */
export function groupOfNumber(group: number): string {
  return group === 0 ? NONE : (BY_NUMBER.get(group) ?? OTHER);
}

/** Of a client's socket: Node does not say it of a server's. */
export function groupOfClient(socket: TLSSocket): string {
  const info: { readonly name?: string } = socket.getEphemeralKeyInfo() ?? {};
  return info.name === undefined ? NONE : (BY_NAME.get(info.name) ?? OTHER);
}
