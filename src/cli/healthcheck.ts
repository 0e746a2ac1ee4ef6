/** `outrider healthcheck`: is the sidecar on this machine ready? For a container's HEALTHCHECK, which has no shell. */

import { get } from 'node:http';

const DEADLINE_MS = 2_000; // under the 3 s after which the image's HEALTHCHECK kills the probe
const MAX_TEXT = 1_024; // characters kept of the answer; only its first line is shown

/**
 * Asks `/healthz/ready` on 127.0.0.1.
 * @param port the sidecar's health port
 * @returns the exit code, 0 ready and 1 not, and the reason in one line
 */
export async function healthcheck(port: number): Promise<{ code: 0 | 1; line: string }> {
  try {
    const { status, text } = await ask(port);
    if (status === 200) return { code: 0, line: 'ready' };
    return { code: 1, line: `not ready: ${status} ${text.split('\n', 1)[0]}`.trimEnd() };
  } catch (error) {
    return { code: 1, line: `not ready: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function ask(port: number): Promise<{ status: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const request = get({ host: '127.0.0.1', port, path: '/healthz/ready', agent: false });
  // One deadline for the whole exchange: a body that never ends is as unhealthy as no answer.
  const deadline = setTimeout(
    () => request.destroy(new Error(`no answer within ${DEADLINE_MS} ms`)),
    DEADLINE_MS,
  );
  request.on('error', reject);
  request.on('response', response => {
    let text = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      if (text.length < MAX_TEXT) text += chunk;
    });
    response.on('error', reject);
    response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
  });
  return promise.finally(() => clearTimeout(deadline));
}
