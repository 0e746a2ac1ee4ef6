/** One question of the demo, put to a sidecar as an app or a stranger would, and everything that was said about it. */
import { randomUUID } from 'node:crypto';
import { Agent, request } from 'undici';
import { DECISION_HEADER } from '../policy/decision-header.ts';
import type { AccessLogFields } from '../telemetry/access-log.ts';
import type { DemoSidecar } from './demo-sidecar.ts';

export interface Asked {
  readonly method: string;
  readonly host: string;
  readonly path: string;
}

export interface Answer {
  /** null = the connection was closed without a byte. */
  readonly status: number | null;
  readonly body: string;
  /** What a sidecar in a development run says of its refusal; null = it has not refused. */
  readonly decision: string | null;
  /** As the client saw it, in milliseconds. */
  readonly ms: number;
}

/** A closed connection in the words of undici, Node and OpenSSL. */
const CLOSED = /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE|ERR_SSL_.*)$/;

export class DemoClient {
  readonly #agent = new Agent({ pipelining: 1 });
  /** Has no certificate, and does not care whose it meets. */
  readonly #stranger = new Agent({ connect: { rejectUnauthorized: false } });

  /** Sends a request as the app beside `sidecar` does: plain HTTP to the outbound port. `id` becomes x-request-id. */
  through(sidecar: DemoSidecar, asked: Asked, id: string = randomUUID()): Promise<Answer> {
    return ask(`http://${sidecar.addresses.outbound}`, asked, { id, dispatcher: this.#agent });
  }

  /** Knocks at `sidecar`'s inbound port without a certificate. */
  knock(sidecar: DemoSidecar, scheme: 'http' | 'https', asked: Asked): Promise<Answer> {
    const origin = `${scheme}://${sidecar.addresses.inbound}`;
    return ask(origin, asked, { id: randomUUID(), dispatcher: this.#stranger });
  }

  async close(): Promise<void> {
    await Promise.all([this.#agent.destroy(), this.#stranger.destroy()]);
  }
}

async function ask(
  origin: string,
  { method, host, path }: Asked,
  { id, dispatcher }: { id: string; dispatcher: Agent },
): Promise<Answer> {
  const start = performance.now();
  try {
    const headers = { host, 'x-request-id': id };
    const answer = await request(origin + path, { method, headers, dispatcher });
    const body = await answer.body.text();
    const said = answer.headers[DECISION_HEADER];
    const decision = typeof said === 'string' ? said : null;
    return { status: answer.statusCode, body, decision, ms: performance.now() - start };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || !CLOSED.test(code)) throw error;
    return { status: null, body: '', decision: null, ms: performance.now() - start };
  }
}

/** What policy in force at `sidecar` says about a request, and why: the trace lines that decided. */
export async function explainAt(
  sidecar: DemoSidecar,
  asked: Asked,
  principal: string | null,
): Promise<readonly string[]> {
  const question = {
    transport: principal === null ? 'plaintext' : 'mtls',
    source: { ip: '127.0.0.1', principal },
    destination: { port: sidecar.appPort },
    request: asked,
  };
  const answer = JSON.parse(await sidecar.ask('/explain', JSON.stringify(question))) as {
    policy?: string;
    rule?: number;
    trace: readonly string[];
  };
  const { policy, rule, trace } = answer;
  const decisive = trace.filter(line => line.includes(` ${policy} rule ${rule}:`));
  if (decisive.length > 0) return decisive;
  const allows = trace.filter(line => line.startsWith('ALLOW '));
  return allows.length > 0 ? allows : trace;
}

/** The access-log line of one request. Ask before sending. Lines of denied requests may lack the id. */
export function lineOf(sidecar: DemoSidecar, asked: Asked, id: string): Promise<AccessLogFields> {
  return sidecar.accessLog.next(
    `access-log line at ${sidecar.name}`,
    line => line.request_id === id || (line.request_id === null && line.method === asked.method),
  );
}

/** The access-log line of a connection that never became a request. Ask before knocking. */
export function refusalAt(sidecar: DemoSidecar): Promise<AccessLogFields> {
  return sidecar.accessLog.next(
    `access-log line of a refusal at ${sidecar.name}`,
    line => line.response_flags === 'NR' && line.method === null,
  );
}
