/**
 * The client's certificate without making it twice. `getPeerX509Certificate` copies and re-parses it for JS (25 µs and
 * a native object to collect, of a handshake's 1,000 µs); the session that OpenSSL writes out in 4 µs holds its bytes.
 */
import type { TLSSocket } from 'node:tls';

const SEQUENCE = 0x30;
const PEER = 0xa3; // SSL_SESSION_ASN1's [3] EXPLICIT, OpenSSL ssl/ssl_asn1.c

/**
 * The DER of the certificate that the client presented in this handshake; null when it presented none. For sockets of a
 * server that resumes no session, which would carry an older handshake's certificate.
 */
export function clientCertificateOf(socket: TLSSocket): Buffer | null {
  const session = socket.getSession();
  const found = session ? peerOf(session) : null;
  session?.fill(0); // it holds the session's secret too
  return found ?? socket.getPeerX509Certificate()?.raw ?? null;
}

/** A copy of the certificate in an SSL_SESSION; null when there is none or it is no session. */
export function peerOf(session: Buffer): Buffer | null {
  const whole = content(session, 0);
  if (session[0] !== SEQUENCE || whole.end !== session.length) return null;
  for (let at = whole.start; at < whole.end; ) {
    const { start, end } = content(session, at);
    if (end > whole.end) return null;
    if (session[at] === PEER) {
      const inner = content(session, start);
      return session[start] === SEQUENCE && inner.end === end
        ? Buffer.from(session.subarray(start, end))
        : null;
    }
    at = end;
  }
  return null;
}

/** Where the content of the element at `at` lies; beyond the buffer when its length cannot be read. */
function content(bytes: Buffer, at: number): { start: number; end: number } {
  const beyond = { start: bytes.length + 1, end: bytes.length + 1 };
  const first = bytes[at + 1];
  if (first === undefined) return beyond;
  if (first < 0x80) return { start: at + 2, end: at + 2 + first };
  const size = first & 0x7f;
  const start = at + 2 + size;
  return size < 1 || size > 3 || start > bytes.length
    ? beyond
    : { start, end: start + bytes.readUIntBE(at + 2, size) };
}
