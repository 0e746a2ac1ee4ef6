/** One GET of a key set or an OpenID configuration, bounded in every way. */

/** @returns the body of a 2xx answer; rejects with a reason for a log, and when the signal says so */
export type Download = (url: string, signal: AbortSignal) => Promise<string>;

const MAX_BODY_BYTES = 1024 * 1024; // a large set has some 10 KiB

/**
 * Over http or https, with Node's roots and those of NODE_EXTRA_CA_CERTS, through the proxy that HTTP_PROXY, HTTPS_PROXY
 * and NO_PROXY name (as istiod does). Stricter than istiod: a redirect is a failure, so that nobody but who is written in
 * the manifest says where keys come from.
 */
export const download: Download = async (url, signal) => {
  const { protocol } = new URL(url);
  if (protocol !== 'http:' && protocol !== 'https:')
    throw new Error(`${protocol}// is neither http nor https`);
  // undici is CommonJS: `default` is what it exports, under Node and in the bundle, which has no names beside it.
  const { EnvHttpProxyAgent, request } = (await import('undici')).default;
  const dispatcher = new EnvHttpProxyAgent({ maxHeaderSize: 16_384, headersTimeout: 0, bodyTimeout: 0 });
  try {
    const headers = { accept: 'application/json', 'user-agent': 'outrider' };
    const { statusCode, headers: received, body } = await request(url, { dispatcher, signal, headers });
    if (statusCode >= 300 && statusCode < 400)
      throw new Error(`answers ${statusCode}: redirects are not followed`);
    if (statusCode < 200 || statusCode >= 300) throw new Error(`answers ${statusCode}`);
    if (Number(received['content-length'] ?? 0) > MAX_BODY_BYTES) throw new Error('answers more than 1 MiB');
    return await textOf(body);
  } finally {
    // A connection of its own each 20 minutes: nothing is kept open, and one that hangs is cut off.
    await dispatcher.destroy();
  }
};

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error('answers more than 1 MiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
