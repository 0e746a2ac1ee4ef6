/**
 * What the session that OpenSSL writes out in 4 µs holds: the key exchange group, and the client's certificate, which
 * `getPeerX509Certificate` copies and re-parses for JS (25 µs and a native object, of a handshake's 1,000 µs).
 */
import type { TLSSocket } from 'node:tls';

const SEQUENCE = 0x30;
const INTEGER = 0x02;
// SSL_SESSION_ASN1's [3] and [19] EXPLICIT, OpenSSL ssl/ssl_asn1.c
const PEER = 0xa3;
const GROUP = 0xb3;
const NOTHING: SessionFacts = Object.freeze({ der: null, group: 0 });

/** What the session of a handshake says that Node has no function for. */
export interface SessionFacts {
  /** The DER of the certificate that the client presented, earlier on a resumed connection; null when it presented none. */
  readonly der: Buffer | null;
  /** The key exchange group by its IANA number; 0 where there was none or OpenSSL does not say. */
  readonly group: number;
}

/** Of a server's socket after the handshake. A resumed session has the certificate of the handshake that it comes from. */
export function sessionFactsOf(socket: TLSSocket): SessionFacts {
  const session = socket.getSession();
  const found = session ? readSession(session) : NOTHING;
  session?.fill(0); // it holds the session's secret too
  return found.der ? found : { ...found, der: socket.getPeerX509Certificate()?.raw ?? null };
}

/** The certificate (a copy) and the group in an SSL_SESSION; neither when it is no session. */
export function readSession(session: Buffer): SessionFacts {
  const whole = content(session, 0);
  if (session[0] !== SEQUENCE || whole.end !== session.length) return NOTHING;
  let der: Buffer | null = null;
  let group = 0;
  for (let at = whole.start; at < whole.end; ) {
    const { start, end } = content(session, at);
    if (end > whole.end) return NOTHING;
    const inner = content(session, start);
    if (session[at] === PEER && session[start] === SEQUENCE && inner.end === end) {
      der = Buffer.from(session.subarray(start, end));
    } else if (session[at] === GROUP && session[start] === INTEGER && inner.end === end) {
      group = wholeNumber(session, inner.start, end);
    }
    at = end;
  }
  return { der, group };
}

function wholeNumber(bytes: Buffer, start: number, end: number): number {
  return end > start && end - start <= 4 ? bytes.readUIntBE(start, end - start) : 0;
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
