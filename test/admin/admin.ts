import { once } from 'node:events';
import { connect } from 'node:net';
import type { Test } from 'tap';
import type { Address } from '../../src/admin/listener.ts';
import { type Admin, createAdmin } from '../../src/admin/server.ts';
import type { AdminState } from '../../src/admin/state.ts';

/** A state whose parts throw unless the test gives them. */
export function stateOf(changes: Partial<AdminState>): AdminState {
  const wrong = (name: string) => (): never => {
    throw new Error(`${name} was called at /secret/path`);
  };
  return {
    ready: wrong('ready'),
    metrics: wrong('metrics'),
    configDump: wrong('configDump'),
    certs: wrong('certs'),
    connections: wrong('connections'),
    explain: wrong('explain'),
    drain: wrong('drain'),
    quit: wrong('quit'),
    setLogLevel: wrong('setLogLevel'),
    ...changes,
  };
}

const ANY_PORT: Address = { host: '127.0.0.1', port: 0 };
export const ANY_PORTS = { admin: ANY_PORT, health: ANY_PORT, telemetry: ANY_PORT };

/** Listeners on real ports, closed with the test, and the errors that they report. */
export async function open(
  t: Test,
  changes: Partial<AdminState>,
  adminHosts: readonly string[] = [],
): Promise<{ admin: Admin; errors: unknown[] }> {
  const errors: unknown[] = [];
  const admin = await createAdmin({
    state: stateOf(changes),
    addresses: ANY_PORTS,
    adminHosts,
    onError: error => errors.push(error),
  });
  t.teardown(() => admin.close());
  return { admin, errors };
}

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Sends these bytes on a connection of their own and reads the one reply until the end. */
export async function exchange(address: Address, bytes: string): Promise<Reply> {
  const socket = connect({ host: address.host, port: address.port });
  socket.on('error', () => {});
  socket.setEncoding('utf8');
  let text = '';
  socket.on('data', chunk => {
    text += chunk;
  });
  socket.write(bytes);
  await once(socket, 'close');
  const [head = '', ...body] = text.split('\r\n\r\n');
  const [line = '', ...fields] = head.split('\r\n');
  return {
    status: Number(line.split(' ')[1]),
    headers: Object.fromEntries(
      fields.map(field => [
        field.slice(0, field.indexOf(':')).toLowerCase(),
        field.slice(field.indexOf(':') + 2),
      ]),
    ),
    body: body.join('\r\n\r\n'),
  };
}

/** One request, with `connection: close` and a loopback Host unless the fields have one. */
export function ask(
  address: Address,
  line: string,
  fields: Record<string, string> = {},
  body = '',
): Promise<Reply> {
  const all: Record<string, string> = { host: `localhost:${address.port}`, connection: 'close', ...fields };
  if (body !== '') all['content-length'] ??= String(Buffer.byteLength(body));
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return exchange(address, `${line} HTTP/1.1\r\n${head.join('')}\r\n${body}`);
}
