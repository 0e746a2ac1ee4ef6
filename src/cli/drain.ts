/** `outrider drain`: tells the sidecar on this machine to take no further requests. For a container's preStop, which has no shell. */

import { request } from 'node:http';
import { type Environment, flagVariable, variableName } from '../config/environment.ts';
import { DEFAULT_LISTENERS } from '../config/settings.ts';
import { readHostPort, readWhole } from './flag-values.ts';
import { one, type Parsed, parse, type Usage } from './flags.ts';

const DEADLINE_MS = 2_000; // a hook that hangs costs the pod its time to end well

const USAGE: Usage = {
  command: 'drain',
  synopsis: 'drain [--port PORT]',
  about:
    'Tells the sidecar on this machine to drain: it takes no further inbound requests and finishes those in flight, while\n' +
    'outbound stays up. Exit code 1 when it does not answer.',
  positionals: null,
  flags: [
    {
      name: 'port',
      value: 'PORT',
      help: `the admin port on 127.0.0.1; default that of OUTRIDER_ADMIN, else ${DEFAULT_LISTENERS.admin.port}`,
    },
  ],
};

/** Parses the line; the port is the one that `run` has in the same environment unless the line says otherwise. */
export function parseDrain(args: readonly string[], environment: Environment): Parsed<number> {
  return parse(USAGE, args, line => {
    const text = one(line, 'port');
    if (text !== null) return readWhole('--port', text, 1, 65_535);
    const admin = flagVariable(environment, 'admin');
    return admin === null
      ? DEFAULT_LISTENERS.admin.port
      : readHostPort(variableName('admin'), admin, '', false).port;
  });
}

/** The command: one line on standard output when the sidecar drains, on standard error when not. */
export async function runDrain(port: number): Promise<0 | 1> {
  try {
    const status = await post(port);
    if (status === 200) {
      process.stdout.write('draining\n');
      return 0;
    }
    process.stderr.write(`not draining: ${status}\n`);
  } catch (error) {
    process.stderr.write(`not draining: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  return 1;
}

function post(port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const asked = request({ host: '127.0.0.1', port, path: '/drain', method: 'POST', agent: false });
  const late = new Error(`no answer within ${DEADLINE_MS} ms`);
  const deadline = setTimeout(() => asked.destroy(late), DEADLINE_MS);
  asked.on('error', reject);
  asked.on('response', response => {
    response.resume();
    resolve(response.statusCode ?? 0);
  });
  asked.end();
  return promise.finally(() => clearTimeout(deadline));
}
