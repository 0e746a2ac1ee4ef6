/** `outrider healthcheck`: is the sidecar on this machine ready? For a container's HEALTHCHECK, which has no shell. */

import { get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Environment, flagVariable, variableName } from '../config/environment.ts';
import { DEFAULT_LISTENERS } from '../config/settings.ts';
import { readHostPort, readWhole } from './flag-values.ts';
import { one, type Parsed, parse, type Usage } from './flags.ts';

const DEADLINE_MS = 2_000; // under the 3 s after which the image's HEALTHCHECK kills the probe
const AGAIN_MS = 200;
const MAX_WAIT_S = 86_400; // a day
const MAX_TEXT = 1_024; // characters kept of the answer; only its first line is shown

export interface HealthcheckFlags {
  /** The health port on 127.0.0.1. */
  readonly port: number;
  /** How long to ask again, in ms. */
  readonly waitMs: number;
}

const USAGE: Usage = {
  command: 'healthcheck',
  synopsis: 'healthcheck [--port PORT] [--wait SECONDS]',
  about: `Asks the sidecar on this machine whether it is ready: exit code 0 when it is, 1 when it is not or does not
answer within ${DEADLINE_MS / 1_000} seconds. With --wait it asks again until it is ready or the time is over.`,
  positionals: null,
  flags: [
    {
      name: 'port',
      value: 'PORT',
      help: `the health port on 127.0.0.1; default that of OUTRIDER_HEALTH, else ${DEFAULT_LISTENERS.health.port}`,
    },
    { name: 'wait', value: 'SECONDS', help: 'how long to ask again; default 0' },
  ],
};

/** Parses the line; the port is the one that `run` has in the same environment unless the line says otherwise. */
export function parseHealthcheck(
  args: readonly string[],
  environment: Environment,
): Parsed<HealthcheckFlags> {
  return parse(USAGE, args, line => {
    const wait = one(line, 'wait');
    const waitMs = wait === null ? 0 : readWhole('--wait', wait, 0, MAX_WAIT_S) * 1_000;
    const text = one(line, 'port');
    if (text !== null) return { port: readWhole('--port', text, 1, 65_535), waitMs };
    const health = flagVariable(environment, 'health');
    const port =
      health === null
        ? DEFAULT_LISTENERS.health.port
        : readHostPort(variableName('health'), health, '', false).port;
    return { port, waitMs };
  });
}

/** The command: one line on standard output when ready, on standard error when not. */
export async function runHealthcheck({ port, waitMs }: HealthcheckFlags): Promise<0 | 1> {
  const until = performance.now() + waitMs;
  let answer = await healthcheck(port);
  while (answer.code !== 0 && performance.now() < until) {
    await sleep(Math.min(AGAIN_MS, Math.max(0, until - performance.now())));
    answer = await healthcheck(port);
  }
  const { code, line } = answer;
  (code === 0 ? process.stdout : process.stderr).write(`${line}\n`);
  return code;
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
