/**
 * PEM, read strictly (RFC 7468): OpenSSL and node:tls pass over what they cannot read, so a torn bundle would trust
 * less, or nothing, without a word.
 */

export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`, `X509 CRL` … */
  readonly label: string;
  /** The block itself, ready for node:crypto. */
  readonly pem: string;
  readonly der: Buffer;
}

/** Why a text is no PEM file. */
export type PemFault = 'empty' | 'garbage' | 'truncated' | 'bad_base64';

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]*?)-----END \1-----/y;
const BETWEEN = /(?:\s|^#.*$)*/my;
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;

/** Every block of a PEM text, in order. White space and lines of `#` may stand between blocks, nothing else. */
export function readPem(
  text: string,
):
  | { readonly ok: true; readonly blocks: readonly PemBlock[] }
  | { readonly ok: false; readonly fault: PemFault } {
  const blocks: PemBlock[] = [];
  for (let at = skip(text, 0); at < text.length; at = skip(text, at)) {
    BLOCK.lastIndex = at;
    const match = BLOCK.exec(text);
    if (!match) return { ok: false, fault: text.startsWith('-----BEGIN ', at) ? 'truncated' : 'garbage' };
    const [pem, label = '', body = ''] = match;
    if (!BASE64.test(body) && !body.includes('Proc-Type:')) return { ok: false, fault: 'bad_base64' };
    blocks.push({ label, pem: `${pem}\n`, der: Buffer.from(body, 'base64') });
    at += pem.length;
  }
  return blocks.length > 0 ? { ok: true, blocks } : { ok: false, fault: 'empty' };
}

function skip(text: string, at: number): number {
  BETWEEN.lastIndex = at;
  return at + (BETWEEN.exec(text)?.[0].length ?? 0);
}
