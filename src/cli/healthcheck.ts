/** `outrider healthcheck`: is the sidecar on this machine ready? For a container's HEALTHCHECK, which has no shell. */

import { get } from 'node:http';

const HEALTH_PORT = 15_021; // the default of run --health
const DEADLINE_MS = 2_000; // under the 3 s after which the image's HEALTHCHECK kills the probe
const MAX_TEXT = 1_024; // characters kept of the answer; only its first line is shown

const USAGE = `usage: outrider healthcheck [--port PORT]

  --port PORT   the sidecar's health port on 127.0.0.1 (default 15021)

Exit code 0 when it answers that it is ready, 1 when it is not or does not answer within 2 seconds.
`;

/** The command: one line on standard output when ready, on standard error when not or when the flags are wrong. */
export async function runHealthcheck(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  const port = portOf(args);
  if (typeof port === 'string') {
    process.stderr.write(`outrider: healthcheck: ${port}\n`);
    return 2;
  }
  const { code, line } = await healthcheck(port);
  (code === 0 ? process.stdout : process.stderr).write(`${line}\n`);
  return code;
}

/** The port to ask, or what is wrong with the flags. */
function portOf(args: readonly string[]): number | string {
  const [flag, value, ...more] = args.flatMap(arg =>
    /^--port=/.test(arg) ? ['--port', arg.slice(7)] : [arg],
  );
  if (flag === undefined) return HEALTH_PORT;
  if (flag !== '--port') return `unknown flag ${flag}; it takes --port`;
  if (value === undefined) return '--port needs a port number';
  if (more.length > 0) return `unexpected ${more[0]}`;
  const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  return port >= 1 && port <= 65_535 ? port : `--port must be a port number, 1 to 65535, not '${value}'`;
}

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
